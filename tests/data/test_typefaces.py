"""Fonts beside DejaVu's: what they add, and which are of no use."""

import importlib
import logging

import numpy as np
import pytest
from tests.data.rendering import FEW, canonical, font, same

from quickstudy.data import lookalikes, typefaces
from quickstudy.data.lookalikes import ALIKE
from quickstudy.data.typefaces import FACES

glyphs = importlib.import_module("quickstudy.data.glyphs")
"""The module: `quickstudy.data.glyphs` is the function."""


@pytest.mark.usefixtures("few")
def test_other_fonts_add_faces():
    plain, more = glyphs.render(), glyphs.render([font("STIXGeneral.ttf"), font("cmr10.ttf")])
    assert same(plain[4:], more[4:])  # names, groups, parts and turns
    added = more.faces >= len(FACES)
    for field in ("images", "points", "faces"):
        assert np.array_equal(getattr(more, field)[~added], getattr(plain, field))
    held = dict(zip(more.names.tolist(), np.diff(more.offsets).tolist(), strict=True))
    assert held["LATIN CAPITAL LETTER A"] == 14
    assert held["LATIN SMALL LETTER F WITH HOOK"] == 13
    assert held["HEBREW LETTER ALEF"] < 12
    assert set(more.faces[added].tolist()) == {12, 13}


def test_other_fonts_add_characters(monkeypatch):
    """DejaVu has double-struck letters, but no script; STIX has both."""
    held, scripts = typefaces.characters, {ord(c) for c in "ℊ𝒜𝒞𝒢𝒵𝒻𝔸"}
    monkeypatch.setattr(typefaces, "characters", lambda face: held(face) & (FEW | scripts))
    plain = glyphs.render()
    more = glyphs.render([font("STIXGeneral.ttf"), font("STIXGeneralItalic.ttf")])
    new = [name for name in more.names.tolist() if name not in set(plain.names.tolist())]
    assert {"SCRIPT SMALL G", "MATHEMATICAL SCRIPT CAPITAL Z"} <= set(new)
    assert "MATHEMATICAL DOUBLE-STRUCK CAPITAL A" in plain.names
    assert more.names.tolist() == plain.names.tolist() + new  # DejaVu's own come first
    features = lookalikes.features(canonical(more, 0).astype(np.uint8))
    assert np.triu(features @ features.T, k=1).max() < ALIKE


@pytest.mark.usefixtures("few")
def test_fonts_of_no_use_are_named(tmp_path, caplog):
    (tmp_path / "torn.ttf").write_bytes(font("cmr10.ttf").read_bytes()[:2_000])
    (tmp_path / "words.otf").write_text("no font")
    (tmp_path / "again.ttf").write_bytes(typefaces.dejavu("Sans").read_bytes())
    useless = {
        tmp_path / "torn.ttf": "",
        tmp_path / "words.otf": "",
        tmp_path / "missing.ttc": "",
        font("cmsy10.ttf"): "it draws symbols in place of letters",
        font("LastResortHE-Regular.ttf"): "it draws symbols in place of letters",
        font("STIXSizOneSymReg.ttf"): "it holds no letters or digits",
    }
    with caplog.at_level(logging.WARNING):
        table = glyphs.render([*useless, tmp_path / "again.ttf"])
    assert same(table, glyphs.render())
    assert len(caplog.messages) == len(useless)  # what is there twice is no cause for concern
    for (path, why), said in zip(useless.items(), caplog.messages, strict=True):
        assert said.startswith(f"the font {path} is left out: ")
        assert said.endswith(why)
        assert len(said) > len(f"the font {path} is left out: ")
        assert "\n" not in said


def test_installed_fonts_have_an_order(tmp_path, monkeypatch):
    for name in ("b.ttf", "a.otf"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.ttf").symlink_to(tmp_path / "b.ttf")
    names = [str(tmp_path / name) for name in ("b.ttf", "link.ttf", "a.otf")]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: names)
    assert typefaces.installed_fonts() == [tmp_path / "a.otf", tmp_path / "b.ttf"]

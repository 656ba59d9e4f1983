import collections
import importlib
import logging
import os
import unicodedata

import matplotlib
import numpy as np
import pytest
import torch
from tests.data.rendering import canonical, font, same

from quickstudy.data import cache, lookalikes, typefaces
from quickstudy.data.glyphs import (
    FILE,
    LEAST_FACES,
    TEST,
    VALIDATION,
    GlyphTable,
    glyph_table,
    writing_system,
)
from quickstudy.data.lookalikes import ALIKE, distinct
from quickstudy.data.typefaces import FACES, SIDE
from quickstudy.errors import DataError

glyphs = importlib.import_module("quickstudy.data.glyphs")
"""The module: `quickstudy.data.glyphs` is the function."""


@pytest.fixture(scope="module")
def table(data_cache):
    """All the glyphs, rendered once in a session."""
    return glyph_table(data_cache)


def overlap(a, b):
    """Ink in both over ink in either, of binary pictures [n, d] and [m, d]."""
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1)[None] - both)


def test_the_parts_are_writing_systems(table):
    systems = {part: set(table.groups[table.parts == part].tolist()) for part in range(3)}
    assert systems[2] == set(TEST) == {"Armenian", "Georgian"}
    assert systems[1] == set(VALIDATION) == {"Hebrew", "Lao", "N'Ko"}
    assert systems[0] == {
        "Arabic",
        "Canadian syllabics",
        "Coptic",
        "Cyrillic",
        "Digits",
        "Greek",
        "Latin",
        "Lisu",
        "Ogham",
        "Old Italic",
        "Tifinagh",
    }
    assert (table.parts == 0).sum() > 1_000
    assert (table.parts == 1).sum() > 90
    assert (table.parts == 2).sum() > 150


def test_names_are_characters_of_their_writing_system(table):
    assert len(set(table.names.tolist())) == len(table.names)
    for name, group in zip(table.names.tolist(), table.groups.tolist(), strict=True):
        character = unicodedata.lookup(name)
        assert writing_system(character) == group
        assert unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lo", "Nd")


@pytest.mark.parametrize(
    ("character", "system"),
    [
        ("\N{ALEF SYMBOL}", "Hebrew"),
        ("\N{OHM SIGN}", "Greek"),
        ("\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}", "Digits"),
        ("\N{LATIN SMALL LETTER N PRECEDED BY APOSTROPHE}", "Latin"),
        ("\N{ARABIC FATHATAN ISOLATED FORM}", "Arabic"),
        ("\N{EXTENDED ARABIC-INDIC DIGIT FOUR}", "Arabic"),
        ("\N{TURNED CAPITAL F}", "Latin"),
        ("\N{ROMAN NUMERAL REVERSED ONE HUNDRED}", "Latin"),
        ("\N{ARMENIAN SMALL LIGATURE MEN NOW}", "Armenian"),
        ("\N{OLD ITALIC LETTER A}", "Old Italic"),
        ("\N{OLD PERSIAN SIGN A}", "Old Persian"),
        ("\N{TAI LE LETTER KA}", "Tai Le"),
        ("\N{HANGUL SYLLABLE GA}", "Hangul"),
        ("\N{CJK UNIFIED IDEOGRAPH-4E2D}", "Han"),
    ],
)
def test_writing_systems_of_odd_characters(character, system):
    assert writing_system(character) == system


def test_images_are_faces(table):
    assert table.offsets[0] == 0
    assert table.offsets[-1] == len(table.images) == len(table.faces) == len(table.points)
    held = np.diff(table.offsets)
    assert held.min() >= LEAST_FACES
    assert held.max() == len(FACES) == 12
    for start, end in zip(table.offsets[:-1], table.offsets[1:], strict=True):
        assert (np.diff(table.faces[start:end].astype(int)) > 0).all()
    rows, columns = table.images[:, 0].any(axis=2), table.images[:, 0].any(axis=1)
    longer = np.maximum(rows.sum(1), columns.sum(1))
    assert table.images.reshape(len(table.images), -1).max(axis=1).min() > 127
    assert longer.max() <= typefaces.BOX
    assert np.median(longer) == typefaces.BOX
    for lines in (rows, columns):  # centred
        middle = (lines.argmax(1) + SIDE - 1 - lines[:, ::-1].argmax(1)) / 2
        assert abs(middle.mean() - (SIDE - 1) / 2) < 0.5


def test_no_class_looks_like_one_of_another_part(table):
    """By another measure than the one that left look-alikes out: overlap of ink, any turn."""
    ink = [(canonical(table, part) > 127).astype(np.float32) for part in range(3)]
    for part, other in ((0, 1), (0, 2), (1, 2)):
        plain = ink[part].reshape(len(ink[part]), -1)
        for quarters in range(4):
            turned = np.rot90(ink[other], quarters, axes=(1, 2)).reshape(len(ink[other]), -1)
            assert overlap(plain, turned).max() < 0.9


def test_no_class_is_alike_by_the_measure_itself(table):
    features = [lookalikes.features(canonical(table, part).astype(np.uint8)) for part in range(3)]
    for part in range(3):
        alike = features[part] @ features[part].T
        assert np.triu(alike, k=1).max() < ALIKE
    # Across parts, every face counts: an oblique one may be another system's upright letter.
    owner = np.arange(len(table.names)).repeat(np.diff(table.offsets))
    faces = [table.images[table.parts[owner] == part, 0] for part in range(3)]
    for part in range(3):
        mine = lookalikes.features(faces[part])
        for other in range(part + 1, 3):
            theirs = lookalikes.features(lookalikes.turned(faces[other]))
            assert not lookalikes.alike(mine, theirs).any()


def test_letters_of_two_alphabets_that_look_alike_are_one_class(table):
    names = set(table.names.tolist())
    for twins in (
        ("LATIN CAPITAL LETTER A", "CYRILLIC CAPITAL LETTER A", "GREEK CAPITAL LETTER ALPHA"),
        ("LATIN CAPITAL LETTER K", "CYRILLIC CAPITAL LETTER KA", "GREEK CAPITAL LETTER KAPPA"),
    ):
        assert len(names & set(twins)) == 1


def test_a_letter_that_looks_like_a_held_out_one_goes(table):
    """Latin O and S stand in Armenian too, as OH and TIWN."""
    names = set(table.names.tolist())
    assert not names & {"LATIN CAPITAL LETTER O", "LATIN CAPITAL LETTER S"}
    assert {"ARMENIAN CAPITAL LETTER OH", "ARMENIAN CAPITAL LETTER TIWN"} <= names


def test_turns_count_where_they_make_another_character(table):
    turns = dict(zip(table.names.tolist(), table.turns.tolist(), strict=True))
    assert turns["LATIN CAPITAL LETTER M"] == [True, True, True, True]
    for letter in "NZ":
        assert turns[f"LATIN CAPITAL LETTER {letter}"] == [True, True, False, False]
    assert table.turns[:, 0].all()
    assert 0.6 < table.turns.mean() < 0.95


def test_turned_classes_are_distinct_too(table):
    for part in range(3):
        turned = lookalikes.turned(canonical(table, part).astype(np.uint8))
        kept = turned[table.turns[table.parts == part].T.reshape(-1)]
        features = lookalikes.features(kept)
        assert np.triu(features @ features.T, k=1).max() < ALIKE


def test_points_lie_on_the_ink(table):
    rows = np.arange(0, len(table.points), 97)
    for image, points in zip(table.images[rows, 0], table.points[rows], strict=True):
        real = points[points[:, 2] >= 0].astype(int)
        assert len(real) >= 1
        x, y = (real[:, 0] + SIDE - 1) // 2, (real[:, 1] + SIDE - 1) // 2
        assert (image[y, x] > 127).all()
        assert not points[points[:, 2] < 0][:, :2].any()


def test_glyphs_are_splits_of_the_table(table, data_cache):
    splits = glyphs.glyphs(data_cache)
    large = glyphs.glyphs(data_cache, size=56)
    for number, (part, twice) in enumerate(zip(splits, large, strict=True)):
        assert part.names == twice.names == tuple(table.names[table.parts == number].tolist())
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (len(twice.images), 1, 28, 28)
        assert torch.equal(part.counts, twice.counts)
        means = torch.nn.functional.avg_pool2d(twice.images[:50].float(), 2)
        assert (part.images[:50] - means).abs().max() < 1
    alef = splits.validation.names.index("HEBREW LETTER ALEF")
    row = int(splits.validation.offsets[alef])
    where = table.names.tolist().index("HEBREW LETTER ALEF")
    assert np.array_equal(large.validation.images[row].numpy(), table.images[table.offsets[where]])
    assert splits.validation.groups[alef] == "Hebrew"


def test_other_sizes_are_refused(data_cache):
    with pytest.raises(DataError, match="come in sizes 28 and 56, got 32"):
        glyphs.glyphs(data_cache, size=32)


@pytest.mark.usefixtures("few")
def test_rendering_is_deterministic():
    first = glyphs.render()
    assert same(first, glyphs.render())
    names = set(first.names.tolist())
    assert {"LATIN CAPITAL LETTER A", "HEBREW LETTER BET", "GEORGIAN LETTER DON"} <= names
    assert not {"LATIN CAPITAL LETTER O", "LATIN SMALL LETTER O"} <= names  # but for size, alike
    turns = dict(zip(first.names.tolist(), first.turns.tolist(), strict=True))
    assert turns["LATIN CAPITAL LETTER F"] == [True] * 4
    assert turns["LATIN CAPITAL LETTER N"][2] is False


@pytest.mark.usefixtures("few")
def test_the_cache_is_written_once_and_read_again(tmp_path, monkeypatch):
    first = glyph_table(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    monkeypatch.setattr(glyphs, "render", lambda fonts: pytest.fail("rendered again"))
    assert same(glyph_table(tmp_path), first)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)


def forget(path):
    arrays = cache.read_arrays(path)
    del arrays["turns"]
    cache.write_arrays(path, arrays)


def reshape(path):
    arrays = cache.read_arrays(path)
    cache.write_arrays(path, arrays | {"points": arrays["points"][:, :, :2]})


def retype(path):
    arrays = cache.read_arrays(path)
    cache.write_arrays(path, arrays | {"images": arrays["images"].astype(float)})


def shuffle(path):
    arrays = cache.read_arrays(path)
    cache.write_arrays(path, arrays | {"offsets": arrays["offsets"] + 1})


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("harm", [truncate, flip, forget, reshape, retype, shuffle])
def test_a_harmed_cache_is_rendered_anew(tmp_path, caplog, harm):
    first = glyph_table(tmp_path)
    harm(tmp_path / FILE)
    with caplog.at_level(logging.WARNING):
        assert same(glyph_table(tmp_path), first)
    assert str(tmp_path / FILE) in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    caplog.clear()
    assert same(glyph_table(tmp_path), first)  # and what was written is whole
    assert not caplog.records


@pytest.mark.usefixtures("few")
def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(glyphs, "write_arrays", full)
    with caplog.at_level(logging.WARNING):
        table = glyph_table(tmp_path)
    assert len(table.names) > 10
    assert "No space left" in caplog.text


@pytest.mark.usefixtures("few")
def test_another_set_of_fonts_is_another_file(tmp_path, monkeypatch):
    cache_, own = tmp_path / "cache", tmp_path / "own.ttf"
    own.write_bytes(font("cmr10.ttf").read_bytes())
    sets = [[], [font("STIXGeneral.ttf")], [own], [own, font("STIXGeneral.ttf")]]
    tables = [glyphs.table_of(fonts, cache_) for fonts in sets]
    assert len(list(cache_.iterdir())) == 4
    assert len({len(table.images) for table in tables}) == 4
    rendered = []
    monkeypatch.setattr(glyphs, "render", lambda fonts: rendered.append(fonts) or tables[1])
    for fonts, table in zip(sets, tables, strict=True):
        assert same(glyphs.table_of(fonts, cache_), table)
    assert same(glyph_table(cache_), tables[0])
    monkeypatch.setattr(typefaces, "installed_fonts", lambda: sets[1])
    assert same(glyph_table(cache_, system_fonts=True), tables[1])
    assert glyphs.glyphs(cache_, system_fonts=True).train.counts.max() == 13
    assert rendered == []
    os.utime(own, (0, 0))  # a font of that name, but another
    glyphs.table_of([own], cache_)
    own.unlink()
    glyphs.table_of([own], cache_)
    assert rendered == [[own], [own]]


@pytest.mark.usefixtures("few")
def test_there_is_an_end_to_faces_and_characters(monkeypatch):
    whole = glyphs.render()
    monkeypatch.setattr(glyphs, "MOST_FACES", 5)
    fewer = glyphs.render()
    assert np.array_equal(fewer.names, whole.names)
    assert np.array_equal(np.diff(fewer.offsets), np.diff(whole.offsets).clip(max=5))
    assert np.array_equal(  # the first stays what the character is compared by
        fewer.images[fewer.offsets[:-1]], whole.images[whole.offsets[:-1]]
    )
    monkeypatch.setattr(glyphs, "MOST_CHARACTERS", 2)
    few = glyphs.render()
    assert max(collections.Counter(few.groups.tolist()).values()) == 2
    assert set(few.groups.tolist()) == set(whole.groups.tolist())


@pytest.mark.usefixtures("few")
def test_more_faces_than_a_byte_counts(tmp_path):
    table = glyph_table(tmp_path)
    arrays = table._asdict() | {"faces": table.faces.astype(np.uint16) + 300}
    cache.write_arrays(tmp_path / FILE, arrays)
    assert glyph_table(tmp_path).faces.min() == 300


def test_matplotlib_without_fonts(tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match="matplotlib must bring its fonts, got none at"):
        glyph_table(tmp_path)
    assert not list(tmp_path.iterdir())


def test_distinct_keeps_the_first_of_a_kind():
    kinds = np.eye(4, dtype=np.float32)[[0, 1, 0, 2, 1, 3] * 300]
    assert np.flatnonzero(distinct(kinds)).tolist() == [0, 1, 3, 5]
    assert distinct(kinds[:0]).shape == (0,)


def test_a_look_alike_of_what_is_left_out_stays():
    """Greedy: b goes for a; c is like b only, so it stays."""
    angles = np.radians([0, 20, 40])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert distinct(rows, least=np.cos(np.radians(25))).tolist() == [True, False, True]


def test_the_table_says_what_it_holds():
    assert GlyphTable._fields == (
        "images",
        "points",
        "faces",
        "offsets",
        "names",
        "groups",
        "parts",
        "turns",
    )

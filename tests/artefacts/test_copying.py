from pathlib import Path

import pytest

from artefacts.samples import CATALOGUE, filled
from quickstudy.artefacts import Manifest, copy_model, manifest, read_weights, save_model
from quickstudy.errors import ArtefactError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(folder: Path, fill: float = 1.0) -> Manifest:
    notes = {"training": {"steps": 3}, "metrics": {"accuracy": 0.5}}
    return save_model(folder, filled(fill), catalogue=CATALOGUE, **notes)


def test_a_copy_is_the_model_and_nothing_else(tmp_path: Path) -> None:
    made = save(tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    assert copy_model(tmp_path / "a", tmp_path / "deep" / "b") == made
    copied = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "b").iterdir()}
    assert copied == {
        name: (tmp_path / "a" / name).read_bytes() for name in ("manifest.json", made.weights.file)
    }
    assert read_weights(tmp_path / "deep" / "b") == (
        made,
        (tmp_path / "a" / made.weights.file).read_bytes(),
    )
    other = save(tmp_path / "c", 2.0)
    assert copy_model(tmp_path / "c", tmp_path / "deep" / "b") == other  # in its place
    assert names(tmp_path / "deep" / "b") == names(tmp_path / "c")


def test_what_is_damaged_or_in_the_way_is_not_copied(tmp_path: Path) -> None:
    made = save(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(ArtefactError, match="it is not replaced"):
        copy_model(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "b") == ["manifest.json"]
    file = tmp_path / "a" / made.weights.file
    file.write_bytes(file.read_bytes()[:-1])
    for read in (read_weights, lambda folder: copy_model(folder, tmp_path / "c")):
        with pytest.raises(ArtefactError, match="is damaged"):
            read(tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_a_model_that_is_what_it_was_before_again_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced twice between its manifest and its weights: the same manifest, other moments."""
    save(tmp_path / "a")
    wanted, real, gone = read_weights(tmp_path / "a"), manifest.atomic.read_bytes, [1, 2]

    def read_bytes(file: Path) -> bytes:
        if file.suffix == ".safetensors" and gone:
            gone.pop()
            raise ArtefactError(f"no {file}")
        return real(file)

    monkeypatch.setattr(manifest.atomic, "read_bytes", read_bytes)
    assert read_weights(tmp_path / "a") == wanted
    gone[:] = range(1000)
    with pytest.raises(ArtefactError, match=r"manifest.json beside it names it"):
        read_weights(tmp_path / "a")

import io
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from quickstudy.data.cache import VARIABLE, write_arrays
from quickstudy.data.omniglot import (
    BACKGROUND,
    DRAWERS,
    EVALUATION,
    OMNIGLOT_FILE,
    OMNIGLOT_REMOTES,
    class_names,
    convert_omniglot,
    omniglot,
    read_drawings,
    vinyals,
)
from quickstudy.errors import DataError


def test_omniglot_is_omniglot(need):
    need.data(OMNIGLOT_FILE)
    splits = omniglot()
    assert [part.classes for part in splits] == [1028, 172, 423]
    for part in splits:
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (20 * part.classes, 1, 28, 28)
        assert set(part.counts.tolist()) == {20}
        assert float(part.images.float().mean()) < 64  # ink is bright, paper dark
        assert int(part.images.max()) == 255
    assert set(splits.validation.groups) == {
        "Armenian",
        "Bengali",
        "Early_Aramaic",
        "Hebrew",
        "Mkhedruli_(Georgian)",
    }
    test = set(splits.test.groups)
    assert {"Tibetan", "Tengwar", "Malayalam", "Kannada", "Mongolian", "ULOG"} <= test
    assert len(test) == 13
    assert test & set(splits.train.groups) == {"Gurmukhi"}
    assert splits.test.groups.count("Gurmukhi") == 4
    assert len({name for part in splits for name in part.names}) == 1623


def test_omniglot_holds_the_rows_of_the_file(need):
    with np.load(need.data(OMNIGLOT_FILE), allow_pickle=False) as archive:
        images, names = archive["images"], archive["class_name"].tolist()
    splits = omniglot()
    for part in splits:
        for label in (0, part.classes // 2, part.classes - 1):
            rows = part.images[part.offsets[label] : part.offsets[label + 1], 0].numpy()
            assert np.array_equal(rows, images[names.index(part.names[label])])


def test_without_omniglot_the_error_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError) as error:
        omniglot(tmp_path)
    said = str(error.value)
    for words in (OMNIGLOT_FILE, str(tmp_path), VARIABLE, "[1623, 20, 28, 28]", "split_vinyals"):
        assert words in said
    assert "`quickstudy data prepare omniglot`" in said
    assert "\n" not in said


@pytest.fixture(scope="module")
def fake_omniglot():
    """Arrays of the right layout, all empty pictures."""
    return {
        "images": np.zeros((1623, 20, 28, 28), np.uint8),
        "class_name": np.array([f"a/{i}" for i in range(1623)]),
        "alphabet": np.array(["a", "b"]),
        "alphabet_index": (np.arange(1623) % 2).astype(np.uint8),
        "split_vinyals": np.repeat([0, 1, 2], [1028, 172, 423]).astype(np.uint8),
    }


def test_any_file_of_omniglots_layout_is_read(tmp_path, fake_omniglot):
    write_arrays(tmp_path / OMNIGLOT_FILE, fake_omniglot)
    splits = omniglot(tmp_path)
    assert [part.classes for part in splits] == [1028, 172, 423]
    assert splits.train.groups[:3] == ("a", "b", "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("alphabet"), "lacks alphabet"),
        (lambda a: a.update(images=a["images"][:, :19]), "got uint8 [1623, 19, 28, 28]"),
        (lambda a: a.update(images=a["images"].astype(float)[:9]), "got float64 [9, 20, 28, 28]"),
        (lambda a: a.update(class_name=a["class_name"][:9]), "9 of class_name"),
        (lambda a: a.update(images=a["images"][:964]), "must hold 1623 classes, got 964 of images"),
        (lambda a: a.update(alphabet=a["alphabet"][:1]), "alphabet_index"),
        (lambda a: a.update(split_vinyals=a["split_vinyals"] * 0), "split_vinyals"),
        (lambda a: a.update(class_name=a["class_name"][[0] * 1623]), "more than once"),
    ],
)
def test_another_layout_is_refused(tmp_path, fake_omniglot, change, message):
    arrays = dict(fake_omniglot)
    change(arrays)
    write_arrays(tmp_path / OMNIGLOT_FILE, arrays)
    with pytest.raises(DataError) as error:
        omniglot(tmp_path)
    assert message in str(error.value)


def test_a_broken_omniglot_is_named(tmp_path):
    (tmp_path / OMNIGLOT_FILE).write_bytes(b"PK\3\4 and no more")
    with pytest.raises(DataError, match=f"{OMNIGLOT_FILE} is no whole npz file"):
        omniglot(tmp_path)


def png(pixels, mode="1"):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def stroke(number, part):
    """[105, 105], 0 on 255: a bar whose place says which drawing it is, its length which part."""
    page = np.full((105, 105), 255, np.uint8)
    page[4 * number + 4 : 4 * number + 12, 20 : 80 - 10 * part] = 0
    return page


STROKES = [[png(stroke(number, part)) for number in range(DRAWERS)] for part in range(3)]
FEW = {"Latin": 2, "Greek": 1}


def published(path, alphabets, change=lambda entries: None):
    """A zip file as the official ones are laid out; `change` is given name to content."""
    folder = path.name.removesuffix(".zip")
    entries = {
        f"{folder}/{name}/{number:04}_{drawer + 1:02}.png": STROKES[vinyals(name)][
            (drawer + number) % DRAWERS
        ]
        for number, name in enumerate(class_names(alphabets))
        for drawer in range(DRAWERS)
    }
    change(entries)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_drawings_become_ink_in_the_order_of_characters_and_drawers(tmp_path):
    def change(entries):
        entries.update({name: entries.pop(name) for name in sorted(entries, reverse=True)})

    drawings = read_drawings(published(tmp_path / "a.zip", FEW), FEW)
    assert drawings.shape == (3, 20, 28, 28)
    assert drawings.dtype == np.uint8
    rows = np.arange(28)[:, None]
    for character in range(3):
        for drawer in range(DRAWERS):
            ink = drawings[character, drawer].astype(float)
            assert ink.max() > 240
            middle = 4 * ((character + drawer) % DRAWERS) + 8  # of the bar, in the drawing's pixels
            assert abs((ink * rows).sum() / ink.sum() - (middle / 105 * 28 - 0.5)) < 0.1
    assert np.array_equal(read_drawings(published(tmp_path / "b.zip", FEW, change), FEW), drawings)


def test_a_drawing_keeps_its_ink_when_it_shrinks(tmp_path):
    """Every pixel is averaged over what it covers, so grey shows and the mean stays."""
    pixels = np.where(np.random.default_rng(0).random((105, 105)) < 0.5, 0, 255).astype(np.uint8)

    def change(entries):
        entries["a/Greek/character01/0000_01.png"] = png(pixels)

    ink = read_drawings(published(tmp_path / "a.zip", FEW, change), FEW)[0, 0]
    assert abs(ink.mean() - (255 - pixels).mean()) < 1
    assert len(np.unique(ink)) > 50


def test_what_is_no_drawing_is_passed_over(tmp_path):
    def change(entries):
        entries["a/"] = b""
        entries["a/Greek/"] = b""
        entries["__MACOSX/a/Greek/character01/._0000_01.png"] = b"litter"
        entries["a/.DS_Store"] = b"litter"
        entries["../../../../tmp/escaped.png"] = b"out of here"
        entries["/etc/passwd"] = b"out of here"
        entries["a/Greek/character01/../../../0000_01.png"] = b"out of here"

    read_drawings(published(tmp_path / "a.zip", FEW, change), FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda e: e.pop("a/Latin/character02/0002_07.png"), "lacks number 7 of Latin/character02"),
        (
            lambda e: e.update({"a/Latin/character03/0009_01.png": b""}),
            "has number 1 of Latin/char",
        ),
        (
            lambda e: e.update({"a/Latin/character01/0001_21.png": b""}),
            "got 61 drawings: it has nu",
        ),
        (
            lambda e: e.update({"a/Punic/character01/0009_01.png": b""}),
            "has number 1 of Punic/char",
        ),
        (lambda e: e.clear(), "got 0 drawings: it lacks number 1 of Greek/character01"),
    ],
)
def test_other_characters_or_drawers(tmp_path, change, part):
    path = published(tmp_path / "a.zip", FEW, change)
    with pytest.raises(DataError) as error:
        read_drawings(path, FEW)
    said = str(error.value)
    assert said.startswith(f"{path} must hold 20 drawings of each of 3 characters, got ")
    assert part in said


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"no image", "must be an image of 105x105 pixels: no image that can be read"),
        (b"", "no image that can be read"),
        (STROKES[0][0][:60], "must be an image of 105x105 pixels: "),
        (png(np.zeros((28, 28), np.uint8)), "it has 28x28 pixels"),
        (png(np.zeros((9000, 9000), np.uint8)), "more than 50 million pixels"),
        (bytes(100_000_000), "must be an image of at most 65536 bytes"),  # a bomb: 100 kB packed
    ],
)
def test_entries_that_are_no_drawings(tmp_path, content, part):
    name = "a/Latin/character01/0001_03.png"
    path = published(tmp_path / "a.zip", FEW, lambda entries: entries.update({name: content}))
    with pytest.raises(DataError) as error:
        read_drawings(path, FEW)
    assert str(error.value).startswith(f"{name} in {path} must be an image")
    assert part in str(error.value)


def test_a_zip_of_too_many_entries(tmp_path):
    path = published(
        tmp_path / "a.zip",
        {},
        lambda entries: entries.update({f"a/{i}": b"" for i in range(50_001)}),
    )
    with pytest.raises(DataError, match="must hold at most 50000 entries, got 50001"):
        read_drawings(path, FEW)


def test_what_is_no_zip_file(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.raises(DataError, match=r"a.zip is no whole zip file: .*No such file"):
        read_drawings(path, FEW)
    path.write_text("<html>Sign in")
    with pytest.raises(DataError, match=r"a.zip is no whole zip file: File is not a zip file"):
        read_drawings(path, FEW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = published(tmp_path_factory.mktemp("zips") / "a.zip", {"Greek": 1})
    return SimpleNamespace(path=path.with_name("broken.zip"), content=path.read_bytes())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_zip_is_an_error_or_none_at_all(whole, data):
    """Whatever byte is wrong, the outcome is a DataError or drawings of the right shape."""
    content = bytearray(whole.content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), len(content) // 2, len(content) - 5]))
    whole.path.write_bytes(content[:end])
    try:
        drawings = read_drawings(whole.path, {"Greek": 1})
    except DataError:
        return
    assert drawings.shape == (1, 20, 28, 28)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The arrays of zip files with all the characters, each of the twenty strokes."""
    folder = tmp_path_factory.mktemp("omniglot")
    sets = zip(OMNIGLOT_REMOTES, (BACKGROUND, EVALUATION), strict=True)
    return convert_omniglot(
        {remote.name: published(folder / remote.name, which) for remote, which in sets}
    )


def test_all_of_omniglot_is_converted(converted, tmp_path):
    assert len(BACKGROUND) == 30
    assert len(EVALUATION) == 20
    assert np.bincount(converted["split_lake"]).tolist() == [964, 659]
    assert np.bincount(converted["split_vinyals"]).tolist() == [1028, 172, 423]
    write_arrays(tmp_path / OMNIGLOT_FILE, converted)
    splits = omniglot(tmp_path)
    assert [part.classes for part in splits] == [1028, 172, 423]
    assert splits.test.names[:5] == (
        *(f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)),
        "Kannada/character01",
    )
    assert set(splits.validation.groups) == {
        "Armenian",
        "Bengali",
        "Early_Aramaic",
        "Hebrew",
        "Mkhedruli_(Georgian)",
    }


def test_the_converted_layout_is_that_of_the_real_file(converted, need):
    with np.load(need.data(OMNIGLOT_FILE), allow_pickle=False) as real:
        assert set(real.files) == set(converted)
        for name in real.files:
            assert converted[name].dtype == real[name].dtype
            assert converted[name].shape == real[name].shape
            if name != "images":
                assert np.array_equal(converted[name], real[name]), name


def test_the_split_of_the_real_file_is_the_one_in_code(need):
    with np.load(need.data(OMNIGLOT_FILE), allow_pickle=False) as real:
        assert [vinyals(name) for name in real["class_name"]] == real["split_vinyals"].tolist()
        background = {name.split("/")[0] for name in real["class_name"][real["split_lake"] == 0]}
    assert background == set(BACKGROUND)

import shutil

import pytest
import torch
from tests.data.rendering import font as typeface

from hub.folders import draw_folder
from quickstudy.data import typefaces
from quickstudy.data.cache import VARIABLE
from quickstudy.data.episodes import scale
from quickstudy.data.image_warps import ImageWarp, Reframe
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError, RunError
from quickstudy.hub.handwriting import turned_classes
from quickstudy.hub.image_source import Images
from quickstudy.hub.source import SPLITS, Wanted
from quickstudy.hub.sources import open_source


def generator():
    return torch.Generator().manual_seed(0)


def test_glyphs_are_drawn_and_split(data_cache):
    source = open_source("glyphs")
    assert source.input_shape == (1, 28, 28)
    task = source.tasks("test", 5, 5, 3).sample(2, generator())
    assert task.support.x.shape == (2, 25, 1, 28, 28)
    assert 0 <= float(task.support.x.min()) < float(task.support.x.max()) <= 1
    facts = source.facts()
    assert facts["test"]["groups"] == ["Armenian", "Georgian"]
    assert facts["turned_classes"] > 2 * facts["train"]["classes"]
    for warp in (None, "pen", "none", "affine"):
        tasks = source.training_tasks(5, 1, 2, rotations=True, warp=warp)
        assert tasks.sample(1, generator()).query.x.shape == (1, 10, 1, 28, 28)
    with pytest.raises(RunError, match=r"--warp must be none, affine or pen, got 'brush'"):
        source.training_tasks(5, 1, 2, rotations=True, warp="brush")
    with pytest.raises(DataError, match=r"glyphs have the splits .* got 'all'"):
        source.tasks("all", 5, 1, 1)
    with pytest.raises(DataError, match=r"glyphs: 900-way tasks need 900 classes"):
        source.tasks("test", 900, 1, 1)


def test_meta_validation_of_glyphs_has_no_more_ways_than_characters():
    source = open_source("glyphs")
    held = source.pool("validation").classes
    for tasks in (source.validation_tasks(500, 1, 50), source.contrast_tasks(500, 1, 50)):
        assert (tasks.way, tasks.queries) == ((held, held), 50)


def test_glyphs_of_other_fonts(tmp_path, monkeypatch):
    """A few characters in thirteen faces, the last of matplotlib's STIX."""
    held, font = typefaces.characters, typeface("STIXGeneral.ttf")
    monkeypatch.setattr(typefaces, "characters", lambda face: held(face) & set(map(ord, "AGRאבԱԲ")))
    monkeypatch.setattr(typefaces, "installed_fonts", lambda: [font])
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    source = open_source("glyphs", Wanted(system_fonts=True))
    for pool in (source.pool("train"), source.faces().pool("train")):
        assert pool.counts.tolist() == [13, 13, 13]
    for split in ("validation", "test"):
        assert source.pool(split).classes == 2
    for name in ("sinusoids", str(tmp_path)):
        with pytest.raises(RunError, match=r"--system-fonts is for glyphs; .* no characters"):
            open_source(name, Wanted(system_fonts=True))


def test_a_turned_character_is_another_class():
    points = torch.tensor([[[3, -5, 0], [0, 0, -1]], [[1, 2, 0], [0, 0, -1]]], dtype=torch.int8)
    pool = Pool(points, torch.tensor([0, 1, 2]), ("A", "O"), ("Latin", "Latin"))
    turned = turned_classes(pool, torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]]))
    assert turned.names == ("A", "O", "A, turned 90")
    # A quarter anticlockwise, y down: what was right and above is now left and above.
    assert turned.images[2].tolist() == [[-5, -3, 0], [0, 0, -1]]
    assert pool.images[0, 0].tolist() == [3, -5, 0]


def test_omniglot(need):
    need.data("omniglot_28.npz")
    source = open_source("omniglot")
    assert isinstance(source, Images)
    assert {name: pool.classes for name, pool in source.pools.items()} == {
        "train": 1028,
        "validation": 172,
        "test": 423,
    }
    fewer = source.without("Old_Church_Slavonic_(Cyrillic)")
    assert "Old_Church_Slavonic_(Cyrillic)" in source.pool("test").groups
    assert "Old_Church_Slavonic_(Cyrillic)" not in fewer.pool("test").groups
    assert source.tasks("test", 20, 1, 5).sample(1, generator()).support.x.shape[1] == 20


def test_photos_of_groceries(need):
    need.data("grocery_81_jpeg84.npz")
    source = open_source("grocery")
    assert isinstance(source, Images)
    assert source.input_shape == (3, 84, 84)
    facts = source.facts()
    assert [facts[split]["classes"] for split in ("train", "validation", "test")] == [45, 12, 24]
    sizes = {"ways": 5, "shots": 5, "queries": 15, "rotations": False}
    framed = source.training_tasks(**sizes, warp=None)
    assert framed.transform == Reframe()
    assert framed.pool.classes == 45  # none has too few photos
    assert source.without("Apple").training_tasks(**sizes, warp=None).transform == Reframe()
    assert source.training_tasks(**sizes, warp="none").transform is scale
    assert source.training_tasks(**sizes, warp="affine").transform == ImageWarp(padding="border")
    for split in ("train", "validation", "test"):
        assert source.tasks(split, 5, 5, 15).transform is scale
    turned = source.training_tasks(5, 1, 15, rotations=True, warp=None)
    task = turned.sample(2, generator())
    assert task.query.x.shape == (2, 75, 3, 84, 84)
    assert 0 <= float(task.query.x.min()) < float(task.query.x.max()) <= 1
    with pytest.raises(DataError, match=r"grocery has no split 'all'; it has train, validation"):
        source.tasks("all", 5, 1, 1)


def test_a_folder_is_split_the_same_way_every_time(photos):
    source = open_source(str(photos))
    again = open_source(str(photos), Wanted(size=16))
    assert source.input_shape == (1, 20, 20)
    assert again.input_shape == (1, 16, 16)
    for split in SPLITS:
        assert source.pool(split).names == again.pool(split).names
    names = [set(source.pool(split).names) for split in ("train", "validation", "test")]
    assert set.union(*names) == set(source.pool("all").names)
    assert sum(map(len, names)) == 12


def test_meta_validation_is_as_large_as_there_are_classes(photos):
    source = open_source(str(photos))
    task = source.validation_tasks(20, 1, 50).sample(1, generator())
    classes = source.pool("validation").classes
    assert task.query.y.shape == (1, classes * 4, classes)


def test_colour(tmp_path):
    draw_folder(tmp_path, classes=3, each=2, colour=True)
    assert open_source(str(tmp_path)).input_shape == (3, 20, 20)
    assert open_source(str(tmp_path), Wanted(channels=1)).input_shape == (1, 20, 20)


def test_a_small_folder_can_be_judged_but_not_trained_on(tmp_path):
    draw_folder(tmp_path, classes=3, each=2)
    source = open_source(str(tmp_path))
    assert source.tasks("all", 3, 1, 1).sample(1, generator()).support.y.shape == (1, 3, 3)
    with pytest.raises(DataError, match=r"has 3 classes; splitting them .* takes at least 6"):
        source.tasks("train", 2, 1, 1)


def test_few_classes_beside_what_another_machine_left(tmp_path):
    draw_folder(tmp_path, classes=2, each=2)
    (tmp_path / "__MACOSX").mkdir()
    assert open_source(str(tmp_path)).tasks("all", 2, 1, 1).way == (2, 2)


def test_a_folder_that_is_split_already(tmp_path):
    for part, classes in {"train": 6, "val": 2, "test": 3}.items():
        drawn = draw_folder(tmp_path / part, classes=classes, each=3, seed=classes)
        for folder in drawn.iterdir():
            folder.rename(folder.with_name(f"{part}-{folder.name}"))
    source = open_source(str(tmp_path))
    assert {name: pool.classes for name, pool in source.pools.items()} == {
        "all": 11,
        "train": 6,
        "validation": 2,
        "test": 3,
    }
    assert all(name.startswith("val-") for name in source.pool("validation").names)
    shutil.rmtree(tmp_path / "val" / "val-class01")
    with pytest.raises(DataError, match=r"val must hold at least 2 class folders .* got 1 folders"):
        open_source(str(tmp_path))
    shutil.rmtree(tmp_path / "val")
    for wanted in (Wanted(), Wanted(preprocessing=source.preprocessing)):
        with pytest.raises(DataError, match=r"must hold train, val and test, .*only test, train"):
            open_source(str(tmp_path), wanted)


def test_images_are_bent_where_that_is_wanted(photos):
    source = open_source(str(photos))
    sizes = {"ways": 2, "shots": 1, "queries": 2, "rotations": False}
    plain, same, bent = (
        source.training_tasks(**sizes, warp=warp).sample(2, generator()).query.x
        for warp in (None, "none", "affine")
    )
    assert torch.equal(plain, same)
    assert bent.shape == plain.shape
    assert bent.dtype == plain.dtype
    assert not torch.equal(bent, plain)
    again = source.training_tasks(**sizes, warp="affine").sample(2, generator())
    assert torch.equal(again.query.x, bent)
    # Paper stays paper beyond its edge, where ink has nothing.
    for polarity, padding in (("as-is", "border"), ("ink", "zeros")):
        how = source.preprocessing.model_copy(update={"polarity": polarity})
        images = Images("p", source.pools, how, curated=False, device=torch.device("cpu"))
        assert images.training_tasks(**sizes, warp="affine").transform == ImageWarp(padding=padding)
    with pytest.raises(RunError, match=r"--warp of p must be none or affine, got 'crop'"):
        images.training_tasks(**sizes, warp="crop")  # mirrored characters are other characters
    assert source.training_tasks(**sizes, warp="crop").transform == Reframe()
    with pytest.raises(RunError, match=r"--warp of .* must be none, affine or crop, got 'pen'"):
        source.training_tasks(**sizes, warp="pen")
    assert source.tasks("test", 2, 1, 1).transform is scale


def test_formulas():
    values = open_source("sinusoids")
    assert values.outputs == 1
    assert values.training_tasks(5, 3, 2, rotations=False, warp=None).shot == 3
    assert open_source("blobs").tasks("test", 4, 1, 1).way == 4
    with pytest.raises(RunError, match=r"are no images, so it takes no --rotations"):
        values.training_tasks(5, 1, 1, rotations=True, warp=None)
    with pytest.raises(RunError, match=r"are no images, so it takes no --warp"):
        values.training_tasks(5, 1, 1, rotations=False, warp="pen")
    with pytest.raises(RunError, match=r"takes one number of ways and shots"):
        values.tasks("test", (2, 5), 1, 1)


def test_a_built_in_collection_has_its_own_size():
    with pytest.raises(RunError, match=r"--size is for folders of images"):
        open_source("omniglot", Wanted(size=40))

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.groceries import EACH, KINDS, checkout, photos_named

from quickstudy.data.cache import write_arrays
from quickstudy.data.grocery import (
    GROCERY_CHECKOUT,
    GROCERY_FILE,
    PHOTOS,
    SIDE,
    TEST,
    TRAIN,
    VALIDATION,
    convert_grocery,
    grocery,
    part_of,
    read_classes,
)
from quickstudy.data.pools import join
from quickstudy.data.sources import obtain
from quickstudy.errors import DataError


def convert(folder, photos=None):
    files = {GROCERY_CHECKOUT.name: folder}
    return convert_grocery(files, photos_named() if photos is None else photos)


def opened(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(checkout(tmp_path_factory.mktemp("photos")))


def test_the_tables_hold_every_coarse_class_once():
    names = [*TRAIN, *VALIDATION, *TEST]
    assert len(names) == len(set(names)) == 43
    assert {part_of(name) for name in TEST} == {2}
    with pytest.raises(DataError, match=r"coarse classes must be those of .*, got 'Bread'"):
        part_of("Bread")


def test_the_real_photos_are_split_by_coarse_class(need):
    need.data(GROCERY_FILE)
    splits = grocery()
    assert [part.classes for part in splits] == [45, 12, 24]
    assert sum(len(part.images) for part in splits) == 5421
    for part, table in zip(splits, (TRAIN, VALIDATION, TEST), strict=True):
        assert set(part.groups) == set(table)
        assert int(part.counts.min()) >= 35  # 5 shots, 15 queries and 15 unlabelled
        assert part.images.dtype == torch.uint8
        assert part.images.shape[1:] == (3, 84, 84)
        goods = part.images.float().mean((0, 2, 3)).tolist()
        assert goods[0] > goods[2] + 20  # red above blue: fruit, wood and warm light
    kinds = [(17, 17, 11), (4, 4, 4), (7, 10, 7)]
    with np.load(need.data(GROCERY_FILE), allow_pickle=False) as real:
        order = real["name"].tolist()
    for part, sizes in zip(splits, kinds, strict=True):  # fruit first, then packages, vegetables
        places = np.array([order.index(name) for name in part.names])
        assert np.histogram(places, [0, 28, 59, 81])[0].tolist() == list(sizes)


def test_pools_hold_the_photos_of_the_real_file(need):
    with np.load(need.data(GROCERY_FILE), allow_pickle=False) as real:
        jpeg, offsets, labels, names, coarse, coarse_names = (
            real[name]
            for name in ("jpeg", "offsets", "labels", "name", "coarse_labels", "coarse_name")
        )
    for part in grocery():
        for label in (0, part.classes // 2, part.classes - 1):
            rows = np.flatnonzero(names[labels] == part.names[label])
            assert len(rows) == part.counts[label]
            for row in (0, len(rows) - 1):
                image = part.images[int(part.offsets[label]) + row].numpy().transpose(1, 2, 0)
                file = jpeg[offsets[rows[row]] : offsets[rows[row] + 1]]
                assert np.array_equal(image, opened(file))
            assert coarse_names[coarse[rows[0]]] == part.groups[label]


def test_a_converted_checkout_has_the_layout_of_the_real_file(converted, need):
    with np.load(need.data(GROCERY_FILE), allow_pickle=False) as real:
        assert set(real.files) == set(converted)
        for name in real.files:
            assert real[name].dtype.kind == converted[name].dtype.kind, name
            assert real[name].ndim == converted[name].ndim
            if name not in ("name", "coarse_name"):
                assert real[name].dtype == converted[name].dtype, name
        assert np.bincount(real["source_split"]).tolist() == list(PHOTOS)
        first = real["jpeg"][: real["offsets"][1]]
    tables = [
        Image.open(io.BytesIO(jpeg.tobytes())).quantization
        for jpeg in (first, converted["jpeg"][: converted["offsets"][1]])
    ]
    assert tables[0] == tables[1]  # kept as well


def test_a_checkout_becomes_photos_with_their_classes(converted):
    total = sum(photos_named())
    assert converted["offsets"].shape == (total + 1,)
    assert np.bincount(converted["source_split"]).tolist() == photos_named()
    assert np.bincount(converted["labels"]).tolist() == [sum(EACH)] * len(KINDS)
    for row in range(total):
        fine, coarse = converted["labels"][row], converted["coarse_labels"][row]
        assert (converted["name"][fine], converted["coarse_name"][coarse]) == KINDS[fine]
        image = opened(converted["jpeg"][slice(*converted["offsets"][row : row + 2])])
        assert image.shape == (SIDE, SIDE, 3)
        colour = [fine * 16, 255 - fine * 16, (fine * 80) % 256]
        assert np.abs(image.mean((0, 1)) - colour).max() < 8


def test_converting_takes_the_middle_square(tmp_path):
    """Nothing is squeezed: of a wide photo the sides are lost, of a high one above and below."""
    folder = checkout(tmp_path)
    place = folder / "dataset" / "train" / "Apple" / "Kind-0-Apple_001.jpg"
    for shape in ((60, 100), (100, 60)):
        pixels = np.zeros((*shape, 3), np.uint8)
        middle = pixels[tuple(slice((side - 60) // 2, (side + 60) // 2) for side in shape)]
        middle[:30, :30], middle[30:, 30:] = (255, 0, 0), (0, 0, 255)
        Image.fromarray(pixels).save(place, quality=100)
        arrays = convert(folder)
        image = opened(arrays["jpeg"][: arrays["offsets"][1]]).astype(int)
        assert np.abs(image[4:36, 4:36] - [255, 0, 0]).max() < 20
        assert np.abs(image[48:80, 48:80] - [0, 0, 255]).max() < 20
        assert max(image[4:36, 48:80].max(), image[48:80, 4:36].max()) < 20


def test_the_folder_in_the_checkout_will_do(converted, tmp_path):
    arrays = convert(checkout(tmp_path) / "dataset")
    assert all(np.array_equal(arrays[name], converted[name]) for name in converted)


def test_what_was_converted_is_read(converted, tmp_path):
    write_arrays(tmp_path / GROCERY_FILE, converted)
    splits = grocery(tmp_path)
    assert [part.classes for part in splits] == [7, 2, 4]
    assert splits.train.names[:4] == ("Kind-0-Apple", "Kind-1-Apple", "Kind-2-Apple", "Avocado")
    assert splits.train.groups[:4] == ("Apple", "Apple", "Apple", "Avocado")
    assert splits.test.names[2:] == ("Red-Bell-Pepper", "Green-Bell-Pepper")
    pool = join(splits)
    assert pool.counts.tolist() == [sum(EACH)] * len(KINDS)
    place = {name: fine for fine, (name, _) in enumerate(KINDS)}
    for image, label in zip(pool.images, pool.labels.tolist(), strict=True):
        red = 16 * place[pool.names[label]]
        assert abs(float(image[0].float().mean()) - red) < 8


def test_without_the_file_the_error_says_how_to_get_it(tmp_path):
    for ask in (lambda: grocery(tmp_path), lambda: obtain("grocery", tmp_path)):
        with pytest.raises(DataError) as error:
            ask()
        said = str(error.value)
        assert f"`git clone {GROCERY_CHECKOUT.url}`" in said
        assert "`quickstudy data prepare grocery --from GroceryStoreDataset`" in said
        assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["https://example.org/a.zip", "/no/such/folder"])
def test_only_a_folder_is_a_checkout(tmp_path, given):
    with pytest.raises(DataError, match=rf"--from GroceryStoreDataset`; got {given}, which is no"):
        obtain("grocery", tmp_path, mirror=given)
    assert list(tmp_path.iterdir()) == []


def rewrite(name, change):
    """An edit of one of the files in a checkout."""

    def edit(dataset):
        path = dataset / name
        path.write_text(change(path.read_text()))

    return edit


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda d: (d / "classes.csv").unlink(), "classes.csv: No such file"),
        (rewrite("classes.csv", lambda s: s.replace("Coarse Class ID", "Id")), "have the columns"),
        (rewrite("classes.csv", lambda s: s.replace("Apple,1,", "Apple,one,")), "invalid literal"),
        (rewrite("classes.csv", lambda s: s.replace("Apple,1,", "Apple,99,")), "numbered from 0"),
        (rewrite("classes.csv", lambda s: s.partition("\n")[0]), "numbered from 0, got []"),
        (rewrite("classes.csv", lambda s: s.replace(",Pepper,", ",Bread,")), "got 'Bread'"),
        (rewrite("classes.csv", lambda s: s + "\nBanana-2,13,Banana,4,x"), "no photo of Banana-2"),
        (lambda d: (d / "val.txt").unlink(), "val.txt: No such file"),
        (lambda d: (d / "val.txt").write_bytes(b"\xff\xfe"), "cannot read"),
        (rewrite("val.txt", lambda s: s.replace(", 0, 0", ", 0, 1")), "line 1 of"),
        (rewrite("val.txt", lambda s: s.replace(", 0, 0", "")), "its class and its coarse class"),
        (rewrite("val.txt", lambda s: s.replace(", 0, 0", ", -1, 0")), "line 1 of"),
        (rewrite("test.txt", lambda s: s.replace("test/", "/etc/", 1)), "a photo in test/"),
        (rewrite("test.txt", lambda s: s.replace("test/", "test/../../", 1)), "a photo in test/"),
        (
            rewrite("test.txt", lambda s: s.partition("\n")[2]),
            "[39, 13, 26] photos, got [39, 13, 25",
        ),
        (lambda d: (d / "train/Apple/Kind-0-Apple_001.jpg").unlink(), "001.jpg must be a photo"),
        (
            lambda d: (d / "train/Apple/Kind-0-Apple_001.jpg").write_bytes(b"<html>"),
            "Kind-0-Apple_001.jpg must be a photo: no image that can be read",
        ),
    ],
)
def test_what_is_no_such_checkout(tmp_path, edit, part):
    folder = checkout(tmp_path / "checkout")
    edit(folder / "dataset")
    with pytest.raises(DataError) as error:
        convert(folder)
    assert part in str(error.value)
    assert str(folder) in str(error.value) or "got 'Bread'" in str(error.value)


def test_a_part_of_the_photos_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"must name \[2640, 296, 2485\] photos, got \[39, 13, 26\]"
    ):
        convert(checkout(tmp_path), PHOTOS)


def test_a_table_of_classes(tmp_path):
    (tmp_path / "a.csv").write_text(
        "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)\n"
        '"Pear, green",1,Pear,0\nKiwi,2,Kiwi,1\nPear,0,Pear,0\n'
    )
    assert read_classes(tmp_path / "a.csv") == (
        ["Pear", "Pear, green", "Kiwi"],
        ["Pear", "Kiwi"],
        [0, 0, 1],
    )


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda a: a.pop("coarse_name"), "lacks coarse_name"),
        (lambda a: a.update(jpeg=a["jpeg"].astype(int)), "jpeg in"),
        (lambda a: a.update(labels=a["labels"][1:]), "coarse_labels in"),
        (lambda a: a.update(labels=a["labels"][:0]), "must be whole numbers [n], got int16 [0]"),
        (lambda a: a.update(coarse_labels=a["coarse_labels"][1:]), "whole numbers [78], got int16"),
        (lambda a: a.update(offsets=a["offsets"][1:]), "whole numbers [79], got int64 [78]"),
        (lambda a: a.update(labels=a["labels"] + 0.5), "got float64 [78]"),
        (lambda a: a.update(labels=a["labels"] - 1), "0..12, all of them, got 13 in -1..11"),
        (lambda a: a.update(name=a["name"][:5]), "0..4, all of them, got 13 in 0..12"),
        (lambda a: a.update(coarse_name=a["coarse_name"][[0, *range(10)]]), "coarse_labels in"),
        (lambda a: a.update(coarse_labels=a["coarse_labels"][::-1]), "one coarse class for each"),
        (lambda a: a.update(coarse_name=a["coarse_name"].astype("S")), "must be strings"),
        (lambda a: a.update(name=a["name"][[0, *range(12)]]), "more than once"),
        (lambda a: a.update(offsets=a["offsets"][::-1]), "must rise from 0 to the"),
        (lambda a: a.update(offsets=a["offsets"] + 1), "must rise from 0 to the"),
        (lambda a: a.update(jpeg=a["jpeg"] // 2), "must be an image of 84x84 pixels: no image"),
        (lambda a: a.update(coarse_name=np.array([*TRAIN[:10]])), "holds no class of meta-valid"),
    ],
)
def test_another_layout_is_refused(converted, tmp_path, change, part):
    arrays = dict(converted)
    change(arrays)
    write_arrays(tmp_path / GROCERY_FILE, arrays)
    with pytest.raises(DataError) as error:
        grocery(tmp_path)
    assert part in str(error.value)


def test_photos_of_another_size_are_refused(converted, tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (84, 48), "red").save(file, "JPEG")
    jpeg, offsets = converted["jpeg"], converted["offsets"].copy()
    start, stop = offsets[3:5]
    jpegs = [jpeg[:start], np.frombuffer(file.getvalue(), np.uint8), jpeg[stop:]]
    offsets[4:] += len(jpegs[1]) - (stop - start)
    arrays = {**converted, "jpeg": np.concatenate(jpegs), "offsets": offsets}
    write_arrays(tmp_path / GROCERY_FILE, arrays)
    with pytest.raises(DataError, match=r"photo 3 in .* of 84x84 pixels: it has 84x48 pixels"):
        grocery(tmp_path)


def test_a_photo_in_two_parts_is_refused(converted, tmp_path):
    """The same photo of an apple and of a melon would be a leak."""
    rows = np.arange(sum(photos_named()))
    rows[np.flatnonzero(converted["labels"] == 3)[0]] = 0
    jpeg, offsets = converted["jpeg"], converted["offsets"]
    jpegs = [jpeg[offsets[row] : offsets[row + 1]] for row in rows]
    ends = np.cumsum([0, *map(len, jpegs)])
    write_arrays(
        tmp_path / GROCERY_FILE, {**converted, "jpeg": np.concatenate(jpegs), "offsets": ends}
    )
    with pytest.raises(DataError, match="train and validation must share no image, got 1 of"):
        grocery(tmp_path)

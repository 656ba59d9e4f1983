"""Photos of groceries: what they show, how they are split, and how a checkout becomes arrays."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from quickstudy.data.cache import cache_folders, find, read_arrays
from quickstudy.data.checkout import Checkout
from quickstudy.data.pools import Pool, Splits
from quickstudy.data.preprocessing import Unreadable, decode, opened
from quickstudy.errors import DataError

GROCERY_FILE = "grocery_81_jpeg84.npz"
SIDE, QUALITY = 84, 90
"""Of the cached JPEGs: side in pixels, and how well they are kept."""
GROCERY_CHECKOUT = Checkout("https://github.com/marcusklasson/GroceryStoreDataset")
LISTS = ("train.txt", "val.txt", "test.txt")
"""The publisher's own parts, in which every class may have photos: no split by class."""
PHOTOS = (2640, 296, 2485)
"""How many each of these lists names."""
NAME, NUMBER = "Class Name (str)", "Class ID (int)"
COARSE_NAME, COARSE_NUMBER = "Coarse Class Name (str)", "Coarse Class ID (int)"

TRAIN = (
    *("Apple", "Avocado", "Banana", "Kiwi", "Nectarine", "Passion-Fruit", "Peach", "Pear"),
    *("Pineapple", "Plum", "Pomegranate"),
    *("Milk", "Oatghurt", "Oat-Milk", "Sour-Cream", "Sour-Milk", "Yoghurt"),
    *("Aubergine", "Cabbage", "Carrots", "Garlic", "Ginger", "Mushroom", "Onion", "Potato"),
    "Red-Beet",
)
"""Coarse classes of meta-train: 17 kinds of fruit, 17 of packages, 11 of vegetables."""
VALIDATION = ("Melon", "Soyghurt", "Soy-Milk", "Asparagus", "Cucumber", "Leek", "Zucchini")
"""Those of meta-validation: 4, 4 and 4."""
TEST = (
    *("Lemon", "Lime", "Mango", "Orange", "Papaya", "Red-Grapefruit", "Satsumas"),
    *("Juice", "Pepper", "Tomato"),
)
"""Those of meta-test: 7, 10 and 7."""


def grocery(cache: Path | str | None = None) -> Splits:
    """The Grocery Store photos (Klasson et al. 2019): 81 kinds of goods, 35 to 143 photos of each.

    They were taken with a phone in shops, often several of one shelf in a row, so that support and
    query may show the same goods. Every class has enough for 5 shots, 15 queries and as many more.

    Differs: the publisher splits the photos of each class, which is no split for tasks of new
    classes. Here the 43 coarse classes are split, by the tables above, into 45, 12 and 24 fine
    ones, so that kinds of apple are never told apart in meta-test after other kinds of apple in
    meta-train. Coarse classes that look alike (citrus fruit, peaches and apples, the milk and the
    yoghurt of a dairy, tomatoes and peppers) are in one part too, and each part has fruit,
    vegetables and packages. The tables were made from the names alone, before anything was trained.

    Args:
        cache: the folder that holds `grocery_81_jpeg84.npz`; see `cache_folders`.

    Returns:
        Pools of uint8 [n, 3, 84, 84]; groups are the coarse classes.

    Raises:
        DataError: the file is not there, or is not what it should be.
    """
    path = find(GROCERY_FILE, cache)
    if path is None:
        raise DataError(
            "the grocery photos are not in the data cache "
            f"({', '.join(map(str, cache_folders(cache)))}): {GROCERY_CHECKOUT.advice('grocery')}"
        )
    arrays = read_arrays(path)
    _check(arrays, path)
    labels, coarse = (arrays[name].astype(np.int64) for name in ("labels", "coarse_labels"))
    first = np.unique(labels, return_index=True)[1]
    groups = [str(name) for name in arrays["coarse_name"][coarse[first]]]
    parts = np.array([part_of(group) for group in groups])
    classes = np.argsort(parts, kind="stable")
    rows = np.argsort(np.argsort(classes)[labels], kind="stable")
    images = _decoded(arrays["jpeg"], arrays["offsets"].astype(np.int64), rows, path)
    ends = np.concatenate([[0], np.bincount(labels)[classes].cumsum()])
    pools = []
    for part in range(3):
        own = np.flatnonzero(parts[classes] == part)
        if not len(own):
            raise DataError(f"{path} holds no class of meta-{Splits._fields[part]}")
        start, stop = int(own[0]), int(own[-1]) + 1
        pools.append(
            Pool(
                images[ends[start] : ends[stop]],  # a view: the photos are held once
                torch.from_numpy(ends[start : stop + 1] - ends[start]),
                tuple(str(arrays["name"][i]) for i in classes[start:stop]),
                tuple(groups[i] for i in classes[start:stop]),
            )
        )
    return Splits.disjoint(*pools)


def part_of(coarse: str) -> int:
    """The part that a coarse class is in: 0 meta-train, 1 meta-validation, 2 meta-test.

    Raises:
        DataError: the tables do not hold it.

    Examples:
        >>> [part_of(name) for name in ("Apple", "Melon", "Juice")]
        [0, 1, 2]
    """
    for part, names in enumerate((TRAIN, VALIDATION, TEST)):
        if coarse in names:
            return part
    raise DataError(f"coarse classes must be those of {GROCERY_CHECKOUT.url}, got {coarse!r}")


def convert_grocery(
    files: Mapping[str, Path], photos: Sequence[int] = PHOTOS
) -> dict[str, NDArray[np.generic]]:
    """A checkout of the publisher's repository as the arrays of `grocery_81_jpeg84.npz`.

    The middle square of each photo is shrunk to 84x84 and kept as a JPEG. No digest of the
    repository is known here: that its lists name as many photos as they should is what is checked.

    Args:
        files: the repository's name to the checkout, or to the folder `dataset` in it.
        photos: how many each of the `LISTS` must name.

    Returns:
        jpeg, the bytes of all photos; offsets [photos + 1], photo i is
        jpeg[offsets[i]:offsets[i + 1]]; labels and coarse_labels [photos] into name and
        coarse_name; source_split, the list it was in: 0 train, 1 val, 2 test.

    Raises:
        DataError: the folder is no such checkout, or holds files that are no images.
    """
    given = files[GROCERY_CHECKOUT.name]
    folder = given / "dataset" if (given / "dataset").is_dir() else given
    names, coarse_names, coarse = read_classes(folder / "classes.csv")
    listed = [read_list(folder / name, coarse) for name in LISTS]
    sizes = [len(rows) for rows in listed]
    if sizes != list(photos):
        raise DataError(
            f"{', '.join(LISTS)} in {folder} must name {list(photos)} photos, got {sizes}"
        )
    rows = [row for part in listed for row in part]
    missing = sorted(set(range(len(names))) - {label for _, label in rows})
    if missing:
        raise DataError(f"{folder} has no photo of {names[missing[0]]}")
    jpegs = [_jpeg(folder / path) for path, _ in rows]
    labels = np.array([label for _, label in rows], np.int16)
    return {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offsets": np.cumsum([0, *map(len, jpegs)], dtype=np.int64),
        "labels": labels,
        "coarse_labels": np.array(coarse, np.int16)[labels],
        "source_split": np.repeat(np.arange(3, dtype=np.uint8), sizes),
        "name": np.array(names),
        "coarse_name": np.array(coarse_names),
    }


def read_classes(path: Path) -> tuple[list[str], list[str], list[int]]:
    """The publisher's table of classes.

    Args:
        path: a CSV file with the name and number of each fine class and of its coarse one.

    Returns:
        The names of the fine classes, those of the coarse ones, and each fine class's coarse one.

    Raises:
        DataError: no such file, or one with other columns, numbers or coarse classes.
    """
    names: dict[int, str] = {}
    coarse_names: dict[int, str] = {}
    coarse: dict[int, int] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fine = int(row[NUMBER])
                names[fine], coarse[fine] = row[NAME], int(row[COARSE_NUMBER])
                coarse_names[coarse[fine]] = row[COARSE_NAME]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        columns = ", ".join((NAME, NUMBER, COARSE_NAME, COARSE_NUMBER))
        raise DataError(f"{path} must have the columns {columns}: {error}") from error
    for numbers in (names, coarse_names):
        if not numbers or sorted(numbers) != list(range(len(numbers))):
            raise DataError(f"classes in {path} must be numbered from 0, got {sorted(numbers)}")
    for name in coarse_names.values():
        part_of(name)
    return (
        [names[i] for i in range(len(names))],
        [coarse_names[i] for i in range(len(coarse_names))],
        [coarse[i] for i in range(len(names))],
    )


def read_list(path: Path, coarse: Sequence[int]) -> list[tuple[str, int]]:
    """One of the publisher's lists of photos.

    Args:
        path: a file of lines "<path>, <fine class>, <coarse class>".
        coarse: the coarse class of each fine one.

    Returns:
        Path from the list's folder, and fine class, of each photo.

    Raises:
        DataError: no such file, or lines that say something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        photo, *labels = (part.strip() for part in line.split(","))
        inside = PurePosixPath(photo)
        if (
            inside.parts[:1] != (path.stem,)
            or ".." in inside.parts
            or labels not in ([str(fine), str(coarse[fine])] for fine in range(len(coarse)))
        ):
            raise DataError(
                f"line {number} of {path} must be a photo in {path.stem}/, its class and its "
                f"coarse class, as in classes.csv; got {line!r}"
            )
        rows.append((photo, int(labels[0])))
    return rows


def _jpeg(path: Path) -> bytes:
    """The middle square of a photo, as a small JPEG file."""
    try:
        photo = decode(path).convert("RGB")
    except Unreadable as reason:
        raise DataError(f"{path} must be a photo: {reason}") from reason
    file = io.BytesIO()
    ImageOps.fit(photo, (SIDE, SIDE), Image.Resampling.LANCZOS).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _check(arrays: Mapping[str, NDArray[np.generic]], path: Path) -> None:
    """Refuse arrays of another layout."""
    kinds = {"labels": "iu", "coarse_labels": "iu", "offsets": "iu"}
    kinds |= {"jpeg": "u", "name": "U", "coarse_name": "U"}
    missing = set(kinds) - set(arrays)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}")
    photos = arrays["labels"].size
    sizes = {"offsets": photos + 1, "labels": photos, "coarse_labels": photos}
    for name, kind in kinds.items():
        array = arrays[name]
        wanted = sizes.get(name, array.size)
        if array.dtype.kind not in kind or array.shape != (wanted,) or not wanted:
            what = {"u": "bytes", "iu": "whole numbers", "U": "strings"}[kind]
            raise DataError(
                f"{name} in {path} must be {what} [{wanted or 'n'}], "
                f"got {array.dtype} {list(array.shape)}"
            )
    for name in ("", "coarse_"):
        found, known = np.unique(arrays[f"{name}labels"]), arrays[f"{name}name"]
        if not np.array_equal(found, np.arange(len(known))):
            raise DataError(
                f"{name}labels in {path} must be 0..{len(known) - 1}, all of them, "
                f"got {len(found)} in {found[0]}..{found[-1]}"
            )
    pairs = np.stack([arrays["labels"], arrays["coarse_labels"]])
    if np.unique(pairs, axis=1).shape[1] != len(arrays["name"]):
        raise DataError(f"{path} must have one coarse class for each class")
    ends, size = arrays["offsets"].astype(np.int64), len(arrays["jpeg"])
    if ends[0] != 0 or ends[-1] != size or (np.diff(ends) <= 0).any():
        raise DataError(
            f"offsets in {path} must rise from 0 to the {size} bytes of jpeg, "
            f"got {ends[0]} to {ends[-1]}"
        )


def _decoded(
    jpeg: NDArray[np.generic], offsets: NDArray[np.int64], rows: NDArray[np.int64], path: Path
) -> UInt8[Tensor, "n 3 side side"]:
    """The photos in the order of `rows`."""
    images = torch.empty(len(rows), 3, SIDE, SIDE, dtype=torch.uint8)
    for image, row in zip(images.numpy(), rows.tolist(), strict=True):
        try:
            with opened(io.BytesIO(jpeg[offsets[row] : offsets[row + 1]].tobytes())) as photo:
                if photo.size != (SIDE, SIDE):
                    raise Unreadable(f"it has {photo.width}x{photo.height} pixels")
                image[:] = np.asarray(photo.convert("RGB")).transpose(2, 0, 1)
        except Unreadable as reason:
            raise DataError(
                f"photo {row} in {path} must be an image of {SIDE}x{SIDE} pixels: {reason}"
            ) from reason
    return images

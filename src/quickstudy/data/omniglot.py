"""Omniglot: what it holds, how the field splits it, and how the published files become arrays."""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from quickstudy.data.cache import VARIABLE, cache_folders, find, read_arrays
from quickstudy.data.download import Remote
from quickstudy.data.pools import Pool, Splits
from quickstudy.data.preprocessing import Unreadable, opened
from quickstudy.errors import DataError

OMNIGLOT_FILE = "omniglot_28.npz"
DRAWERS = 20
SIDE, DRAWN_SIDE = 28, 105
"""Of an image in pixels: here, and as published."""

# Sizes and digests: github.com/tensorflow/datasets, tensorflow_datasets/url_checksums/omniglot.txt
OMNIGLOT_REMOTES = (
    Remote(
        "https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip",
        9_464_212,
        "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    ),
    Remote(
        "https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip",
        6_462_886,
        "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
    ),
)

BACKGROUND = {
    "Alphabet_of_the_Magi": 20,
    "Anglo-Saxon_Futhorc": 29,
    "Arcadian": 26,
    "Armenian": 41,
    "Asomtavruli_(Georgian)": 40,
    "Balinese": 24,
    "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
    "Braille": 26,
    "Burmese_(Myanmar)": 34,
    "Cyrillic": 33,
    "Early_Aramaic": 22,
    "Futurama": 26,
    "Grantha": 43,
    "Greek": 24,
    "Gujarati": 48,
    "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Japanese_(hiragana)": 52,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Malay_(Jawi_-_Arabic)": 40,
    "Mkhedruli_(Georgian)": 41,
    "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Sanskrit": 42,
    "Syriac_(Estrangelo)": 23,
    "Tagalog": 17,
    "Tifinagh": 55,
}
"""Alphabets of images_background.zip, and how many characters each has: 964 in all."""
EVALUATION = {
    "Angelic": 20,
    "Atemayar_Qelisayer": 26,
    "Atlantean": 26,
    "Aurek-Besh": 26,
    "Avesta": 26,
    "Ge_ez": 26,
    "Glagolitic": 45,
    "Gurmukhi": 45,
    "Kannada": 41,
    "Keble": 26,
    "Malayalam": 47,
    "Manipuri": 40,
    "Mongolian": 30,
    "Old_Church_Slavonic_(Cyrillic)": 45,
    "Oriya": 46,
    "Sylheti": 28,
    "Syriac_(Serto)": 23,
    "Tengwar": 25,
    "Tibetan": 42,
    "ULOG": 26,
}
"""Those of images_evaluation.zip: 659 in all."""

# The split of Vinyals et al. 2016: the first 1,200 characters to train on, the other 423 to test,
# and so the last four of Gurmukhi among the latter. Later work took five alphabets of the former
# for validation.
VALIDATION = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
"""Alphabets of meta-validation."""
TEST = {name for name in EVALUATION if name > "Gurmukhi"}
"""Alphabets of meta-test: the last twelve of the evaluation set."""
TEST_CHARACTERS = {f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)}
"""Characters of meta-test whose alphabet is in meta-train."""

MOST_ENTRIES, MOST_BYTES = 50_000, 64 * 1024
"""Of a published zip, and of one image in it; they have about 20,000, and 150 bytes."""


def omniglot(cache: Path | str | None = None) -> Splits:
    """Omniglot (Lake et al. 2015): 1,623 handwritten characters, 20 drawings of each.

    Split as by Vinyals et al. (2016), in the form that the field uses: 1,028 characters of
    meta-train, 172 of meta-validation, 423 of meta-test. Four characters of Gurmukhi are in
    meta-test, the others in meta-train; all other alphabets are whole.

    Args:
        cache: the folder that holds `omniglot_28.npz`; see `cache_folders`.

    Returns:
        Pools of uint8 [n, 1, 28, 28], ink 255 on 0; groups are the alphabets.

    Raises:
        DataError: the file is not there, or is not what it should be.
    """
    path = find(OMNIGLOT_FILE, cache)
    if path is None:
        raise DataError(
            f"Omniglot is not in the data cache ({', '.join(map(str, cache_folders(cache)))}): "
            f"`quickstudy data prepare omniglot` fetches it; or put {OMNIGLOT_FILE} (images uint8 "
            f"[1623, 20, 28, 28] with ink 255, class_name, alphabet, alphabet_index, split_vinyals "
            f"0 train, 1 validation, 2 test) into the folder that ${VARIABLE} names"
        )
    arrays = read_arrays(path)
    missing = {"images", "class_name", "alphabet", "alphabet_index", "split_vinyals"} - set(arrays)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}")
    images, names, split = arrays["images"], arrays["class_name"], arrays["split_vinyals"]
    if images.dtype != np.uint8 or images.shape[1:] != (DRAWERS, SIDE, SIDE):
        raise DataError(
            f"images in {path} must be uint8 [1623, 20, 28, 28], "
            f"got {images.dtype} {list(images.shape)}"
        )
    index = arrays["alphabet_index"]
    if not len(images) == len(names) == len(split) == len(index) == 1623:
        raise DataError(
            f"{path} must hold 1623 classes, got {len(images)} of images, {len(names)} of "
            f"class_name, {len(index)} of alphabet_index, {len(split)} of split_vinyals"
        )
    sizes = np.bincount(split.astype(np.int64), minlength=3).tolist()
    if sizes != [1028, 172, 423]:
        raise DataError(f"split_vinyals in {path} must give 1028, 172, 423 classes, got {sizes}")
    if index.max() >= len(arrays["alphabet"]):
        raise DataError(
            f"alphabet_index in {path} must be below {len(arrays['alphabet'])}, got {index.max()}"
        )
    pool = Pool(
        torch.from_numpy(images.reshape(-1, 1, SIDE, SIDE)),
        torch.arange(0, DRAWERS * 1623 + 1, DRAWERS),
        tuple(str(name) for name in names),
        tuple(str(arrays["alphabet"][i]) for i in index),
    )
    return Splits.disjoint(*(pool.select(torch.from_numpy(split == part)) for part in range(3)))


def convert_omniglot(files: Mapping[str, Path]) -> dict[str, NDArray[np.generic]]:
    """The published zip files as the arrays of `omniglot_28.npz`; the same every time.

    Args:
        files: name to path of both zip files.

    Returns:
        images uint8 [1623, 20, 28, 28], ink 255 on 0; class_name [1623], "<alphabet>/<character>",
        those of the background set first; alphabet [50], sorted; alphabet_index [1623] into it;
        split_lake 0 background, 1 evaluation; split_vinyals 0 train, 1 validation, 2 test.

    Raises:
        DataError: a file is no zip file, or does not hold what it should.
    """
    sets = (BACKGROUND, EVALUATION)
    drawings = [
        read_drawings(files[remote.name], alphabets)
        for remote, alphabets in zip(OMNIGLOT_REMOTES, sets, strict=True)
    ]
    names = [name for alphabets in sets for name in class_names(alphabets)]
    alphabets = sorted(BACKGROUND | EVALUATION)
    of = [name.partition("/")[0] for name in names]
    return {
        "images": np.concatenate(drawings),
        "class_name": np.array(names),
        "alphabet": np.array(alphabets),
        "alphabet_index": np.array([alphabets.index(alphabet) for alphabet in of], np.uint8),
        "split_lake": np.repeat(np.arange(2, dtype=np.uint8), [len(part) for part in drawings]),
        "split_vinyals": np.array([vinyals(name) for name in names], np.uint8),
    }


def class_names(alphabets: Mapping[str, int]) -> list[str]:
    """The characters of some alphabets, as the published folders name them.

    Args:
        alphabets: name to number of characters.

    Examples:
        >>> class_names({"Latin": 2, "Greek": 1})
        ['Greek/character01', 'Latin/character01', 'Latin/character02']
    """
    return [
        f"{alphabet}/character{number:02}"
        for alphabet, count in sorted(alphabets.items())
        for number in range(1, count + 1)
    ]


def vinyals(name: str) -> int:
    """The part of a character in the split of Vinyals et al.: 0 train, 1 validation, 2 test.

    Args:
        name: "<alphabet>/<character>".

    Examples:
        >>> [vinyals(f"{name}/character42") for name in ("Greek", "Bengali", "Oriya", "Gurmukhi")]
        [0, 1, 2, 2]
    """
    alphabet = name.partition("/")[0]
    if alphabet in TEST or name in TEST_CHARACTERS:
        return 2
    return int(alphabet in VALIDATION)


def read_drawings(path: Path, alphabets: Mapping[str, int]) -> NDArray[np.uint8]:
    """The drawings in a published zip file, read without unpacking anything to the disk.

    Entries that are no drawings are passed over.

    Args:
        path: the file; it holds <any>/<alphabet>/<character>/<number>_<drawer>.png, 105x105.
        alphabets: name to number of characters; there must be these, and 20 drawings of each.

    Returns:
        uint8 [characters, 20, 28, 28] in the order of `class_names` and drawers, ink 255 on 0.

    Raises:
        DataError: it is no whole zip file, holds other characters or drawers, or an entry is no
            such image.
    """
    names = class_names(alphabets)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _drawings(archive, path)
            wanted = {(name, drawer) for name in names for drawer in range(1, DRAWERS + 1)}
            wrong = sorted(wanted ^ set(entries))
            if wrong:
                name, drawer = wrong[0]
                what = "lacks" if wrong[0] in wanted else "has"
                raise DataError(
                    f"{path} must hold {DRAWERS} drawings of each of {len(names)} characters, got "
                    f"{len(entries)} drawings: it {what} number {drawer} of {name}"
                )
            images = np.empty((len(names), DRAWERS, SIDE, SIDE), np.uint8)
            for row, name in zip(images, names, strict=True):
                for drawer in range(DRAWERS):
                    row[drawer] = _drawing(archive, entries[name, drawer + 1], path)
            return images
    except DataError:
        raise
    except Exception as error:  # a broken file can break zipfile in any way
        raise DataError(f"{path} is no whole zip file: {error}") from error


def _drawings(archive: zipfile.ZipFile, path: Path) -> dict[tuple[str, int], zipfile.ZipInfo]:
    """Character and drawer to entry."""
    if len(archive.infolist()) > MOST_ENTRIES:
        raise DataError(
            f"{path} must hold at most {MOST_ENTRIES} entries, got {len(archive.infolist())}"
        )
    entries = {}
    for entry in archive.infolist():
        found = re.fullmatch(r"[^/]+/([^/]+/character\d\d)/\d{4}_(\d\d)\.png", entry.filename)
        if found:
            entries[found[1], int(found[2])] = entry
    return entries


def _drawing(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> NDArray[np.uint8]:
    """uint8 [28, 28], ink 255 on 0, from an entry with black ink on white."""
    if entry.file_size > MOST_BYTES or entry.flag_bits & 1:  # the latter: encrypted
        raise DataError(
            f"{entry.filename} in {path} must be an image of at most {MOST_BYTES} bytes"
        )
    try:
        with opened(io.BytesIO(archive.read(entry))) as image:
            if image.size != (DRAWN_SIDE, DRAWN_SIDE):
                raise Unreadable(f"it has {image.width}x{image.height} pixels")
            grey = image.convert("L")  # one bit a pixel would be shrunk without averaging
    except Unreadable as reason:
        raise DataError(
            f"{entry.filename} in {path} must be an image of 105x105 pixels: {reason}"
        ) from reason
    ink: NDArray[np.uint8] = 255 - np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    return ink

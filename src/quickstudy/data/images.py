"""Folders of images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import ValidationError
from torch import Tensor

from quickstudy.data.pools import Pool, Splits, split_classes
from quickstudy.data.preprocessing import (
    Preprocessing,
    Unreadable,
    decode,
    is_grey,
    opened,
    prepare,
)
from quickstudy.errors import DataError

LITTER = {"thumbs.db", "desktop.ini"}
"""What Windows leaves in folders of pictures without being asked."""
SMALLEST_SIZE, LARGEST_SIZE = 16, 84
"""The side that images get where nobody says another lies between these."""
PARTS = {name: name for name in Splits._fields} | {"val": "validation", "valid": "validation"}
"""Folder names that stand for a part of the classes, not for a class."""
SAID = 5
"""Broken files that an error names before it counts."""


def image_folder(
    path: Path | str, preprocessing: Preprocessing | None = None, *, at_least: int = 2
) -> Pool:
    """A folder of class folders of images: `path/<class>/<any name>`.

    Hidden files are passed over, and so are files beside the class folders.

    Args:
        path: the folder.
        preprocessing: how images become pixels; `folder_preprocessing` finds it where it is None.
        at_least: images that every class must have: 1 for a support set, 2 to draw tasks from.

    Returns:
        A pool of uint8 [n, channels, size, size]; classes are in the order of their names.

    Raises:
        DataError: no such folder, fewer than two classes, a class with too few images, or files
            that are no images; the one error names them.

    Examples:
        >>> image_folder("no/such/folder")
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: no such folder of class folders: no/such/folder
    """
    classes = _class_files(Path(path), at_least)
    files = [file for members in classes.values() for file in members]
    how = preprocessing or _chosen(files)
    ends = torch.tensor([0, *(len(members) for members in classes.values())]).cumsum(0)
    return Pool(read_images(files, how), ends, tuple(classes))


def folder_splits(
    path: Path | str,
    preprocessing: Preprocessing | None = None,
    *,
    at_least: int = 2,
    classes_each: int = 5,
    seed: int = 0,
) -> Splits:
    """A folder of class folders, split by class.

    Where the folder holds nothing but `train`, `val` (or `valid`, `validation`) and `test`, these
    are the parts, each a folder of class folders. Else 70, 15 and 15 percent of the classes, at
    random.

    Args:
        path: the folder.
        preprocessing: as for `image_folder`; found from the images of all parts where it is None.
        at_least: images that every class must have.
        classes_each: classes that each part gets where there are enough; else a third of them.
        seed: which random split.

    Raises:
        DataError: as for `image_folder`; fewer than three classes; only some of the three parts;
            a class that is in two of them.
    """
    path = Path(path)
    named = _part_folders(path)
    if not named:
        pool = image_folder(path, preprocessing, at_least=at_least)
        return split_classes(pool, seed=seed, at_least=classes_each)
    if preprocessing is None:
        classes = [members for part in named for members in _class_files(part, at_least).values()]
        preprocessing = _chosen([file for members in classes for file in members])
    return Splits.disjoint(
        *(image_folder(part, preprocessing, at_least=at_least) for part in named)
    )


def folder_classes(path: Path | str) -> list[int]:
    """How many class folders a folder holds: one number, or those of its train, val and test.

    Raises:
        DataError: no such folder, or only some of the three parts.
    """
    folders = _part_folders(Path(path)) or [Path(path)]
    return [sum(entry.is_dir() for entry in _listed(folder)) for folder in folders]


def class_folders(path: Path | str) -> list[Path]:
    """The class folders of a folder; of one that holds train, val and test, all of theirs too.

    Raises:
        DataError: it cannot be read.
    """
    held = [entry for entry in _listed(Path(path)) if entry.is_dir()]
    parts = [entry for entry in held if entry.name.lower() in PARTS]
    return held + [entry for part in parts for entry in _listed(part) if entry.is_dir()]


def folder_preprocessing(
    path: Path | str,
    *,
    size: int | None = None,
    channels: Literal[1, 3] | None = None,
    polarity: Literal["as-is", "ink"] = "as-is",
) -> Preprocessing:
    """The preprocessing that suits a folder of class folders.

    Args:
        path: the folder.
        size: the side in pixels; the median of the images' longer sides, at most 84, where None.
        channels: 1 grey, 3 colour; 1 where None and no image has colour.
        polarity: see `Preprocessing`.

    Raises:
        DataError: no such folder, fewer than two classes, or a class without images.
    """
    folders = _part_folders(Path(path)) or [Path(path)]
    parts = [_class_files(folder, at_least=1) for folder in folders]
    files = [file for classes in parts for members in classes.values() for file in members]
    return _chosen(files, size, channels, polarity)


def read_images(
    files: Iterable[Path | str | BinaryIO], preprocessing: Preprocessing
) -> UInt8[Tensor, "n channels size size"]:
    """Image files, or open binary files, as a model's input.

    Raises:
        DataError: no file is given, or some are no images; the one error names them.

    Examples:
        >>> read_images(["no_such.png"], Preprocessing(size=28))
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: 1 of 1 files are no images: no_such.png (no such file)
    """
    pixels, broken, total = [], [], 0
    for total, file in enumerate(files, start=1):
        try:
            pixels.append(prepare(decode(file), preprocessing))
        except Unreadable as reason:
            said = str(file) if isinstance(file, Path | str) else f"image {total}"
            broken.append(f"{said} ({reason})")
    if broken:
        more = f" and {len(broken) - SAID} more" if len(broken) > SAID else ""
        raise DataError(
            f"{len(broken)} of {total} files are no images: {', '.join(broken[:SAID])}{more}"
        )
    if not pixels:
        raise DataError("reading images needs at least one file, got none")
    return torch.from_numpy(np.stack(pixels))


def _part_folders(path: Path) -> list[Path]:
    """The folders train, validation and test, where these are what the folder holds."""
    if not path.is_dir():
        raise DataError(f"no such folder of class folders: {path}")
    held = [entry for entry in _listed(path) if entry.is_dir()]
    parts = {PARTS[entry.name.lower()]: entry for entry in held if entry.name.lower() in PARTS}
    if not parts or len(parts) < len(held):
        return []
    if len(parts) < 3:
        raise DataError(
            f"{path} must hold train, val and test, or class folders, got only "
            f"{', '.join(sorted(entry.name for entry in held))}"
        )
    return [parts[name] for name in Splits._fields]


def _class_files(path: Path, at_least: int) -> dict[str, list[Path]]:
    """Class name to image files, both in the order of their names."""
    if not path.is_dir():
        raise DataError(f"no such folder of class folders: {path}")
    folders = [entry for entry in _listed(path) if entry.is_dir()]
    if len(folders) < 2:
        loose = sum(entry.is_file() for entry in _listed(path))
        raise DataError(
            f"{path} must hold at least 2 class folders of images, "
            f"got {len(folders)} folders and {loose} files"
        )
    classes = {}
    for folder in folders:
        files = [entry for entry in _listed(folder) if entry.is_file()]
        if len(files) < at_least:
            nested = sum(entry.is_dir() for entry in _listed(folder))
            but = f" (but {nested} folders)" if nested else ""
            raise DataError(
                f"class {folder.name!r} in {path} has {len(files)} images{but}, "
                f"needs at least {at_least}"
            )
        classes[folder.name] = files
    return classes


def _listed(folder: Path) -> list[Path]:
    """What a folder shows, by name; neither hidden files nor litter."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith((".", "__MACOSX")) and entry.name.lower() not in LITTER
    ]


def _chosen(
    files: Sequence[Path],
    size: int | None = None,
    channels: Literal[1, 3] | None = None,
    polarity: Literal["as-is", "ink"] = "as-is",
) -> Preprocessing:
    """Size and channels from the files, where they are not given; unreadable files say nothing."""
    if size is None:
        sides = [side for side in map(_longer_side, files) if side]
        size = min(max(int(median(sides)), SMALLEST_SIZE), LARGEST_SIZE) if sides else LARGEST_SIZE
    if channels is None:
        channels = 3 if polarity == "as-is" and any(map(_coloured, files)) else 1
    try:
        return Preprocessing(size=size, channels=channels, polarity=polarity)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise DataError(
            f"{wrong['loc'][0]} cannot be {wrong['input']!r}: {wrong['msg']}"
        ) from error


def _longer_side(file: Path) -> int:
    """From the file's header alone; 0 where it is no image."""
    try:
        with opened(file) as image:
            return max(image.size)
    except Unreadable:  # `read_images` names it
        return 0


def _coloured(file: Path) -> bool:
    try:
        return not is_grey(decode(file))
    except Unreadable:
        return False

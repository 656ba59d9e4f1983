"""Map-style data sets, as torch's loaders take them, as pools."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from quickstudy.data.arrays import array_of, distinct, from_arrays
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError

PLAIN = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
"""Modes of Pillow's images that have one natural form, and that."""


def from_dataset(dataset: Any, transform: Callable[[Any], Any] | None = None) -> Pool:
    """A pool from any map-style data set: `len(dataset)`, and `dataset[i]` is (x, label).

    torchvision's convention is understood (without torchvision): a data set's `targets`, one label
    an item, and `classes`, the labels' names. So are `torch.utils.data.Subset`, in any depth,
    `TensorDataset` and a plain list of pairs. Labels are looked at first; then every item is read
    once, in order.

    Args:
        dataset: x is a Pillow image (grey to uint8 [1, h, w], colour to uint8 [3, h, w]), or an
            array, a tensor, lists or a number, which stay as they are (uint8, or float32). A label
            is an integer or a string.
        transform: from x to what the pool is to hold, so that all have one shape.

    Returns:
        The pool; classes named in `classes` that have no item are left out.

    Raises:
        DataError: the data set can only be iterated, is empty, has another number of targets than
            items or a target without a name; an item is no pair, or not of the first one's shape
            and type; labels or numbers that cannot be used.

    Examples:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> pairs = TensorDataset(torch.rand(6, 2), torch.tensor([7, 7, 3, 3, 7, 3]))
        >>> from_dataset(Subset(pairs, [0, 1, 2]))
        Pool(2 classes, 3 of [2] float32)
    """
    count = _length(dataset)
    targets, names = _convention(dataset)
    if targets is not None:
        labels = array_of("targets", targets)
        if labels.shape[:1] != (count,):
            raise DataError(
                f"targets must be one label an item, got {list(labels.shape)} for {count} items"
            )
        distinct("targets", targets)  # before items are read, which may take long
    x, found = _read(dataset, count, transform)
    return _named(x, found if targets is None else targets, names)


def _length(dataset: Any) -> int:
    """How many items there are."""
    kind = type(dataset)
    map_style = hasattr(kind, "__len__") and hasattr(kind, "__getitem__")
    if isinstance(dataset, IterableDataset | Mapping | str) or not map_style:
        raise DataError(
            "a data set must be map-style: len(dataset), and dataset[i] an (x, label) for i from "
            f"0 on, got {kind.__name__}"
        )
    count = len(dataset)
    if count < 1:
        raise DataError(f"a data set needs at least one item, got an empty {kind.__name__}")
    return count


def _convention(dataset: Any) -> tuple[Any, Sequence[str] | None]:
    """What a data set says about its labels without reading items: `targets` and `classes`."""
    if isinstance(dataset, Subset):
        targets, names = _convention(dataset.dataset)
        if targets is None:
            return None, names
        whole, count = array_of("targets", targets), len(dataset.dataset)  # type: ignore[arg-type]
        if whole.shape[:1] != (count,):
            raise DataError(
                f"targets must be one label an item, got {list(whole.shape)} for {count} items"
            )
        return whole[np.asarray(dataset.indices)], names
    names = getattr(dataset, "classes", None)
    return getattr(dataset, "targets", None), names and [str(name) for name in names]


def _read(
    dataset: Any, count: int, transform: Callable[[Any], Any] | None
) -> tuple[NDArray[Any], list[Any]]:
    """All items' x, as one array, and their labels."""
    labels = []
    held = np.empty(0)
    for number in range(count):
        item = dataset[number]
        if not isinstance(item, tuple | list) or len(item) != 2:
            many = f" of {len(item)}" if isinstance(item, tuple | list) else ""
            kind = type(item).__name__ + many
            raise DataError(f"an item must be (x, label), got a {kind} (item {number})")
        x = _pixels(transform(item[0]) if transform else item[0], number)
        if not number:
            held = np.empty((count, *x.shape), x.dtype)
        if (x.shape, x.dtype) != (held.shape[1:], held.dtype):
            raise DataError(
                f"items must be of one shape and type, got {list(held.shape[1:])} {held.dtype} "
                f"(item 0) and {list(x.shape)} {x.dtype} (item {number}); a transform can make "
                "them alike"
            )
        held[number] = x
        label = item[1]
        single = isinstance(label, Tensor | np.ndarray | np.generic) and math.prod(label.shape) == 1
        labels.append(label.item() if single else label)
    return held, labels


def _pixels(x: Any, number: int) -> NDArray[Any]:
    """One item's x as an array."""
    if not isinstance(x, Image.Image):
        return array_of(f"item {number}", x)
    if x.mode not in PLAIN or x.has_transparency_data:
        raise DataError(
            f"an image must be grey or colour without transparency, got mode {x.mode!r} "
            f"(item {number}); a transform can change that"
        )
    pixels = np.asarray(x.convert(PLAIN[x.mode]))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _named(x: NDArray[Any], targets: Any, names: Sequence[str] | None) -> Pool:
    """The pool, its classes named where the data set has names for its labels."""
    found, index = distinct("targets", targets)
    if names is None or isinstance(found[0], str):
        return from_arrays(x, targets)
    if found[0] < 0 or int(found[-1]) >= len(names):
        raise DataError(
            f"targets must lie in 0..{len(names) - 1} for {len(names)} classes, "
            f"got {found[0]}..{found[-1]}"
        )
    return from_arrays(x, index, names=[names[int(label)] for label in found])

"""Whatever a user holds in memory: numpy arrays, tensors, lists."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from quickstudy.data.pools import Pool
from quickstudy.errors import DataError


def from_arrays(
    x: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    names: Sequence[str] | None = None,
    groups: Sequence[str] = (),
) -> Pool:
    """A pool from features or pictures and one label a row.

    Args:
        x: [n, ...], numbers. uint8 stays as it is (pictures, scaled to [0, 1] when drawn);
            everything else becomes float32.
        labels: [n] strings or integers. Each distinct label is a class, named by `str(label)`
            unless there are names; classes are in the labels' order.
        names: the classes' names; labels are then integers in 0..len(names)-1.
        groups: where each class comes from, in the order of the classes.

    Raises:
        DataError: x is ragged, empty, not numeric, or not finite; labels are of another length,
            not one-dimensional, or neither strings nor integers.

    Examples:
        >>> pool = from_arrays([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], ["dog", "cat", "dog"])
        >>> pool.names, pool.counts
        (('cat', 'dog'), tensor([1, 2]))
        >>> from_arrays([[0.1], [float("nan")]], [0, 1])
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: x must be finite, got NaN or infinity in 1 of 2 rows (row 1)
    """
    values = numbers("x", x)
    found, index = distinct("labels", labels)
    if len(index) != len(values):
        raise DataError(
            f"x and labels must agree in number, got {len(values)} rows and {len(index)} labels"
        )
    if names is None:
        return Pool.from_labels(values, torch.from_numpy(index), [str(f) for f in found], groups)
    if isinstance(found[0], str):
        raise DataError("labels must be integers where names are given, got strings")
    if found[0] < 0 or int(found[-1]) >= len(names):
        raise DataError(
            f"labels must lie in 0..{len(names) - 1} for {len(names)} names, "
            f"got {found[0]}..{found[-1]}"
        )
    number = torch.tensor(found)[torch.from_numpy(index)]
    return Pool.from_labels(values, number, list(names), groups)


def numbers(name: str, value: ArrayLike | Tensor) -> Tensor:
    """Anything array-like as a tensor of finite numbers, uint8 or float32, [n, ...].

    Args:
        name: what the value is called, for the message.
        value: numpy arrays, tensors, lists of either, columns of a frame.

    Raises:
        DataError: it is ragged, empty, not numeric or not finite.

    Examples:
        >>> numbers("x", [[1, 2], [3, 4]])
        tensor([[1., 2.],
                [3., 4.]])
    """
    array = array_of(name, value)
    if array.ndim < 1 or not array.size:
        raise DataError(
            f"{name} must hold at least one row of numbers, got shape {list(array.shape)}"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must be numbers, got {said(array)}")
    if array.dtype == np.uint8:
        return torch.from_numpy(array.copy())
    with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite below
        values = torch.from_numpy(array.astype(np.float32))
    if not np.isfinite(values.numpy()).all():
        broken = torch.nonzero(~values.isfinite().reshape(len(values), -1).all(1)).flatten()
        raise DataError(
            f"{name} must be finite, got NaN or infinity in {len(broken)} of {len(values)} rows "
            f"(row {int(broken[0])})"
        )
    return values


def distinct(
    name: str, labels: ArrayLike | Tensor
) -> tuple[list[str] | list[int], NDArray[np.int64]]:
    """The distinct labels, sorted, and the place of each row's label among them.

    Args:
        name: what the labels are called, for the message.
        labels: [n] strings or integers.

    Raises:
        DataError: not one-dimensional, or neither strings nor integers.

    Examples:
        >>> distinct("y", ["b", "a", "b"])
        (['a', 'b'], array([1, 0, 1]))
    """
    array = array_of(name, labels)
    if array.ndim != 1:
        raise DataError(f"{name} must be [n], one a row, got shape {list(array.shape)}")
    # numpy's strings lose trailing zero characters, Python's do not.
    rows = list(labels) if isinstance(labels, Sequence) else array.tolist()
    if rows and all(isinstance(label, str) for label in rows):
        kinds = sorted(set(rows))
        place = {label: i for i, label in enumerate(kinds)}
        return kinds, np.array([place[label] for label in rows])
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} must be strings or integers, got {said(array)}")
    found, index = np.unique(array, return_inverse=True)
    return found.tolist(), index


def array_of(name: str, value: ArrayLike | Tensor) -> NDArray[np.generic]:
    """Anything array-like as an array; numpy's own words say nothing of what was wanted.

    Raises:
        DataError: rows of different shapes, or labels of several kinds.

    Examples:
        >>> array_of("x", [torch.zeros(2), torch.ones(2)]).shape
        (2, 2)
    """
    if isinstance(value, Tensor):
        return _from_tensor(value)
    rows: object = value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        kinds = {type(item) for item in value}
        if str in kinds and len(kinds) > 1:  # numpy would turn [1, "1"] into two equal strings
            both = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(f"{name} must be of one kind, got {both}")
        rows = [_from_tensor(item) if isinstance(item, Tensor) else item for item in value]
    try:
        return np.asarray(rows)
    except ValueError:
        raise DataError(
            f"{name} must be an array whose rows have one shape, got rows of different shapes"
        ) from None


def _from_tensor(value: Tensor) -> NDArray[np.generic]:
    value = value.detach().cpu()
    return np.asarray(value.float() if value.dtype == torch.bfloat16 else value)


def said(array: NDArray[np.generic]) -> str:
    """What an array holds, for a message.

    Examples:
        >>> said(np.array(["a"]))
        'strings'
    """
    kinds = {"U": "strings", "S": "bytes", "O": "Python objects", "c": "complex numbers"}
    return kinds.get(array.dtype.kind, str(array.dtype))

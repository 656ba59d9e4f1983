"""From a drawn character to the points of its strokes: thin the ink, then cut it where it forks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

POINTS = 96
"""Points a skeleton is cut down to; two in five printed characters have more pixels than that."""
STROKES = 12
"""Stroke numbers run from 0 to one below this; further strokes share numbers with the first."""

Ink = NDArray[np.bool_]

# The eight neighbours of a pixel, clockwise from the one above; bit k of a neighbourhood's code.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1
_CROSSINGS = ((_BITS == 0) & (np.roll(_BITS, -1, axis=1) == 1)).sum(axis=1)
_CHUNK = 512


class Skeletons(NamedTuple):
    """The strokes of n pictures.

    Attributes:
        points: int8 [n, POINTS, 2], x to the right and y down, in half pixels from the centre.
        strokes: int8 [n, POINTS], the stroke that a point lies on, 0..STROKES-1; -1 for padding,
            which comes last.
    """

    points: NDArray[np.int8]
    strokes: NDArray[np.int8]


def skeletons(ink: Ink) -> Skeletons:
    """Thin pictures to lines one pixel wide, and cut these into strokes where they fork.

    A fork is a pixel that three or more lines leave. Upright lines that cross pass it by its
    corners, and so stay one stroke.

    Args:
        ink: bool [n, side, side], side <= 64.

    Examples:
        >>> ink = np.zeros((1, 9, 9), bool)
        >>> ink[0, 3:6, 1:8] = True
        >>> found = skeletons(ink)
        >>> found.points[0, found.strokes[0] >= 0].tolist()
        [[-4, 0], [-2, 0], [0, 0], [2, 0]]
    """
    chunks = [_strokes(thin(ink[i : i + _CHUNK])) for i in range(0, len(ink), _CHUNK)]
    return Skeletons(*(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)))


def thin(ink: Ink) -> Ink:
    """Thin pictures [n, h, w] to lines one pixel wide (Zhang and Suen 1984), all at once.

    Examples:
        >>> thin(np.ones((1, 3, 5), bool))[0].astype(int)
        array([[0, 0, 0, 0, 0],
               [0, 1, 1, 0, 0],
               [0, 0, 0, 0, 0]])
    """
    count = _BITS.sum(axis=1)
    up, right, down, left = (_BITS[:, k] for k in (0, 2, 4, 6))
    removable = (count >= 2) & (count <= 6) & (_CROSSINGS == 1)
    first = removable & (up * right * down == 0) & (right * down * left == 0)
    second = removable & (up * right * left == 0) & (up * down * left == 0)
    ink = ink.copy()
    active = np.arange(len(ink))
    while len(active):
        part = ink[active]
        before = part.copy()
        part &= ~first[_codes(part)]
        part &= ~second[_codes(part)]
        ink[active] = part
        active = active[(part != before).any(axis=(1, 2))]
    return ink


def _codes(ink: Ink) -> NDArray[np.uint8]:
    """Which neighbours of each pixel hold ink, as bits; beyond the edge there is none."""
    padded = np.pad(ink.view(np.uint8), ((0, 0), (1, 1), (1, 1)))
    height, width = ink.shape[1:]
    codes = np.zeros(ink.shape, np.uint8)
    for k, (down, right) in enumerate(_AROUND):
        codes |= padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width] << k
    return codes


def _strokes(skeleton: Ink) -> Skeletons:
    """The pixels of thinned pictures, sorted by stroke and cut down to POINTS."""
    n, side = skeleton.shape[:2]
    padded = np.pad(skeleton, ((0, 0), (1, 1), (1, 1)))
    place = np.full(padded.shape, -1)
    picture, y, x = padded.nonzero()
    place[padded] = np.arange(len(picture))
    around = np.stack([place[picture, y + down, x + right] for down, right in _AROUND])
    label = _cut(around, _CROSSINGS[_codes(skeleton)[skeleton]] >= 3)

    order = np.lexsort((label, picture))
    picture, label, y, x = picture[order], label[order], y[order], x[order]
    starts = np.searchsorted(picture, np.arange(n + 1))
    fresh = np.diff(label, prepend=-1) != 0
    fresh[starts[:-1][starts[:-1] < len(label)]] = True
    number = np.cumsum(fresh)
    number -= number[np.minimum(starts[:-1], len(label) - 1)][picture] if len(label) else 0

    held = np.diff(starts)[:, None]
    step = np.arange(POINTS)
    thinned = np.round(step * (held - 1) / (POINTS - 1)).astype(int)
    chosen = starts[:-1, None] + np.where(held > POINTS, thinned, step)
    real = step < held
    chosen = chosen[real]
    points = np.zeros((n, POINTS, 2), np.int8)
    strokes = np.full((n, POINTS), -1, np.int8)
    points[real] = np.stack([x[chosen], y[chosen]], axis=1) * 2 - (side + 1)
    strokes[real] = number[chosen] % STROKES
    return Skeletons(points, strokes)


def _cut(around: NDArray[np.int64], junction: Ink) -> NDArray[np.int64]:
    """A label for each pixel: connected pixels share one, but not across a junction.

    Args:
        around: [8, pixels] indices of neighbours, -1 for none.
        junction: [pixels].
    """
    self_ = np.arange(len(junction))
    joined = (around >= 0) & ~junction[around] & ~junction
    linked = np.where(joined, around, self_)
    label, before = self_, np.empty(0, int)
    while not np.array_equal(label, before):  # the least index of a component, by jumping pointers
        before = label
        label = np.minimum(label, label[linked].min(axis=0))
        label = label[label]
    # A junction belongs to a stroke that ends at it; one amid junctions to a neighbour's stroke.
    loose = junction.copy()
    for _ in range(2):
        near = np.where((around >= 0) & ~loose[around], label[around], -1).max(axis=0)
        taken = loose & (near >= 0)
        label = np.where(taken, near, label)
        loose &= ~taken
    return label

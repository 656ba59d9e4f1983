"""One task: what the learner was shown, what it was asked and what it answered."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from quickstudy.errors import DataError
from quickstudy.plots.canvas import GREEN, GREY, ORANGE, printable, sheet

MOST_WAYS, MOST_SHOTS, MOST_QUERIES = 20, 5, 10
"""Rows, and columns of support and queries, that are drawn; what is left out is said."""

# Lengths in cells: a cell is a picture and the space to the next one.
CELL_INCHES = 0.68
PICTURE, CAPTION, GAP, HEADING, NARROWEST = 0.9, 0.24, 0.5, 1.2, 7.0
LETTER, TITLE_LETTER, LONGEST_LABEL = 0.115, 0.13, 20

Picture = NDArray[np.float64]
Thing = TypeVar("Thing")


def task_picture(
    support: ArrayLike,
    support_labels: Sequence[Hashable],
    query: ArrayLike,
    query_labels: Sequence[Hashable],
    answers: Sequence[Hashable],
    path: Path | str,
    *,
    title: str = "One task",
    dark_ink: bool = False,
) -> None:
    """Draw a task of pictures as a PNG, a row for each class.

    A row shows the class's support, then its queries. A query that was answered right stands in a
    thin green frame; a wrong one in a thick orange frame, with the answer below it.

    Args:
        support: pictures [n, h, w] or [n, c, h, w], c 1 or 3: uint8, or floats in 0..1 (what lies
            outside is cut off). Arrays, or tensors on the CPU.
        support_labels: [n]; the rows stand in the order in which labels first appear.
        query: pictures [m, h, w] or [m, c, h, w].
        query_labels: [m], the truth; each is a label of the support.
        answers: [m], what the learner said.
        path: of the PNG.
        title: above the picture.
        dark_ink: draw bright strokes on black as dark ink on paper.

    Raises:
        DataError: no pictures, numbers that disagree, a query whose label has no support, or the
            file cannot be written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "task.png"
        >>> images, labels = np.random.default_rng(0).random((2, 3, 8, 8)), ["cat", "dog"]
        >>> task_picture(images, labels, images, labels, ["cat", "cat"], path)
        >>> path.exists()
        True
    """
    shown = _by_class("support", _pictures("support", support, dark_ink), support_labels)
    asked = _by_class("query", _pictures("query", query, dark_ink), query_labels)
    said = _by_class("answer", answers, query_labels)
    strange = [label for label in asked if label not in shown]
    if strange:
        name = printable(strange[0], LONGEST_LABEL)
        raise DataError(f"every query's label needs a support picture, got none for {name!r}")
    ways = list(shown)[:MOST_WAYS]
    shots, queries = min(MOST_SHOTS, _longest(shown)), min(MOST_QUERIES, _longest(asked))
    names = [printable(way, LONGEST_LABEL) for way in ways]
    first = 0.6 + LETTER * max(map(len, names))
    second = first + shots + GAP
    width, height = max(second + queries, NARROWEST), HEADING + len(ways) * (1 + CAPTION)
    with sheet(path, width * CELL_INCHES, height * CELL_INCHES) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        for row, (way, name) in enumerate(zip(ways, names, strict=True)):
            top = HEADING + row * (1 + CAPTION)
            axes.text(first - 0.2, top + PICTURE / 2, name, ha="right", va="center")
            for column, picture in enumerate(shown[way][:shots]):
                _draw(axes, picture, first + column, top, GREY, 0.8)
            pairs = zip(asked.get(way, [])[:queries], said.get(way, []), strict=False)
            for column, (picture, answer) in enumerate(pairs):
                wrong = None if answer == way else printable(answer, 9)
                _draw_query(axes, picture, second + column, top, wrong)
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
        axes.set_axis_off()
        right = sum(a == b for a, b in zip(query_labels, answers, strict=True))
        score = f"{right} of {len(answers)} right"
        axes.text(width - 0.12, 0.42, score, fontsize=10, ha="right", va="center")
        room = int((width - 0.6 - LETTER * len(score)) / TITLE_LETTER)
        axes.text(0.2, 0.42, printable(title, room), fontsize=11, weight="bold", va="center")
        for left, heading in ((first, "shown"), (second, "asked")):
            axes.text(left, HEADING - 0.14, heading, fontsize=8.5, color=GREY)
        drawn = {"classes": len(ways), "shown": shots, "asked": queries}
        there = (len(shown), _longest(shown), _longest(asked))
        cut = [f"{n} of {m} {of}" for (of, n), m in zip(drawn.items(), there, strict=True) if n < m]
        if cut:
            note = f"drawn: {', '.join(cut)}"
            axes.text(width - 0.12, HEADING - 0.14, note, ha="right", fontsize=7, color=GREY)


def _draw_query(axes: Axes, picture: Picture, left: float, top: float, wrong: str | None) -> None:
    """A query that was answered right, or wrong with this answer."""
    if wrong is None:
        _draw(axes, picture, left, top, GREEN, 1.6)
        return
    _draw(axes, picture, left, top, ORANGE, 3.0)
    axes.text(
        left + PICTURE / 2, top + PICTURE + 0.06, f"✗ {wrong}", ha="center", va="top",
        fontsize=6.5, color=ORANGE,
    )  # fmt: skip


def _draw(
    axes: Axes, picture: Picture, left: float, top: float, colour: str, thickness: float
) -> None:
    """A picture in a frame, its corner at (left, top), PICTURE wide."""
    extent = (left, left + PICTURE, top + PICTURE, top)
    axes.imshow(picture, extent=extent, interpolation="antialiased")
    frame = Rectangle(
        (left, top), PICTURE, PICTURE, fill=False, edgecolor=colour, linewidth=thickness
    )
    axes.add_patch(frame)


def _pictures(name: str, images: ArrayLike, dark_ink: bool) -> list[Picture]:
    """Pictures [h, w, 3] floats in 0..1."""
    array = np.asarray(images)
    array = array[:, None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not array.size:
        raise DataError(
            f"{name} pictures must be [n, h, w] or [n, c, h, w] with 1 or 3 channels, "
            f"got {list(np.shape(images))}"
        )
    floats = array / 255 if array.dtype == np.uint8 else array.astype(np.float64)
    floats = np.clip(np.nan_to_num(floats), 0, 1)
    floats = 1 - floats if dark_ink else floats
    colour = floats if array.shape[1] == 3 else floats.repeat(3, axis=1)
    return list(colour.transpose(0, 2, 3, 1))


def _by_class(
    name: str, things: Sequence[Thing], labels: Sequence[Hashable]
) -> dict[Hashable, list[Thing]]:
    """Things by label, in the order in which labels first appear."""
    if len(things) != len(labels):
        raise DataError(f"every {name} needs a label, got {len(things)} and {len(labels)} labels")
    classes: dict[Hashable, list[Thing]] = {}
    for thing, label in zip(things, labels, strict=True):
        classes.setdefault(label, []).append(thing)
    return classes


def _longest(classes: dict[Hashable, list[Picture]]) -> int:
    return max(map(len, classes.values()))

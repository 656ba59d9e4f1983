"""How a regression task is learned: fits after a few inner steps, and the error they leave."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from quickstudy.core.evaluate import Evaluation
from quickstudy.errors import DataError
from quickstudy.plots.canvas import BLUE, GREEN, GREY, INK, ORANGE, printable, sheet

COLOURS = (BLUE, ORANGE, GREEN)
"""One a learner; more learners than this make no readable picture."""
STROKES = ((0, (1, 1.5)), (0, (5, 2)), "solid")
"""From the first fit drawn to the last."""


def adaptation_picture(
    path: Path | str,
    *,
    x: ArrayLike,
    truth: ArrayLike,
    support: tuple[ArrayLike, ArrayLike],
    fits: Mapping[str, Mapping[int, ArrayLike]],
    errors: Mapping[str, Mapping[int, Evaluation]],
    title: str = "",
) -> None:
    """Draw one function and what each learner makes of it, and all learners' errors, as a PNG.

    Args:
        path: of the PNG.
        x: inputs, ascending; this and all that follows [m] or [m, 1].
        truth: the function.
        support: x [n] and y [n] of the points that were shown.
        fits: learner to inner steps to predictions, up to three of each.
        errors: learner to inner steps to its evaluation over many tasks; the same learners.
        title: above the picture.

    Raises:
        DataError: no learner or too many, other learners in one than in the other, or the file
            cannot be written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "fits.png"
        >>> adaptation_picture(
        ...     path,
        ...     x=[0, 1],
        ...     truth=[0, 1],
        ...     support=([0], [0]),
        ...     fits={"MAML": {0: [0, 0], 1: [0, 1]}},
        ...     errors={"MAML": {0: Evaluation(1.0, 0.1, 9), 1: Evaluation(0.1, 0.1, 9)}},
        ... )
        >>> path.exists()
        True
    """
    if set(fits) != set(errors) or not 1 <= len(fits) <= len(COLOURS):
        raise DataError(
            f"fits and errors must be of the same 1 to {len(COLOURS)} learners, "
            f"got {', '.join(fits) or 'none'} and {', '.join(errors) or 'none'}"
        )
    colours = dict(zip(fits, COLOURS, strict=False))
    with sheet(path, 3.4 * (len(fits) + 1), 3.7) as figure:
        figure.set_layout_engine("constrained", w_pad=0.12)
        if title:
            figure.suptitle(printable(title, 100), x=0.01, ha="left", fontsize=12, weight="bold")
        *panels, last = figure.subplots(1, len(fits) + 1)
        for axes, (name, curves) in zip(panels, fits.items(), strict=True):
            axes.sharey(panels[0])
            axes.plot(x, truth, color=GREY, linewidth=4, alpha=0.4, label="the task")
            axes.plot(*support, "^", color=INK, markersize=5, label="shown", zorder=4)
            _draw_fits(axes, np.asarray(x), curves, colours[name])
            axes.set(title=f"{name}: one task", xlabel="x")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=7.5,
                        columnspacing=1.0, handlelength=2.0)  # fmt: skip
        panels[0].set_ylabel("y")
        for name, evaluations in errors.items():
            _draw_errors(last, name, evaluations, colours[name])
        tasks = max(e.tasks for evaluations in errors.values() for e in evaluations.values())
        last.set(title=f"Error over {tasks:,} tasks", xlabel="inner steps")
        last.set(ylabel="mean squared error, 95 % interval", ylim=(0, None))
        last.margins(x=0.04)


def _draw_fits(axes: Axes, x: ArrayLike, curves: Mapping[int, ArrayLike], colour: str) -> None:
    strokes = STROKES[-len(curves) :]
    for (steps, means), stroke in zip(curves.items(), strokes, strict=True):
        said = f"{steps} step" + "s" * (steps != 1)
        axes.plot(x, means, color=colour, linestyle=stroke, linewidth=1.5, label=said)


def _draw_errors(axes: Axes, name: str, evaluations: Mapping[int, Evaluation], colour: str) -> None:
    steps = np.array(list(evaluations))
    means = np.array([evaluation.mean for evaluation in evaluations.values()])
    halves = np.array([evaluation.interval95 for evaluation in evaluations.values()])
    axes.fill_between(steps, means - halves, means + halves, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, means, color=colour, marker="o", markersize=3.5, linewidth=1.6)
    # Above all of the line that the name spans.
    height = np.max((means + np.nan_to_num(halves))[-max(1, len(steps) // 2) :])
    axes.annotate(
        name, (steps[-1], height), xytext=(0, 4), color=colour,
        textcoords="offset points", ha="right", va="bottom", fontsize=9, weight="bold",
    )  # fmt: skip

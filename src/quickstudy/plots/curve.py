"""The course of a meta-training run."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from quickstudy.errors import DataError
from quickstudy.plots.canvas import BLUE, GREEN, GREY, INK, ORANGE, sheet, subtitle

Floats = NDArray[np.float64]
Looks = list[tuple[int, Mapping[str, Any]]]
"""Steps with what was found at them."""

SMOOTHING = 50
"""The loss is averaged over about the last 1/50 of the steps, so that its trend shows."""
WIDE = 30
"""Values that span more than this many times are drawn on a logarithmic scale."""


def learning_curve(
    metrics: Iterable[Mapping[str, Any]],
    path: Path | str,
    *,
    title: str = "Meta-training",
    control: float | None = None,
) -> None:
    """Draw loss and meta-validation figures over the outer steps, as a PNG.

    Args:
        metrics: one mapping a step or evaluation, in any order: "step", and "loss" (a number;
            None, NaN or infinite where the step was skipped), or "validation", or both.
            "validation" is None or a mapping of "mean", "interval95" (or None) and "metric",
            "accuracy" in 0..1 (also where it is not given) or "squared_error". "training" is the
            same on meta-train tasks, drawn beside it to show the gap. Other keys are passed over.
        path: of the PNG.
        title: above the picture.
        control: what the no-learning control gets on the same tasks, drawn as a line beside the
            meta-validation figures.

    Raises:
        DataError: nothing to draw, or the file cannot be written.

    Examples:
        >>> import tempfile
        >>> rows = [{"step": s, "loss": 1 / s} for s in range(1, 9)]
        >>> rows.append({"step": 8, "validation": {"mean": 0.9, "interval95": 0.01}})
        >>> path = Path(tempfile.mkdtemp()) / "learning_curve.png"
        >>> learning_curve(rows, path)
        >>> path.exists()
        True
    """
    rows = sorted(metrics, key=lambda row: int(row["step"]))
    losses = [(row["step"], _number(row["loss"])) for row in rows if "loss" in row]
    looks = [(row["step"], row["validation"]) for row in rows if row.get("validation")]
    if not looks and not any(math.isfinite(loss) for _, loss in losses):
        raise DataError(
            f"a learning curve needs a finite loss or an evaluation, got {len(rows)} rows"
        )
    panels = ["validation"] * bool(looks) + ["loss"] * bool(losses)
    with sheet(path, 7.2, 1.1 + 2.1 * len(panels)) as figure:
        figure.set_layout_engine("constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        axes = figure.subplot_mosaic([[name] for name in panels], sharex=True)
        if looks:
            trained = [(row["step"], row["training"]) for row in rows if row.get("training")]
            _draw_validation(axes["validation"], looks, trained, control)
        if losses:
            _draw_loss(axes["loss"], np.array(losses, dtype=np.float64))
        last = axes[panels[-1]]
        last.set_xlabel("outer step")
        last.set_xlim(0, max(1, rows[-1]["step"]) * 1.02)
        last.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 2.5, 5, 10]))
        last.xaxis.set_major_formatter("{x:,.0f}")
        figure.align_ylabels()


def _draw_validation(axes: Axes, looks: Looks, trained: Looks, control: float | None) -> None:
    accuracy = looks[0][1].get("metric", "accuracy") == "accuracy"
    scale = 100.0 if accuracy else 1.0
    steps = np.array([step for step, _ in looks])
    means = np.array([_number(look["mean"]) for _, look in looks]) * scale
    halves = np.array([_number(look.get("interval95")) for _, look in looks]) * scale
    axes.fill_between(steps, means - halves, means + halves, color=BLUE, alpha=0.2, linewidth=0)
    judged = "meta-validation"
    axes.plot(steps, means, color=BLUE, marker="o", markersize=3, linewidth=1.6, label=judged)
    axes.set_title("Meta-validation, with 95 % interval")
    if trained:
        at = [step for step, _ in trained]
        seen = np.array([_number(look["mean"]) for _, look in trained]) * scale
        axes.plot(
            at, seen, color=GREEN, marker="s", markersize=3, linewidth=1.2, linestyle=(0, (4, 2)),
            label="meta-train, same sizes",
        )  # fmt: skip
        axes.legend(loc="upper right", bbox_to_anchor=(1, -0.02), ncols=2, fontsize=8.5)
    axes.set_ylabel("accuracy (%)" if accuracy else "mean squared error")
    axes.margins(y=0.12)
    if control is not None:
        axes.axhline(control * scale, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            f"control, nothing learned: {_said(control * scale, accuracy)}",
            (0.99, control * scale), xycoords=("axes fraction", "data"),
            xytext=(0, 3 if accuracy else -3), textcoords="offset points", ha="right",
            va="bottom" if accuracy else "top", fontsize=8.5, color=ORANGE,
        )  # fmt: skip
    if np.isfinite(means).any():
        best = int(np.nanargmax(means) if accuracy else np.nanargmin(means))
        axes.plot(steps[best], means[best], "o", markersize=7, mfc="white", mec=INK, mew=1.4)
        interval = f" ± {halves[best]:.1f}" if accuracy else f" ± {halves[best]:.1g}"
        said = _said(means[best], accuracy, interval if math.isfinite(halves[best]) else "")
        subtitle(axes, f"○ best: {said} at step {steps[best]:,}")
    if not accuracy:
        _widen(axes, means)


def _said(figure: float, accuracy: bool, interval: str = "") -> str:
    return f"{figure:.1f}{interval} %" if accuracy else f"{figure:.3g}{interval}"


def _draw_loss(axes: Axes, losses: Floats) -> None:
    steps, values = losses.T
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    window = max(1, len(values) // SMOOTHING)
    marker = "o" if len(values) == 1 else None
    if window > 1:
        axes.plot(steps, values, color=GREY, alpha=0.45, linewidth=0.7)
    axes.plot(steps, _running_mean(values, window), color=BLUE, linewidth=1.6, marker=marker)
    axes.set_title("Loss on the queries of meta-training tasks")
    axes.set_ylabel("loss")
    axes.margins(y=0.08)
    said = [f"mean of {window:,} steps"] * (window > 1)
    said += [f"not finite, skipped: {int((~finite).sum()):,}"] * (not finite.all())
    subtitle(axes, " · ".join(said))
    _widen(axes, values)


def _widen(axes: Axes, values: Floats) -> None:
    """A logarithmic scale, with plain numbers, where values span more than WIDE times."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > WIDE * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")


def _running_mean(values: Floats, window: int) -> Floats:
    """The mean of the last `window` finite values at each place; NaN where there is none."""
    finite = np.isfinite(values)
    sums = np.cumsum(np.where(finite, values, 0.0))
    counts = np.cumsum(finite)
    sums[window:] -= sums[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _number(value: Any) -> float:
    """A number from JSON, in which NaN may be null."""
    return math.nan if value is None else float(value)

"""How good a model is: against shots, inner steps and data, and whether it knows how good it is."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from quickstudy.errors import DataError
from quickstudy.plots.canvas import BLUE, GREEN, GREY, INK, ORANGE, PALE, printable, sheet, subtitle

Row = Mapping[str, Any]
Floats = NDArray[np.float64]

PURPLE, SKY = "#CC79A7", "#56B4E9"
COLOURS, MARKERS = (BLUE, GREEN, PURPLE, SKY), "osD^"
"""One a domain; what is beyond has no line in the panels of shots and steps."""
DASHED = (0, (4, 2))
PANEL, HEIGHT = 3.9, 3.9
"""Inches."""
LONGEST = 26
"""Letters of a domain's name."""
SHARE_FOR_TICKS = 0.05
"""Ticks stand at the values themselves, but for those nearer to the last than this share."""


class _Line(NamedTuple):
    name: str
    colour: str
    marker: str
    rows: Sequence[Row]


def evaluation_picture(
    rows: Sequence[Row],
    path: Path | str,
    *,
    calibration: ArrayLike | None = None,
    title: str = "",
) -> None:
    """Draw evaluations as a PNG: a panel for each thing that varies, and a reliability diagram.

    The first row is the setting from which the others vary: rows of its inner steps make the panel
    of shots, rows of its shots the panel of inner steps, and its equals on other data a panel of
    domains, which is also drawn where there is one row.

    Args:
        rows: at least one, as `quickstudy evaluate --json` prints them: "data", "shots",
            "inner_steps", "tasks", "ways", "accuracy" (or "squared_error"), "interval95", and
            "control", None or the same figures with its "name". Figures may be None.
        path: of the PNG.
        calibration: the first row's answers by confidence, [bins, 3]: how many, the sum of their
            confidences and how many are right, as `Evaluation.calibration` holds them; no diagram
            without.
        title: above the picture.

    Raises:
        DataError: there is nothing to draw, or the file cannot be written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "out.png"
        >>> told = {"data": "photos", "inner_steps": None, "tasks": 9, "ways": 5, "control": None}
        >>> rows = [told | {"shots": n, "accuracy": 0.9 - 0.4 / n, "interval95": 0.02}
        ...         for n in (1, 5)]
        >>> evaluation_picture(rows, path, calibration=[[2, 0.8, 1], [4, 3.6, 3]])
        >>> path.exists()
        True
    """
    if not rows:
        raise DataError("a picture of evaluations needs at least one row, got none")
    domains = list(dict.fromkeys(row["data"] for row in rows))
    first = rows[0]
    panels = {
        name: [row for row in rows if row[other] == first[other]]
        for name, other in (("shots", "inner_steps"), ("inner_steps", "shots"))
        if len({row[name] for row in rows}) > 1
    }
    held = None if calibration is None else np.asarray(calibration, dtype=np.float64)
    bars = not panels or len(domains) > 1
    widths = (
        [1.0] * len(panels)
        + [1.35 if len(domains) > 1 else 1.0] * bars
        + [1.0] * (held is not None)
    )
    count = len(widths)
    with sheet(path, PANEL * sum(widths), HEIGHT) as figure:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
        if title:
            figure.suptitle(printable(title, 30 * count), x=0.01, ha="left", fontsize=12,
                            fontweight="bold")  # fmt: skip
        grid = figure.add_gridspec(1, count, width_ratios=widths)
        for place, (name, some) in enumerate(panels.items()):
            lines = [
                _Line(domain, colour, marker, [row for row in some if row["data"] == domain])
                for domain, colour, marker in zip(domains, COLOURS, MARKERS, strict=False)
            ]
            _draw_sweep(figure.add_subplot(grid[place]), name, lines, len(domains))
        if bars:
            same = {row["data"]: row for row in rows if _setting(row) == _setting(first)}
            _draw_domains(figure.add_subplot(grid[len(panels)]), list(same.values()))
        if held is not None:
            _draw_reliability(figure, grid[count - 1], held, first)


def _setting(row: Row) -> tuple[Any, Any]:
    return row["shots"], row["inner_steps"]


def _metric(row: Row) -> tuple[str, float, str]:
    """Which figure a row holds, what it is multiplied by, and what the axis says."""
    if "accuracy" in row:
        return "accuracy", 100.0, "accuracy (%), 95 % interval"
    return "squared_error", 1.0, "mean squared error, 95 % interval"


def _figures(rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """Means and half-widths [n], NaN where there is none."""
    name, scale, _ = _metric(rows[0])
    read = [[_number(row[name]), _number(row["interval95"])] for row in rows]
    means, halves = np.array(read, dtype=np.float64).T * scale
    return means, halves


def _draw_sweep(axes: Axes, name: str, lines: Sequence[_Line], domains: int) -> None:
    """Figures over shots or inner steps, a line for each domain, each with its control."""
    alone = len(lines) == 1
    for name_, colour, marker, rows in lines:
        told = sorted(rows, key=lambda row: int(row[name]))
        x = np.array([row[name] for row in told], dtype=np.float64)
        if all(row["control"] for row in told):
            said = f"control ({told[0]['control']['name']})" if alone else None
            _draw_line(axes, x, [row["control"] for row in told],
                       ORANGE if alone else colour, "s", said, control=True)  # fmt: skip
        said = "model" if alone else printable(name_, LONGEST)
        _draw_line(axes, x, told, colour, marker, said)
    every = [row for line in lines for row in line.rows]
    values = sorted({int(row[name]) for row in every})
    gap = SHARE_FOR_TICKS * (values[-1] - values[0])
    ticks = [value for i, value in enumerate(values) if not i or value - values[i - 1] >= gap]
    axes.set_xticks(ticks)
    each = "support examples a class" if "accuracy" in every[0] else "support examples"
    axes.set_xlabel(f"shots ({each})" if name == "shots" else "inner steps")
    axes.set_ylabel(_metric(every[0])[2])
    other = "inner_steps" if name == "shots" else "shots"
    axes.set_title("Shots" if name == "shots" else "Inner steps")
    fixed = every[0][other]
    notes = [f"{fixed} {other.replace('_', ' ')}".removesuffix("s" * (fixed == 1))]
    notes = notes if fixed is not None else []
    notes += [f"{len(lines)} of {domains} domains"] if len(lines) < domains else []
    subtitle(axes, " · ".join([*notes, *([] if alone else ["dashed: controls"])]))
    axes.margins(x=0.05, y=0.1)
    axes.legend(loc="best", fontsize=8)


def _draw_line(
    axes: Axes,
    x: Floats,
    rows: Sequence[Row],
    colour: str,
    marker: str,
    label: str | None,
    *,
    control: bool = False,
) -> None:
    means, halves = _figures(rows)
    axes.fill_between(x, means - halves, means + halves, color=colour, alpha=0.18, linewidth=0)
    size, width, dashes = (3.0, 1.1, DASHED) if control else (4.5, 1.7, "solid")
    axes.plot(x, means, color=colour, marker=marker, markersize=size, label=label,
              linewidth=width, linestyle=dashes)  # fmt: skip


def _draw_domains(axes: Axes, rows: Sequence[Row]) -> None:
    """A line for each domain: the model's figure and the control's, with intervals."""
    means, halves = _figures(rows)
    places = np.arange(len(rows), dtype=np.float64)
    accuracy = "accuracy" in rows[0]
    _draw_points(axes, means, halves, places, BLUE, "o", "model", above=True, accuracy=accuracy)
    if all(row["control"] for row in rows):
        others, other_halves = _figures([row["control"] for row in rows])
        name = f"control ({rows[0]['control']['name']})"
        _draw_points(
            axes, others, other_halves, places, ORANGE, "s", name, above=False, accuracy=accuracy
        )
        means = np.concatenate([means, others])
    axes.set_yticks(places, [printable(row["data"], LONGEST) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(_metric(rows[0])[2])
    axes.set_title("Accuracy" if accuracy else "Error")
    said = f"{rows[0]['ways']}-way {rows[0]['shots']}-shot" if accuracy else ""
    subtitle(axes, said)
    finite = means[np.isfinite(means)]
    if accuracy:
        axes.set_xlim(0, 100)
        axes.axvline(100 / rows[0]["ways"], color=GREY, linewidth=1, linestyle=":", label="chance")
    elif len(finite):
        axes.set_xlim(0, 1.25 * finite.max())
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=8,
                handlelength=1.2, columnspacing=1.2)  # fmt: skip


def _draw_points(
    axes: Axes,
    means: Floats,
    halves: Floats,
    places: Floats,
    colour: str,
    marker: str,
    label: str,
    *,
    above: bool,
    accuracy: bool,
) -> None:
    form = ".1f" if accuracy else ".2g"
    axes.errorbar(means, places, xerr=np.nan_to_num(halves), fmt=marker, color=colour, label=label,
                  markersize=6, capsize=3, elinewidth=1.4)  # fmt: skip
    for x, y, half in zip(means, places, halves, strict=True):
        if math.isfinite(x):
            more = f" ± {half:{form}}" if math.isfinite(half) else ""
            axes.annotate(f"{x:{form}}{more}", (x, y), xytext=(0, 7 if above else -7), ha="center",
                          va="bottom" if above else "top", textcoords="offset points",
                          fontsize=8, color=colour)  # fmt: skip


def _draw_reliability(figure: Figure, place: Any, table: Floats, row: Row) -> None:
    """Confidence against accuracy, bin by bin, above how many answers are in each bin."""
    grid = place.subgridspec(2, 1, height_ratios=(3, 1), hspace=0.04)
    axes = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=axes)
    counts, confidences, right = table.T
    edges = np.linspace(0, 1, len(table) + 1)
    width = edges[1]
    total = counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy, confidence = right / counts, confidences / counts
        error = np.abs(right - confidences).sum() / total
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.1, linestyle=DASHED, zorder=3,
              label="right as often as it says")  # fmt: skip
    axes.bar(edges[:-1], np.nan_to_num(accuracy), width, align="edge", color=BLUE, alpha=0.28,
             edgecolor=BLUE, linewidth=0.6)  # fmt: skip
    apart = np.isfinite(accuracy) & np.isfinite(confidence)
    axes.vlines(confidence[apart], np.minimum(accuracy, confidence)[apart],
                np.maximum(accuracy, confidence)[apart], color=ORANGE, linewidth=1.6)  # fmt: skip
    axes.plot(confidence[apart], accuracy[apart], "o", color=BLUE, markersize=4, zorder=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    axes.tick_params(labelbottom=False)
    axes.set_title("Calibration")
    known = math.isfinite(error)
    subtitle(axes, f"ECE {100 * error:.1f} %" if known else "confidences are no numbers")
    share = counts / max(total, 1)
    below.bar(edges[:-1], 100 * share, width, align="edge", color=PALE, edgecolor=GREY,
              linewidth=0.6)  # fmt: skip
    below.set(xlabel=f"confidence ({row['ways']}-way {row['shots']}-shot)", ylabel="answers (%)",
              ylim=(0, max(115 * share.max(), 1)))  # fmt: skip
    figure.align_ylabels([axes, below])
    if total:
        for axis in (axes, below):
            axis.axvline(confidences.sum() / total, color=INK, linewidth=0.9, linestyle=":",
                         label="mean confidence")  # fmt: skip
    below.legend(
        *axes.get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, -0.55),
        ncols=2, fontsize=8, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def _number(value: Any) -> float:
    """A number from JSON, in which NaN may be null."""
    return math.nan if value is None else float(value)

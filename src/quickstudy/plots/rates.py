"""The inner rates that were meta-learned, parameter by parameter."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from quickstudy.errors import DataError
from quickstudy.plots.canvas import BLUE, GREY, INK, ORANGE, printable, sheet, subtitle

MOST = 60
"""Parameters that are drawn; what is left out is said."""
LONGEST = 34
"""Letters of a parameter's name."""
ROW, MARGIN, WIDTH = 0.24, 1.15, 7.2
"""Inches: of a parameter, of all that is not one, of the picture."""
WIDE = 30
"""Rates that span more than this many times are drawn on a logarithmic scale."""


def rates_picture(
    path: Path | str,
    rates: Mapping[str, float | Sequence[float]],
    *,
    start: float | None = None,
    title: str = "Learned inner rates",
) -> None:
    """Draw each parameter's learned rate as a PNG, in the order of the layers.

    A filled point is a rate above zero; a hollow orange one is negative: that parameter climbs.

    Args:
        path: of the PNG.
        rates: parameter to its rate; or to (mean, low, high) where its elements have rates of
            their own.
        start: the rate that all started from, drawn as a line.
        title: above the picture.

    Raises:
        DataError: no rates, something else than one or three numbers, or the file cannot be
            written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rates.png"
        >>> rates_picture(path, {"conv.weight": 0.2, "head.bias": (0.5, 0.1, 0.9)}, start=0.4)
        >>> path.exists()
        True
    """
    if not rates:
        raise DataError("a picture of rates needs at least one, got none")
    shown = {name: _spread(name, rate) for name, rate in list(rates.items())[:MOST]}
    with sheet(path, WIDTH, MARGIN + ROW * len(shown)) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        _draw(axes, np.array(list(shown.values())), start)
        axes.set_yticks(range(len(shown)), [printable(name, LONGEST) for name in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.set_xlabel("inner rate")
        axes.set_title(printable(title, 50))
        cut = f"{len(shown)} of {len(rates)} drawn" if len(shown) < len(rates) else ""
        lines = any(low < high for _, low, high in shown.values())
        begun = f"dashed: start {start:g}" if start is not None else ""
        notes = ["line: spread of elements" * lines, begun, cut]
        subtitle(axes, " · ".join(filter(None, notes)))


def _draw(axes: Axes, spreads: np.ndarray, start: float | None) -> None:
    means, lows, highs = spreads.T
    places = np.arange(len(means))
    axes.grid(visible=False, axis="y")
    for place in places[1::2]:  # bands lead the eye from a name to its point
        axes.axhspan(place - 0.5, place + 0.5, color=GREY, alpha=0.08, linewidth=0)
    finite = spreads[np.isfinite(spreads)]
    every = np.append(finite, start if start else [])
    if len(every) and every.min() > 0 and every.max() > WIDE * every.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    elif len(every) and every.min() <= 0:
        axes.axvline(0, color=INK, linewidth=0.8)
    if start is not None:
        axes.axvline(start, color=GREY, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.hlines(places, lows, highs, color=BLUE, alpha=0.45, linewidth=3)
    up = means > 0
    axes.plot(means[up], places[up], "o", color=BLUE, markersize=6)
    axes.plot(means[~up], places[~up], "o", mfc="white", mec=ORANGE, mew=1.6, markersize=6)
    axes.margins(x=0.06)


def _spread(name: str, rate: float | Sequence[float]) -> tuple[float, float, float]:
    """Mean, lowest and highest."""
    values = [float(rate)] if isinstance(rate, int | float) else [float(value) for value in rate]
    if len(values) not in (1, 3):
        raise DataError(
            f"a rate must be one number or mean, low and high, got {len(values)} for {name!r}"
        )
    if not all(map(math.isfinite, values)):
        raise DataError(f"rates must be finite, got {rate} for {name!r}")
    return (values[0], values[0], values[0]) if len(values) == 1 else (values[0], *values[1:])  # type: ignore[return-value]

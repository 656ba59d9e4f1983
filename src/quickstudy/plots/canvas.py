"""The sheet every picture is drawn on: size, type, colours, and how it becomes a file.

Figures are made without pyplot, so there is no display, no current figure and nothing to close.
Colours are those of Okabe & Ito 2008, which people with any colour vision tell apart; where colour
says something, a shape or a word says it too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from quickstudy.errors import DataError

BLUE, GREEN, ORANGE, GREY = "#0072B2", "#009E73", "#D55E00", "#8A8F98"
INK, PALE = "#22262B", "#D9DCE1"

FONT = "DejaVu Sans"
"""Comes with matplotlib, so it is there on every machine."""

_STYLE = {
    "font.family": FONT,
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
}

# Settings are matplotlib's one global: two pictures drawn at once would restore each other's.
_settings = Lock()


@contextmanager
def sheet(path: Path | str, width: float, height: float, dpi: int = 150) -> Iterator[Figure]:
    """A blank figure in this library's style, written to `path` when the block ends without error.

    The user's own matplotlib settings neither show in it nor change.

    Args:
        path: of the PNG; an existing file is replaced.
        width: inches.
        height: inches.
        dpi: pixels an inch.

    Raises:
        DataError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "line.png"
        >>> with sheet(path, 2, 1) as figure:
        ...     _ = figure.subplots().plot([0, 1])
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    with _settings, style.context(_STYLE, after_reset=True):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure
        try:
            # No software version in the file: the same numbers make the same bytes.
            figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})
        except OSError as error:
            raise DataError(
                f"cannot write the picture {path}: {error.strerror or error}"
            ) from error


def subtitle(axes: Axes, text: str) -> None:
    """A line of small grey type at the right end of the title line."""
    axes.set_title(text, loc="right", fontsize=8.5, fontweight="normal", color=GREY)


def printable(text: object, limit: int) -> str:
    r"""Any label as one line of at most `limit` characters, the middle left out of what is longer.

    A character that the font lacks becomes its number, so that labels stay apart.

    Examples:
        >>> printable("a  label\nof several lines", 12), printable("\N{HIRAGANA LETTER A}", 12)
        ('a label…ines', 'U+3042')
    """
    known = _characters()
    line = " ".join(str(text).split())
    line = "".join(c if ord(c) in known and c.isprintable() else f"U+{ord(c):04X}" for c in line)
    if len(line) <= limit:
        return line
    tail = (limit - 1) * 2 // 5
    return f"{line[: limit - 1 - tail]}…{line[len(line) - tail :]}"


@cache
def _characters() -> frozenset[int]:
    """The code points that the font has."""
    return frozenset(get_font(findfont(FONT)).get_charmap())

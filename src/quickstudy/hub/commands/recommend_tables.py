"""Tables of interactions and items, as the commands of `quickstudy recommend` take them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Content, Log

Ratings = Annotated[
    Path, typer.Option(metavar="FILE", help="Interactions: a CSV or parquet table.")
]
Items = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What is known of the items: likewise.")
]
User = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The users; looked for if not given.")
]
Item = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The items, in both tables; likewise.")
]
Value = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The ratings; likewise. None: all was liked.")
]
Time = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The times; likewise. None: order of rows.")
]
Scale = Annotated[
    str | None, typer.Option(metavar="LOW,HIGH", help="Of the ratings; what occurs if not given.")
]
LeaveOutBad = Annotated[
    bool, typer.Option("--leave-out-bad", help="Leave out rows that cannot be read, and say so.")
]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.")]
History = Annotated[
    Path, typer.Option(metavar="FILE", help="One user's interactions: a CSV or parquet table.")
]


def read(
    ratings: Path,
    items: Path | None,
    user: str | None,
    item: str | None,
    value: str | None,
    time: str | None,
    scale: str | None,
    leave_out_bad: bool,
) -> "tuple[Log, Content | None]":
    """The tables; what was noticed on reading is told to people."""
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    log = recommend.interactions(
        ratings,
        user=user,
        item=item,
        value=value,
        time=time,
        scale=_scale(scale),
        leave_out_bad=leave_out_bad,
    )
    for line in log.report:
        screen.err().print(f"note: {line}", markup=False)
    return log, None if items is None else recommend.items(items, item=item)


def _scale(told: str | None) -> tuple[float, float] | None:
    from quickstudy.errors import DataError

    if told is None:
        return None
    try:
        low, high = (float(part) for part in told.split(","))
    except ValueError:
        raise DataError(f"--scale must be two numbers, LOW,HIGH, got {told!r}") from None
    return low, high

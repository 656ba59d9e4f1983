"""Tables, and what is known of a user, as the commands of `quickstudy recommend` take them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Content, Log, Recommender
    from quickstudy.apps.recommend.people import Traits
    from quickstudy.apps.recommend.state import State

Ratings = Annotated[
    Path, typer.Option(metavar="FILE", help="Interactions: a CSV or parquet table.")
]
Items = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What is known of the items: likewise.")
]
Users = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What is known of the users: likewise.")
]
User = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The users; looked for if not given.")
]
Item = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The items, in every table; likewise.")
]
Value = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The ratings; likewise. Without one all was liked."),
]
Time = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The times; likewise. Without one rows are in order."),
]
Scale = Annotated[
    str | None, typer.Option(metavar="LOW,HIGH", help="Of the ratings; what occurs if not given.")
]
LeaveOutBad = Annotated[
    bool, typer.Option("--leave-out-bad", help="Leave out rows that cannot be read, and say so.")
]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.")]
History = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="One user's interactions: a CSV or parquet table."),
]
About = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="What is known of the user, where users' features were trained with; repeatable.",
    ),
]
StateFile = Annotated[
    Path | None, typer.Option(metavar="STATE", help="What `recommend adapt` wrote, instead.")
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
    category: str | None = None,
) -> "tuple[Log, Content | None]":
    """The tables; what was noticed on reading is told to people.

    The column of categories holds kinds, whatever they look like.
    """
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
    kinds = [] if category is None else [category]
    return log, None if items is None else recommend.items(items, item=item, kinds=kinds)


def read_users(users: Path | None, user: str | None) -> "Content | None":
    """The table of users, where there is one."""
    from quickstudy.apps import recommend

    return None if users is None else recommend.users(users, user=user)


def known_of(
    recommender: "Recommender",
    history: Path | None,
    about: list[str] | None,
    item: str | None,
    value: str | None,
    time: str | None,
    *,
    state: Path | None = None,
) -> "State":
    """A user's state: stored, or of a history, or of what they tell of themselves, or both."""
    from quickstudy.errors import DataError

    if (history is None and not about) == (state is None):
        raise DataError(
            "give either --history FILE or --state STATE"
            f"{'; --about goes with a history, or stands instead of one' if about else ''}"
        )
    if state is not None:
        return recommender.load_state(state)
    told = _told(recommender.reader.traits, about or []) or None
    return recommender.adapt(history, about=told, item=item, value=value, time=time)


def _told(traits: "Traits | None", about: list[str]) -> dict[str, float | str | bool]:
    """What COLUMN=VALUE says of a user: numbers and true/false where the column held such."""
    from contextlib import suppress

    from quickstudy.errors import DataError
    from quickstudy.hub import screen

    kinds = {} if traits is None else dict(traits.coding.columns)
    tags = () if traits is None else traits.coding.tags
    told: dict[str, float | str | bool] = {}
    for text in about:
        name, mark, value = text.partition("=")
        if not mark or not value or name in told:
            raise DataError(f"--about must be COLUMN=VALUE, each column once, got {text!r}")
        told[name] = value
        if kinds.get(name) == "numbers":
            with suppress(ValueError):  # adapting says what was wanted
                told[name] = float(value)
        elif kinds.get(name) == "tags" and text not in tags:
            if value in ("true", "false") and f"{name}={value.capitalize()}" in tags:
                told[name] = value == "true"
            else:
                screen.err().print(f"note: nobody in training had {text}", markup=False)
    return told


def _scale(told: str | None) -> tuple[float, float] | None:
    from quickstudy.errors import DataError

    if told is None:
        return None
    try:
        low, high = (float(part) for part in told.split(","))
    except ValueError:
        raise DataError(f"--scale must be two numbers, LOW,HIGH, got {told!r}") from None
    return low, high

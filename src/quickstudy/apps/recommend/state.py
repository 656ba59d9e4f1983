"""What is known of one user, and what is said of items to them."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.apps.recommend.log import ITEM, TIME, USER, VALUE, column, read_ratings
from quickstudy.apps.recommend.statistics import History
from quickstudy.data.faults import missing_names, read_times, said
from quickstudy.data.frames import Frame, read_frame
from quickstudy.errors import DataError

State = dict[str, Tensor]
"""What is known of one user: places of items, values, the moment and, where told, features."""


class Recommended(NamedTuple):
    """One item of a ranking."""

    item: str
    score: float


class Reason(NamedTuple):
    """What one kind of evidence does to an item's score.

    Attributes:
        evidence: what it is.
        effect: how much higher the score is than with what is usual in the catalogue.
    """

    evidence: str
    effect: float


def to_state(
    items: NDArray[np.int64],
    values: NDArray[np.float32],
    time: float,
    about: NDArray[np.float32] | None = None,
) -> State:
    """A user's state; of an item that came twice the last word counts."""
    latest = {int(item): float(value) for item, value in zip(items, values, strict=True)}
    told = {} if about is None else {"about": torch.from_numpy(about)}
    return {
        "items": torch.tensor(list(latest), dtype=torch.int64),
        "values": torch.tensor(list(latest.values()), dtype=torch.float32),
        "time": torch.tensor(time, dtype=torch.float64),
        **told,
    }


def check_count(k: Any) -> None:
    """Refuse what is no number of items.

    Raises:
        DataError: it is no whole number from 1 on.
    """
    if not isinstance(k, int | np.integer) or k < 1:
        raise DataError(f"k must be at least 1, got {k!r}")


def checked_time(time: Any) -> float:
    """A moment as a number.

    Raises:
        DataError: it is none, or not finite.
    """
    if not isinstance(time, int | float | np.number) or not np.isfinite(time):
        raise DataError(f"a time must be a finite number, got {time!r}")
    return float(time)


def to_history(state: State, items: int) -> History:
    """What a state says that happened, in a catalogue of so many items.

    Raises:
        DataError: the state is of another catalogue.
    """
    if len(state["items"]) and int(state["items"].max()) >= items:
        raise DataError(
            f"the state is of a larger catalogue than this one of {items} items: of another "
            "recommender"
        )
    about = state["about"].numpy() if "about" in state else None
    return History(state["items"].numpy(), state["values"].numpy(), float(state["time"]), about)


def read_history(
    history: Any, item: str | None, value: str | None, time: str | None
) -> tuple[list[str], NDArray[np.float32] | None, float | None]:
    """A table of one user's interactions: items, their ratings, and the last moment; see `adapt`.

    Raises:
        DataError: rows cannot be read, or are of several users.
    """
    frame = read_frame(history)
    key = str(column(frame, "item", item, ITEM))
    rated = column(frame, "value", value, VALUE, needed=False)
    when = column(frame, "time", time, TIME, needed=False)
    faults = missing_names(frame, key)
    values = moments = None
    if rated is not None:
        values, more = read_ratings(frame, rated)
        faults += more
    if when is not None:
        moments, more = read_times(frame, when)
        faults += more
    if faults:
        raise DataError(f"{frame.where} has bad rows, {said(faults, frame.arrow.num_rows)}")
    _of_one_user(frame)
    names, codes = frame.codes(key)
    return (
        [names[code] for code in codes],
        None if values is None else values.astype(np.float32),
        None if moments is None else float(moments.max()),
    )


def _of_one_user(frame: Frame) -> None:
    """Refuse a history of several users."""
    user = column(frame, "user", None, USER, needed=False)
    if user is not None and len(frame.codes(user)[0]) > 1:
        raise DataError(
            f"a history must be one user's, got {len(frame.codes(user)[0])} in column {user!r} of "
            f"{frame.where}"
        )

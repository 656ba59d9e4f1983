"""Interactions of users with items, from any table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.data.faults import (
    Fault,
    bad_rows,
    found,
    missing_names,
    read_numbers,
    read_times,
    said,
)
from quickstudy.data.frames import Frame, read_frame
from quickstudy.errors import DataError

USER = ("user", "userid", "customer", "customerid", "visitor", "visitorid", "account", "member")
ITEM = ("item", "itemid", "movie", "movieid", "product", "productid", "sku", "article", "book")
VALUE = ("rating", "value", "score", "stars", "preference")
TIME = ("timestamp", "time", "date", "datetime", "when")
LIKED = 0.75
"""Where on the scale liking begins: 4 of 1..5 and of .5..5, 7.5 of 0..10."""


class Log(NamedTuple):
    """Interactions as arrays; users and items as places in lists of names.

    Attributes:
        user: int64 [n].
        item: int64 [n].
        value: float32 [n]; ones where there are no ratings.
        time: float64 [n], in seconds, or in rows where there are no times.
        users: their names.
        items: the names of the whole catalogue; not all need have interactions.
        scale: the lowest and the highest rating; None where feedback is implicit.
        report: what was noticed on reading, a line each.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    value: NDArray[np.float32]
    time: NDArray[np.float64]
    users: Sequence[str]
    items: Sequence[str]
    scale: tuple[float, float] | None
    report: tuple[str, ...] = ()

    @property
    def liked_from(self) -> float:
        """The lowest rating of what was liked; everything is, where feedback is implicit."""
        if self.scale is None:
            return 0.0
        low, high = self.scale
        return low + LIKED * (high - low)

    @property
    def liked(self) -> NDArray[np.bool_]:
        """[n] bools."""
        return np.asarray(self.value >= self.liked_from)

    def rows(self, chosen: NDArray[Any]) -> "Log":
        """Some of the interactions, of the same users and items.

        Args:
            chosen: places [m] or bools [n].
        """
        arrays = (a[chosen] for a in (self.user, self.item, self.value, self.time))
        return self._replace(**dict(zip(("user", "item", "value", "time"), arrays, strict=True)))

    def catalogued(self, names: Sequence[str]) -> "Log":
        """The same interactions in a catalogue that also holds these items."""
        places = {name: place for place, name in enumerate(names)}
        more = [name for name in self.items if name not in places]
        places |= {name: len(names) + place for place, name in enumerate(more)}
        moved = np.array([places[name] for name in self.items], np.int64)
        return self._replace(item=moved[self.item], items=[*names, *more])


def interactions(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    scale: tuple[float, float] | None = None,
    leave_out_bad: bool = False,
    fewest: int = 2,
) -> Log:
    """Interactions from a CSV or parquet file, or a pandas, polars or arrow table.

    Columns that are not named are looked for by the usual names (`userId`, `product`, `stars`,
    `timestamp`, ...), whatever their case. Without a column of values feedback is implicit;
    without one of times the order of rows is taken for the order in time. Who rated an item more
    than once is taken at the latest word.

    Args:
        source: see `quickstudy.table`.
        user: the column of users.
        item: the column of items.
        value: the column of ratings, or of any other numbers that say how much was liked.
        time: the column of times: numbers, dates, or text that reads as dates (ISO 8601).
        scale: the lowest and the highest rating; those that occur where not given.
        leave_out_bad: leave out rows without a user or an item, and those whose rating or time
            cannot be read or is off the scale; `report` says how many, and why.
        fewest: users, and items, that there must be.

    Raises:
        DataError: a column is missing or twofold, or of the wrong kind; rows are bad, all of which
            are counted, and the first five of each fault told; or there are too few users or
            items.

    Examples:
        >>> log = interactions({"user": ["a", "a", "b"], "item": [1, 2, 2], "stars": [5, 1, 4]})
        >>> log.users, log.items, log.value.tolist(), log.liked.tolist()
        (['a', 'b'], ['1', '2'], [5.0, 1.0, 4.0], [True, False, True])
    """
    frame = read_frame(source)
    user = column(frame, "user", user, USER)
    item = column(frame, "item", item, ITEM)
    value = column(frame, "value", value, VALUE, needed=False)
    time = column(frame, "time", time, TIME, needed=False)
    named = [name for name in (user, item, value, time) if name is not None]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DataError(
            f"user, item, value and time must be columns of their own, got {twice[0]!r} twice"
        )
    if value is None and scale is not None:
        raise DataError(f"a scale needs a column of values, got scale {scale} without one")
    values, times, faults = _read(frame, value, time, scale)
    faults = [*missing_names(frame, str(user)), *missing_names(frame, str(item)), *faults]
    rows = frame.arrow.num_rows
    kept = np.delete(np.arange(rows), bad_rows(faults))
    report: tuple[str, ...] = ()
    if faults:
        told = said(faults, rows)
        if not leave_out_bad or not len(kept):
            raise DataError(
                f"{frame.where} has bad rows, {told}; mend them"
                f"{', or leave them out: leave_out_bad=True, --leave-out-bad' if len(kept) else ''}"
            )
        frame, report = frame.without(bad_rows(faults)), (f"left out {told}",)
    users, user_codes = frame.codes(str(user))
    items, item_codes = frame.codes(str(item))
    if len(users) < fewest or len(items) < fewest:
        raise DataError(
            f"{frame.where} must hold {fewest} users and {fewest} items at least, got {len(users)} "
            f"and {len(items)}"
        )
    read = Log(user_codes, item_codes, values[kept], times[kept], users, items, None, report)
    return _once(_scaled(read, value, scale))


def _read(
    frame: Frame, value: str | None, time: str | None, scale: tuple[float, float] | None
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[Fault]]:
    """Values and times of all rows, and which of these cannot be read or are outside the scale."""
    rows = frame.arrow.num_rows
    values, times = np.ones(rows, np.float32), np.arange(rows, dtype=np.float64)
    faults: list[Fault] = []
    if value is not None:
        numbers, faults = read_ratings(frame, value)
        if scale is not None:
            if not (np.isfinite(scale).all() and scale[0] < scale[1]):
                raise DataError(f"a scale must be a lower and a higher number, got {scale}")
            outside = (numbers < scale[0]) | (numbers > scale[1])
            what = f"is not on the scale {scale[0]:g} to {scale[1]:g}"
            faults = [*faults, *found(frame, value, what, outside)]
        values = numbers.astype(np.float32)
    if time is not None:
        times, more = read_times(frame, time)
        faults = [*faults, *more]
    return values, times, faults


def read_ratings(frame: Frame, name: str) -> tuple[NDArray[np.float64], list[Fault]]:
    """A column of ratings, and the rows that hold none.

    Raises:
        DataError: the column is not of numbers.
    """
    return read_numbers(frame, "value column", name, largest=float(np.finfo(np.float32).max))


def column(
    frame: Frame, what: str, name: str | None, usual: Sequence[str], *, needed: bool = True
) -> str | None:
    """The column of that name; or where none is told, the one whose name is usual."""
    if name is not None:
        frame.known(f"{what} column", [name])
        return name
    plain = {_plain(held): held for held in reversed(frame.names)}
    found = next((plain[wanted] for wanted in usual if wanted in plain), None)
    if found is None and needed:
        held = ", ".join(frame.names[:20])
        raise DataError(
            f"{frame.where} has no column that looks like the {what}; name it, one of {held}"
        )
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _scaled(log: Log, value: str | None, scale: tuple[float, float] | None) -> Log:
    """The log with the scale of its ratings, where these say anything."""
    if value is None:
        return log
    if scale is not None:
        return log._replace(scale=(float(scale[0]), float(scale[1])))
    low, high = float(log.value.min()), float(log.value.max())
    if low == high:
        told = f"all values of {value!r} are {low:g}: feedback is taken as implicit"
        return log._replace(value=np.ones_like(log.value), report=(*log.report, told))
    return log._replace(scale=(low, high))


def _once(log: Log) -> Log:
    """One interaction for each user and item: the latest in time, and in rows where tied."""
    order = np.lexsort((np.arange(len(log.user)), log.time, log.item, log.user))
    last = np.ones(len(order), bool)
    user, item = log.user[order], log.item[order]
    last[:-1] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    dropped = int((~last).sum())
    if not dropped:
        return log
    told = f"{dropped} of {len(order)} rows repeat a user and an item: the latest was kept"
    return log.rows(np.sort(order[last]))._replace(report=(*log.report, told))


def check_seed(seed: Any) -> None:
    """Refuse what is no seed.

    Raises:
        DataError: it is not a whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise DataError(f"a seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")

"""Columns read row by row: what can be read of them, and which rows cannot, all at once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.data.frames import Frame, is_text
from quickstudy.errors import DataError

SHOWN = 5
"""Rows of a fault that are told, the first ones."""
LONGEST = 40
"""Letters of a value that are told."""
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
"""Text that is a number."""

Floats = NDArray[np.float64]


class Fault(NamedTuple):
    """Rows of a column with the same thing wrong.

    Attributes:
        column: its name.
        what: is wrong, as "is missing".
        rows: places in the table, counted from 0; at least one.
        seen: what stands in the first few.
    """

    column: str
    what: str
    rows: NDArray[np.int64]
    seen: tuple[str, ...]

    def __str__(self) -> str:
        told = [f"row {row}: {value}" for row, value in zip(self.rows, self.seen, strict=False)]
        more = ", ..." if len(self.rows) > len(told) else ""
        return f"{len(self.rows)} where {self.column!r} {self.what} ({', '.join(told)}{more})"


def said(faults: Sequence[Fault], rows: int) -> str:
    """How many of so many rows are bad, and all that is wrong with them.

    Examples:
        >>> said([Fault("stars", "is no number", np.array([3]), ("'good'",))], 9)
        "1 of 9 rows: 1 where 'stars' is no number (row 3: 'good')"
    """
    return f"{len(bad_rows(faults))} of {rows} rows: {'; '.join(map(str, faults))}"


def bad_rows(faults: Sequence[Fault]) -> NDArray[np.int64]:
    """The rows of any of the faults, in order."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *(fault.rows for fault in faults)]))


def missing_names(frame: Frame, name: str) -> list[Fault]:
    """Where a column of names is empty: nulls, NaN, and text without a letter."""
    return found(frame, name, "is missing", _missing(frame.arrow[name]))


def found(frame: Frame, name: str, what: str, wrong: NDArray[np.bool_]) -> list[Fault]:
    """One fault, if any row is wrong [n]; none otherwise."""
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return []
    seen = tuple(_shown(frame.arrow[name][int(row)].as_py()) for row in rows[:SHOWN])
    return [Fault(name, what, rows, seen)]


def read_numbers(
    frame: Frame, what: str, name: str, *, largest: float = np.inf
) -> tuple[Floats, list[Fault]]:
    """A column of numbers, of true/false, or of text that reads as numbers [n]; NaN at faults.

    Args:
        frame: the table.
        what: the column is, as messages call it.
        name: of the column.
        largest: numbers beyond this are faults.

    Raises:
        DataError: the column is of another kind.
    """
    import pyarrow as pa
    from pyarrow import types

    column = frame.arrow[name]
    missing = _missing(column)
    if is_text(column.type):
        values = _numbers_of_text(column)
        unread = np.isnan(values) & ~missing
        faults = found(frame, name, "is missing", missing)
        faults += found(frame, name, "is no number", unread)
    elif frame.is_numeric(name) or types.is_boolean(column.type) or types.is_null(column.type):
        whole = column.cast(pa.int8()) if types.is_boolean(column.type) else column
        values = whole.cast(pa.float64(), safe=False).to_numpy().copy()
        faults = found(frame, name, "is missing", missing)
    else:
        raise DataError(f"{what} {name!r} must be numbers, got {_kind(column.type)}")
    endless = np.abs(values) > largest if np.isfinite(largest) else np.isinf(values)
    values[endless] = np.nan
    return values, faults + found(frame, name, "is not finite", endless)


def read_times(frame: Frame, name: str) -> tuple[Floats, list[Fault]]:
    """A column of times in seconds [n], NaN at faults.

    Numbers are taken as they are; dates, and text that reads as ISO 8601, are seconds since 1970,
    in UTC where they name no zone. Text is taken for numbers where more of it reads as these.

    Raises:
        DataError: the column is of another kind.
    """
    import pyarrow as pa
    from pyarrow import types

    column = frame.arrow[name]
    kind = column.type
    if types.is_timestamp(kind) or types.is_date(kind):
        times = _seconds(column.cast(pa.timestamp("us"), safe=False))
        return times, found(frame, name, "is missing", np.isnan(times))
    if not is_text(kind):
        if not (frame.is_numeric(name) or types.is_null(kind)):
            raise DataError(f"time column {name!r} must be numbers or dates, got {_kind(kind)}")
        return read_numbers(frame, "time column", name)
    missing = _missing(column)
    times = _times_of_text(column, missing)
    unread = np.isnan(times) & ~missing
    faults = found(frame, name, "is missing", missing)
    return times, faults + found(frame, name, "is no number or ISO 8601 date", unread)


def _missing(column: Any) -> NDArray[np.bool_]:
    from pyarrow import compute, types

    missing = compute.is_null(column, nan_is_null=types.is_floating(column.type))
    if is_text(column.type):
        blank = compute.equal(compute.utf8_trim_whitespace(column), "")
        missing = compute.or_(missing, compute.fill_null(blank, True))
    empty: NDArray[np.bool_] = missing.to_numpy()
    return empty


def _numbers_of_text(column: Any) -> Floats:
    """Text as numbers, NaN where it is none."""
    import pyarrow as pa
    from pyarrow import compute

    plain = compute.utf8_trim_whitespace(column)
    good = compute.fill_null(compute.match_substring_regex(plain, NUMBER), False)
    kept = compute.if_else(good, compute.utf8_ltrim(plain, "+"), None)
    values: Floats = kept.cast(pa.float64()).to_numpy().copy()
    return values


def _times_of_text(column: Any, missing: NDArray[np.bool_]) -> Floats:
    """Text as seconds, NaN where it is no time."""
    import pyarrow as pa
    from pyarrow import compute

    held = compute.if_else(pa.array(missing), None, column)
    try:
        return _seconds(held.cast(pa.timestamp("us", tz="UTC")))
    except pa.ArrowInvalid:  # not all of one form: one by one
        dates = np.array([_date(text) for text in held.to_pylist()])
    numbers = _numbers_of_text(column)
    return numbers if np.isfinite(numbers).sum() >= max(np.isfinite(dates).sum(), 1) else dates


def _seconds(moments: Any) -> Floats:
    """Arrow's timestamps as seconds, NaN where they are missing."""
    plain = moments.to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(plain), np.nan, plain.astype(np.float64) / 1e6)


def _date(text: str | None) -> float:
    """Seconds since 1970; NaN where the text is no date."""
    try:
        moment = datetime.fromisoformat(text.strip()) if text else None
    except ValueError:
        return np.nan
    if moment is None:
        return np.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _kind(kind: Any) -> str:
    from pyarrow import types

    unread = types.is_binary(kind) or types.is_large_binary(kind)
    return "bytes that are not UTF-8" if unread else str(kind)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float):
        return f"{value:g}"
    told = repr(value) if isinstance(value, str) else str(value)
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}..."

"""Tables as they come: CSV and parquet files, and frames in memory, read through pyarrow."""

import difflib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.data.cache import written
from quickstudy.errors import DataError

SUFFIXES = (".csv", ".parquet", ".pq")
"""Of files that are tables."""
SEPARATORS = ",;\t|"
"""Of columns of a CSV file; the comma where there is one."""
INDEX = "__index_level_"
"""How arrow calls a frame's index that has no name."""


class Frame(NamedTuple):
    """An arrow table whose columns can be asked for by name.

    Attributes:
        arrow: the table.
        where: the path it came from, or what it is, for messages.
    """

    arrow: Any
    where: str

    @property
    def names(self) -> list[str]:
        """Its columns, but for an index without a name."""
        return [name for name in self.arrow.column_names if not name.startswith(INDEX)]

    def known(self, what: str, names: Sequence[str]) -> None:
        """Refuse columns that are not there.

        Raises:
            DataError: names the column, and one that looks alike.
        """
        for name in names:
            if name not in self.names:
                alike = difflib.get_close_matches(str(name), self.names, n=1)
                hint = f"; did you mean {alike[0]!r}?" if alike else ";"
                held = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
                raise DataError(f"no {what} {name!r}{hint} columns: {held}")

    def numeric_but(self, others: Sequence[str | None]) -> list[str]:
        """All columns of numbers or true/false, but for some."""
        from pyarrow import types

        return [
            name
            for name in self.names
            if name not in others
            and (self.is_numeric(name) or types.is_boolean(self.arrow.schema.field(name).type))
        ]

    def is_numeric(self, name: str) -> bool:
        """Whether a column holds numbers."""
        from pyarrow import types

        kind = self.arrow.schema.field(name).type
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))

    def without(self, rows: NDArray[np.int64]) -> "Frame":
        """The table but for these rows."""
        kept = np.ones(self.arrow.num_rows, bool)
        kept[rows] = False
        return self._replace(arrow=self.arrow.filter(kept))

    def only(self, names: Sequence[str]) -> "Frame":
        """These columns in this order; those that the table lacks are there and hold nothing."""
        import pyarrow as pa

        rows = self.arrow.num_rows
        columns = [self.arrow[n] if n in self.names else pa.nulls(rows) for n in names]
        return self._replace(arrow=pa.table(columns, names=list(names)))

    def complete(self, names: Sequence[str]) -> None:
        """Refuse missing values: nulls, NaN, and text without a letter.

        Raises:
            DataError: counts them, and names the columns and the first row.
        """
        wrong = []
        for name in names:
            missing = self._missing(name)
            if missing.any():
                first = int(missing.argmax())
                wrong.append(f"{int(missing.sum())} in {name!r} (the first in row {first})")
        if wrong:
            raise DataError(
                f"{self.where} must have no missing values, got {', '.join(wrong[:5])}"
                f"{f' and {len(wrong) - 5} more columns' if len(wrong) > 5 else ''} "
                f"of {self.arrow.num_rows} rows; fill them, or leave the rows out"
            )

    def _missing(self, name: str) -> NDArray[np.bool_]:
        from pyarrow import compute, types

        column = self.arrow[name]
        missing = compute.is_null(column, nan_is_null=types.is_floating(column.type))
        if is_text(column.type):
            missing = compute.or_(missing, compute.fill_null(compute.equal(column, ""), True))
        found: NDArray[np.bool_] = missing.to_numpy()
        return found

    def numeric(self, what: str, names: Sequence[str]) -> None:
        """Refuse columns of anything but numbers and true/false.

        Raises:
            DataError: names the column and the first such value.
        """
        from pyarrow import types

        for name in names:
            kind = self.arrow.schema.field(name).type
            if not (self.is_numeric(name) or types.is_boolean(kind) or types.is_null(kind)):
                raise DataError(f"{what} {name!r} must be numbers, got {self._not_a_number(name)}")

    def numbers(self, what: str, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns as numbers [n, columns].

        Raises:
            DataError: a column is not numeric, incomplete or infinite.
        """
        import pyarrow as pa

        self.numeric(what, names)
        self.complete(names)
        columns = [self.arrow[n].cast(pa.float64(), safe=False).to_numpy() for n in names]
        rows = np.stack(columns, axis=1)
        infinite = np.argwhere(~np.isfinite(rows))
        if len(infinite):
            row, column = infinite[0]
            raise DataError(f"{what} {names[column]!r} must be finite, got infinity in row {row}")
        return rows

    def _not_a_number(self, name: str) -> str:
        column = self.arrow[name]
        if not is_text(column.type):
            return str(column.type)
        values = column.to_pylist()
        bad = next((i for i, v in enumerate(values) if v and not _reads_as_number(v)), 0)
        return f"the text {values[bad]!r} in row {bad}"

    def codes(self, name: str) -> tuple[list[str], NDArray[np.int64]]:
        """The distinct values of a column, in their order, as text; and the place of each row's.

        Whole numbers are written without a fraction whatever the column's type, so that 1 and 1.0
        are one group, in this file and in another.

        Raises:
            DataError: missing values, or such as have no order and no name, lists say.
        """
        from pyarrow import types

        column = self.arrow[name].combine_chunks()
        if types.is_nested(column.type) or types.is_binary(column.type):
            came = "bytes that are not UTF-8" if types.is_binary(column.type) else column.type
            raise DataError(f"column {name!r} must be text, numbers or dates, got {came}")
        self.complete([name])
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.dictionary_encode()
        values = [_whole(value) for value in encoded.dictionary.to_pylist()]
        order = sorted(set(values))  # 0.0 and -0.0 are one
        places = {value: place for place, value in enumerate(order)}
        place = np.array([places[value] for value in values], np.int64)
        return [str(value) for value in order], place[encoded.indices.to_numpy()]


def _whole(value: Any) -> Any:
    """A whole number as an int, anything else as it is."""
    return int(value) if isinstance(value, float | Decimal) and value % 1 == 0 else value


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_table(name: str | Path) -> bool:
    """Whether a path is a table's, by its ending.

    Examples:
        >>> is_table("sales.CSV"), is_table("photos")
        (True, False)
    """
    return Path(name).suffix.lower() in SUFFIXES


def require_arrow() -> Any:
    """The module pyarrow.

    Raises:
        DataError: it is not installed; says how to install it.
    """
    try:
        import pyarrow
    except ImportError:
        raise DataError(
            "tables need pyarrow, which is not installed: pip install 'quickstudy[tables]'"
        ) from None
    return pyarrow


def write_frame(path: Path, table: Any) -> None:
    """Write an arrow table as a parquet file, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    from pyarrow import parquet

    with written(path) as file:
        parquet.write_table(table, file)


def read_frame(source: Any) -> Frame:
    """A file or something in memory as a table with at least one row, its names all different.

    Args:
        source: see `table`.

    Raises:
        DataError: it cannot be read, is empty, or two columns share a name.
    """
    pa = require_arrow()
    path = Path(source) if isinstance(source, str | Path) else None
    where = str(path) if path is not None else f"this {type(source).__name__}"
    try:
        arrow = pa.table(source) if path is None else _reader(path)(path)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where} cannot be read as a table: {said}") from None
    try:
        frame = Frame(_plain(arrow), where)
        twice = sorted({name for name in frame.names if frame.names.count(name) > 1})
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} must be UTF-8, got names of columns in another: {error}"
        ) from None
    if twice:
        raise DataError(f"the columns of {where} must have different names, got two {twice[0]!r}")
    if not arrow.num_rows:
        raise DataError(f"{where} must hold at least one row, got none below its column names")
    return frame


def _plain(arrow: Any) -> Any:
    """The same table with text of any layout, categories of it included, as plain text."""
    import pyarrow as pa
    from pyarrow import types

    text = pa.large_string()

    def decoded(chunk: Any) -> Any:
        held = chunk.dictionary.cast(text)
        return pa.DictionaryArray.from_arrays(chunk.indices, held).dictionary_decode()

    columns = []
    for column in arrow.columns:
        kind = column.type
        if types.is_dictionary(kind) and is_text(kind.value_type):
            columns.append(pa.chunked_array([decoded(chunk) for chunk in column.chunks], text))
        else:
            columns.append(column.cast(text) if is_text(kind) else column)
    return pa.table(columns, names=arrow.column_names)


def is_text(kind: Any) -> bool:
    """Whether an arrow type is text."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _reader(path: Path) -> Callable[[Path], Any]:
    from pyarrow import parquet

    if not path.exists():
        raise DataError(f"no such table: {path}")
    if not is_table(path) or path.is_dir():
        raise DataError(f"a table must be a file {', '.join(SUFFIXES)}, got {path}")
    if path.suffix.lower() == ".csv":
        return _read_csv
    return lambda file: parquet.ParquetFile(file).read()


def _read_csv(path: Path) -> Any:
    """A CSV file; a column that later turns out to hold other things is of what fits all of it."""
    import pyarrow as pa
    from pyarrow import csv

    how = csv.ParseOptions(delimiter=_separator(path))
    try:
        return csv.read_csv(path, parse_options=how)
    except pa.ArrowInvalid:  # kinds of columns were guessed from the first block: one for all
        size = min(path.stat().st_size + 1, 2**31 - 1)
        blocks = csv.ReadOptions(block_size=size)
        return csv.read_csv(path, read_options=blocks, parse_options=how)


def _separator(path: Path) -> str:
    """What stands between the columns of a CSV file, by its first line; a comma where in doubt."""
    with path.open("rb") as file:
        first = file.readline(2**16)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} cannot be read as a table: it is UTF-16, not UTF-8")
    marks = SEPARATORS if b"," not in first else ","
    return max(marks, key=lambda mark: first.count(mark.encode()))

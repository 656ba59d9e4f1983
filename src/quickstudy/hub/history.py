"""What happened in meta-training, as a table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from quickstudy.errors import RunError
from quickstudy.hub.job import gap_of
from quickstudy.plots.curve import learning_curve

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "step", "loss", "gradient_norm", "seconds",
    "validation", "validation_interval95", "training", "training_interval95", "gap", "best",
)  # fmt: skip
"""Of the table. The last six are None but at the steps at which meta-validation looked."""


class History(Sequence[dict[str, Any]]):
    """A table with a row for each outer step.

    A number picks a row, a name a column, `looks` the rows at which meta-validation looked.
    `to_pandas` makes a data frame, where pandas is installed, and `plot` draws the learning curve.

    Args:
        records: what was recorded, as `metrics.jsonl` of a run holds it.
        control: what the no-learning control gets on the meta-validation tasks, for the plot.

    Attributes:
        records: the same.

    Examples:
        >>> score = {"mean": 0.5, "interval95": 0.1, "metric": "accuracy", "best": True}
        >>> history = History([{"step": 1, "loss": 2.0}, {"step": 2, "validation": score}])
        >>> history["loss"], len(history.looks), history[-1]["validation"]
        ([2.0, None], 1, 0.5)
    """

    def __init__(
        self, records: Sequence[Mapping[str, Any]] = (), control: float | None = None
    ) -> None:
        self.records = [dict(record) for record in records]
        self.control = control

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(_row, self.records)

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, which: slice) -> "History": ...
    @overload
    def __getitem__(self, which: str) -> list[Any]: ...
    def __getitem__(self, which: int | slice | str) -> "dict[str, Any] | History | list[Any]":
        if isinstance(which, str):
            if which not in COLUMNS:
                raise RunError(f"a history has the columns {', '.join(COLUMNS)}, got {which!r}")
            return [row[which] for row in self]
        if isinstance(which, slice):
            return History(self.records[which], self.control)
        return _row(self.records[which])

    @property
    def looks(self) -> "History":
        """The rows at which meta-validation looked."""
        return History([r for r in self.records if r.get("validation")], self.control)

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a pandas data frame, indexed by step.

        Raises:
            RunError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise RunError(
                "a history becomes a data frame where pandas is: pip install pandas"
            ) from None
        return pandas.DataFrame(list(self), columns=list(COLUMNS)).set_index("step")

    def plot(self, path: Path | str, title: str = "Meta-training") -> None:
        """Draw loss, meta-validation, meta-train and control over the steps, as a PNG.

        Raises:
            DataError: nothing has happened yet, or the file cannot be written.
        """
        learning_curve(self.records, path, title=title, control=self.control)

    def __repr__(self) -> str:
        if not self.records:
            return "History: no step yet"
        lines = [f"History of {len(self)} steps; meta-validation looked {len(self.looks)} times"]
        shown = list(self.looks)[-10:] or [self[-1]]
        lines += [f"  {'step':>8} {'loss':>8} {'validation':>18} {'gap':>8}"]
        lines += [_line(row) for row in shown]
        return "\n".join(lines)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    judged, trained = record.get("validation") or {}, record.get("training") or {}
    plain = {name: record.get(name) for name in COLUMNS[:4]}
    return plain | {
        "validation": judged.get("mean"),
        "validation_interval95": judged.get("interval95"),
        "training": trained.get("mean"),
        "training_interval95": trained.get("interval95"),
        "gap": gap_of(record),
        "best": judged.get("best"),
    }


def _line(row: Mapping[str, Any]) -> str:
    def said(value: float | None, digits: int = 3) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    judged = said(row["validation"])
    if row["validation_interval95"] is not None:
        judged += f" ± {said(row['validation_interval95'])}"
    best = " best" if row["best"] else ""
    return f"  {row['step']:>8} {said(row['loss']):>8} {judged:>18} {said(row['gap']):>8}{best}"

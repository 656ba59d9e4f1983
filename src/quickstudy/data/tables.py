"""Tables as rows sorted by group or by class, and as tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.data.columns import Columns
from quickstudy.data.episodes import Episodes
from quickstudy.data.frames import Frame, read_frame
from quickstudy.data.groups import Groups
from quickstudy.data.pools import Pool, split_classes
from quickstudy.errors import DataError


@dataclass(frozen=True)
class Table:
    """Rows of numbers with named columns, sorted by group or by class.

    Attributes:
        pool: float64 [n, features + real targets], its classes the groups, or the classes.
        features: names of the columns that are inputs.
        targets: names of the columns that are to be predicted.
        group: name of the group column; None where the target is the class.
    """

    pool: Pool
    features: tuple[str, ...]
    targets: tuple[str, ...]
    group: str | None = None

    @property
    def outputs(self) -> int | None:
        """How many real targets a row has; None for classes."""
        return None if self.group is None else len(self.targets)

    def columns(self) -> Columns:
        """The columns, with the statistics of these rows: those of meta-train, it should be.

        Raises:
            DataError: a column is the same in all rows.
        """
        return Columns.of(self.pool.images, self.features, self.targets, self.group)

    def read_as(self, columns: Columns) -> "Table":
        """The same rows with the columns of a model, in their order.

        Raises:
            DataError: one of them is not there, or the tasks, or classes, are another column's.

        Examples:
            >>> held = {"shop": ["a", "b"], "price": [1, 2], "size": [3, 5], "sold": [9, 7]}
            >>> columns = table(held, "sold", "shop", ["size"]).columns()
            >>> table(held, "sold", "shop").read_as(columns).features
            ('size',)
        """
        classes = self.group is None
        own = self.targets[0] if classes else self.group
        theirs = columns.group or columns.targets[0]
        if classes != (columns.group is None):
            what, other = ("groups", "classes") if classes else ("classes", "groups")
            raise DataError(
                f"the model's tasks are made of {what} of {theirs!r}, got {other} of {own!r}"
            )
        if own != theirs:
            raise DataError(f"the model knows {theirs!r}, got a table by {own!r}")
        held, wanted = (
            [*told.features, *(() if classes else told.targets)] for told in (self, columns)
        )
        for name in wanted:
            if name not in held:
                raise DataError(f"no column {name!r}; the table has {', '.join(held)}")
        if held == wanted and self.features == columns.features:
            return self
        rows = self.pool.images[:, [held.index(name) for name in wanted]]
        pool = Pool(rows, self.pool.offsets, self.pool.names)
        return Table(pool, columns.features, columns.targets, columns.group)

    def select(self, keep: Sequence[bool]) -> "Table":
        """The groups, or classes, where `keep` is true."""
        return Table(self.pool.select(keep), self.features, self.targets, self.group)

    def split(self, seed: int = 0, at_least: int = 1) -> tuple["Table", "Table", "Table"]:
        """Whole groups, or classes, into meta-train, meta-validation and meta-test: 70, 15, 15 %.

        Args:
            seed: which split.
            at_least: groups or classes that each part gets, where there are enough.

        Raises:
            DataError: fewer than three of them.
        """
        if self.pool.classes < 3:
            what = "classes" if self.group is None else "groups"
            where = self.targets[0] if self.group is None else self.group
            raise DataError(
                f"a split into meta-train, meta-validation and meta-test needs 3 {what}, "
                f"column {where!r} has {self.pool.classes}"
            )
        parts = split_classes(self.pool, seed=seed, at_least=at_least)
        train, validation, test = (
            Table(part, self.features, self.targets, self.group) for part in parts
        )
        return train, validation, test

    def tasks(
        self,
        columns: Columns,
        *,
        way: int | tuple[int, int] = 5,
        shot: int | tuple[int, int] = 1,
        queries: int = 15,
        leave_out_small: bool = False,
        device: torch.device | str = "cpu",
    ) -> "Groups | Episodes":
        """A source of tasks from these rows, standardised.

        Args:
            columns: of the meta-train rows.
            way: classes in a task; of no use where groups are the tasks.
            shot: support rows of a task, or of each of its classes.
            queries: query rows of the same.
            leave_out_small: leave out groups, or classes, with too few rows, an error otherwise.
            device: where the tasks lie.

        Raises:
            DataError: there are too few rows or classes.
        """
        rows = columns.standardised(self.pool.images).to(device)
        pool = Pool(rows, self.pool.offsets, self.pool.names)
        enough = pool.counts >= (shot if isinstance(shot, int) else shot[1]) + queries
        if leave_out_small and bool(enough.any()):
            pool = pool.select(enough)
        if self.outputs is None:
            return Episodes(pool, way, shot, queries)
        return Groups(pool, self.outputs, shot, queries)


def table(
    source: Any,
    targets: str | Sequence[str],
    group: str | None = None,
    features: Sequence[str] | None = None,
) -> Table:
    """A table from a CSV or parquet file, or from columns in memory.

    With a group column, each group is a regression task, and targets are real. Without, the one
    target is text, true/false or categorical: its values are classes. Rows are counted from 0.

    Args:
        source: the path of a .csv, .parquet or .pq file; or whatever pyarrow takes for a table: a
            dict of columns, a pandas or polars frame, an arrow table.
        targets: the columns to predict.
        group: the column whose values say which task a row is of.
        features: the input columns; all other columns of numbers or true/false where None.

    Raises:
        DataError: the file is missing, empty or broken; no such column, or two of one name; a
            column is not numeric, has missing values or is not finite; pyarrow is not installed.

    Examples:
        >>> sales = {"shop": ["a", "a", "b", "b"], "price": [1.0, 2, 3, 4], "sold": [9, 7, 5, 4]}
        >>> table(sales, targets="sold", group="shop").pool.counts
        tensor([2, 2])
        >>> table(sales, targets="slod", group="shop")
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: no target 'slod'; did you mean 'sold'? columns: shop, ...
    """
    frame = read_frame(source)
    wanted = [targets] if isinstance(targets, str) else list(targets)
    if not wanted:
        raise DataError("a table needs at least one target column, got none")
    frame.known("target", wanted)
    frame.known("group", [] if group is None else [group])
    told = None if features is None else list(features)
    chosen = frame.numeric_but([*wanted, group]) if told is None else told
    frame.known("feature", chosen)
    if not chosen:
        raise DataError(
            f"a table needs at least one feature column of numbers, got only "
            f"{', '.join(frame.names)}"
        )
    used = [*chosen, *wanted, *([] if group is None else [group])]
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise DataError(f"a column can be one of feature, target and group, {twice[0]!r} is two")
    if group is None:
        names, codes = _classes(frame, wanted)
        rows = frame.numbers("feature", chosen)
    else:
        frame.numeric("feature", chosen)
        frame.numeric("target", wanted)
        frame.complete(used)
        names, codes = frame.codes(group)
        rows = np.hstack([frame.numbers("feature", chosen), frame.numbers("target", wanted)])
    pool = Pool.from_labels(torch.from_numpy(rows), torch.from_numpy(codes), names)
    return Table(pool, tuple(chosen), tuple(wanted), group)


def _classes(frame: Frame, targets: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    if len(targets) > 1 or frame.is_numeric(targets[0]):
        raise DataError(
            f"targets {', '.join(targets)} need a group column, whose values say which task a row "
            "is of; only a single target of text, true/false or categories needs none"
            if len(targets) > 1
            else f"target {targets[0]!r} holds numbers, so a group column has to say which task a "
            "row is of; only text, true/false or categories are classes"
        )
    frame.complete(targets)
    return frame.codes(targets[0])

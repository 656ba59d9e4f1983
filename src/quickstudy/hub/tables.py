"""A table as data: groups as regression tasks, or rows of classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from quickstudy.core import Evaluation
from quickstudy.data.columns import Columns
from quickstudy.data.episodes import Episodes
from quickstudy.data.frames import is_table
from quickstudy.data.groups import Groups
from quickstudy.data.pools import Pool
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.data.tables import Table, table
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import Span
from quickstudy.hub.image_source import preprocessing_of
from quickstudy.hub.kept import PARTS, KeptTable, split_as_known
from quickstudy.hub.source import LEAST_CLASSES, Source, Split, Wanted

CLASSES_EACH = 5
"""Classes that each part of a split gets where there are enough, as of folders."""
UNITS = "standard deviations of meta-train"
"""Of the real targets that a model of a table sees, and so of its squared error."""


class Rows(Source):
    """A table's rows, by split.

    Args:
        name: the path of its file.
        parts: split to its rows.
        columns: of the meta-train rows.
        leave_out_small: groups, or classes, with too few rows for a task are left out; else they
            are an error.
        device: where the tasks lie.
    """

    curated = False

    def __init__(
        self,
        name: str,
        parts: Mapping[Split, Table],
        columns: Columns,
        *,
        leave_out_small: bool,
        device: torch.device,
    ) -> None:
        self.name = name
        self.parts = dict(parts)
        self.preprocessing: Columns = columns
        self.outputs = columns.outputs
        self.input_shape = (len(columns.features),)
        self.leave_out_small = leave_out_small
        self.device = device

    @property
    def pools(self) -> dict[str, Pool]:
        """The rows of each split, in the file's units."""
        return {split: part.pool for split, part in self.parts.items()}

    @property
    def what(self) -> str:
        """What a split is made of."""
        return "classes" if self.outputs is None else "groups"

    def part(self, split: Split) -> Table:
        """The rows of a split.

        Raises:
            DataError: this table has no such split.
        """
        if split in self.parts:
            return self.parts[split]
        if "all" not in self.parts:
            raise DataError(f"no split {split!r} of {self.name}; there is {', '.join(self.parts)}")
        held, least = self.parts["all"].pool.classes, self._least
        raise DataError(
            f"{self.name} has {held} {self.what}; splitting them into meta-train, "
            f"meta-validation and meta-test takes at least {least}"
        )

    @property
    def _least(self) -> int:
        return LEAST_CLASSES if self.outputs is None else len(PARTS)

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> Groups | Episodes:
        """Tasks of a split; where groups are the tasks, ways make no difference."""
        part = self.part(split)
        try:
            return part.tasks(
                self.preprocessing,
                way=ways,
                shot=shots,
                queries=queries,
                leave_out_small=self.leave_out_small,
                device=self.device,
            )
        except DataError as error:
            small = part.pool.counts < (shots if isinstance(shots, int) else shots[1]) + queries
            some = bool(small.any()) and not bool(small.all())
            told = some and split in PARTS[:2] and not self.leave_out_small and is_table(self.name)
            hint = f"; --leave-out-small does without such {self.what}" if told else ""
            where = "" if split == "all" else f", meta-{split} ({len(small)} {self.what})"
            raise DataError(f"{self.name}{where}: {error}{hint}") from None

    def fitting(
        self, splits: Sequence[Split], ways: int, shots: int, queries: int
    ) -> tuple[int, int, int]:
        """The sizes of tasks that each of these splits has classes and rows for."""
        held = [self.part(split).pool.counts for split in splits]
        if self.leave_out_small:  # there are as many classes as are large enough
            held = [
                counts[counts > shots] if bool((counts > shots).any()) else counts
                for counts in held
            ]
        ways = max(2, min(ways, *map(len, held)))
        if self.leave_out_small:
            used = ways if self.outputs is None else 1
            held = [counts.sort(descending=True).values[:used] for counts in held]
        rows = min(int(counts.min()) for counts in held)
        return ways, shots, max(1, min(queries, rows - shots))

    def kept(self) -> KeptTable | None:
        """The split of the table, and its columns."""
        if not set(PARTS) <= set(self.parts):
            return None
        return KeptTable(
            table=str(Path(self.name).absolute()),
            preprocessing=self.preprocessing,
            leave_out_small=self.leave_out_small,
            train=self.parts["train"].pool.names,
            validation=self.parts["validation"].pool.names,
            test=self.parts["test"].pool.names,
        )

    def facts(self) -> dict[str, Any]:
        """Columns, and groups or classes and rows of each split."""
        told: dict[str, Any] = {
            "data": self.name,
            "input_shape": list(self.input_shape),
            "group": self.preprocessing.group,
            "features": list(self.preprocessing.features),
            "targets": list(self.preprocessing.targets),
        }
        each = "rows_a_class" if self.outputs is None else "rows_a_group"
        for split, pool in self.pools.items():
            spread = [int(pool.counts.min()), int(pool.counts.max())]
            told[split] = {self.what: pool.classes, "rows": len(pool.images), each: spread}
        return told


def open_table(name: str, wanted: Wanted) -> Rows:
    """The table in a file, split by group, or by class.

    Groups or classes of a run's own split stay where they are; those that it never saw are
    meta-test.

    Args:
        name: its path.
        wanted: the columns, or those of the model that is to see it; the run's split.

    Raises:
        DataError: see `data.tables.table`; or a column of meta-train is the same in all rows.
        RunError: no target is named, or the model was trained on something else.
    """
    columns = wanted.preprocessing
    if isinstance(columns, Preprocessing):
        raise RunError(f"the model was trained on images, so it does not read the table {name}")
    if columns is None and not wanted.targets:
        raise RunError(f"{name} is a table: name the columns to predict with --targets A,B")
    whole = (
        table(name, columns.targets, columns.group, columns.features)
        if columns
        else table(name, wanted.targets, wanted.group, wanted.features)
    )
    return rows_of(name, whole, replace(wanted, preprocessing=columns))


def rows_of(name: str, whole: Table, wanted: Wanted) -> Rows:
    """A table that is there already, split; see `open_table`.

    Args:
        name: what to call it.
        whole: the table; its columns may stand in another order than those of the model.
        wanted: the columns of the model that is to see it, and the run's split.

    Raises:
        DataError: a column of meta-train is the same in all rows; the table lacks one of the
            model's.

    Examples:
        >>> columns = {"x": range(12), "y": [n % 5 for n in range(12)], "g": [*"aabbccddeeff"]}
        >>> rows_of("mine", table(columns, "y", group="g"), Wanted()).facts()["train"]
        {'groups': 4, 'rows': 8, 'rows_a_group': [2, 2]}
    """
    told = wanted.preprocessing if isinstance(wanted.preprocessing, Columns) else None
    whole = whole.read_as(told) if told else whole
    kept = wanted.kept if isinstance(wanted.kept, KeptTable) else None
    known = {n: p for n, p in kept.parts.items() if n in whole.pool.names} if kept else {}
    parts: dict[Split, Table] = {}
    if known:
        for part, pool in split_as_known(whole.pool, known).items():
            parts[part] = replace(whole, pool=pool)  # type: ignore[index]
    else:
        parts["all"] = whole
        least = LEAST_CLASSES if whole.outputs is None else len(PARTS)
        if whole.pool.classes >= least:
            split = whole.split(at_least=CLASSES_EACH if whole.outputs is None else 1)
            parts |= dict(zip(PARTS, split, strict=True))
    columns = told or parts.get("train", whole).columns()
    leave = wanted.leave_out_small or (kept is not None and kept.leave_out_small)
    return Rows(name, parts, columns, leave_out_small=leave, device=wanted.device)


def reading_of(stored: Mapping[str, JsonValue], path: Path | str) -> Preprocessing | Columns | None:
    """How a stored model reads files: as images, as tables, or not at all.

    Raises:
        RunError: in another way.
    """
    if not stored:
        return None
    return columns_of(stored, path) if "features" in stored else preprocessing_of(stored, path)


def columns_of(stored: Mapping[str, JsonValue], path: Path | str) -> Columns:
    """The columns that a stored model was trained with.

    Raises:
        RunError: it was trained on something else than a table.
    """
    try:
        return Columns.model_validate(dict(stored))
    except ValidationError:
        raise RunError(
            f"the model in {path} was not trained on a table, so it reads none"
        ) from None


def in_units(source: Source, score: Evaluation) -> dict[str, Any]:
    """What a squared error on a table means.

    Args:
        source: the data.
        score: of a model on it.

    Returns:
        units, of the squared error; rmse, the root mean squared error of each target in the table's
        own units. Nothing for other data than tables of real targets.
    """
    if not isinstance(source, Rows) or source.outputs is None or score.errors is None:
        return {}
    columns = source.preprocessing
    deviations = torch.tensor(columns.deviations[len(columns.features) :])
    rmse = score.errors.mean(0).sqrt() * deviations
    named = zip(columns.targets, rmse.tolist(), strict=True)
    told = {name: float(f"{error:.6g}") if math.isfinite(error) else None for name, error in named}
    return {"units": UNITS, "rmse": told}

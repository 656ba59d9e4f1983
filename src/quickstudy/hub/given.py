"""Tasks that are handed in from Python, as a source like those that `--data` names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from quickstudy.core import Task, TaskSource, unstack
from quickstudy.core.tasks import leaves
from quickstudy.data.datasets import from_dataset
from quickstudy.data.dictionaries import TaskList
from quickstudy.data.episodes import Episodes
from quickstudy.data.pools import Pool, Splits, split_classes
from quickstudy.data.tables import Table
from quickstudy.errors import DataError, TaskError
from quickstudy.hub.config import Span
from quickstudy.hub.sources import LEAST_CLASSES, Source, Split, Wanted, open_source
from quickstudy.hub.tables import rows_of

IN_MEMORY = "tasks in memory"
"""What the configuration of a run calls them."""
PARTS: tuple[Split, ...] = ("train", "validation", "test")

Given = Any
"""A name or folder, a source, a table, splits, a pool, a task source, dictionaries, a data set."""


class InMemory(Source):
    """Tasks that somebody holds, by split.

    Args:
        parts: split to its classes, or to a source whose tasks come as they are.

    Raises:
        TaskError: what a source hands out is no batch of tasks.
    """

    def __init__(self, parts: dict[Split, Pool | TaskSource[Task]]) -> None:
        self.name = IN_MEMORY
        self.parts = parts
        train = parts["train"]
        if isinstance(train, Pool):
            self.input_shape = tuple(train.images.shape[1:])
            return
        task = _first(train)
        inputs = task.support.x
        is_tensor = isinstance(inputs, torch.Tensor)
        self.input_shape = tuple(leaves(inputs)[0].shape[1:]) if is_tensor else ()
        y = task.support.y
        classes = bool(((y == 0) | (y == 1)).all()) and bool((y.sum(-1) <= 1).all())
        self.outputs = None if classes and y.shape[-1] > 1 else y.shape[-1]

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """Tasks of a split; of a task source as they come, whatever sizes are asked for."""
        if split not in self.parts:
            raise DataError(
                f"{self.name} have no split {split!r}; they have {', '.join(self.parts)}"
            )
        part = self.parts[split]
        return Episodes(part, ways, shots, queries) if isinstance(part, Pool) else part

    def facts(self) -> dict[str, Any]:
        """What is known of them."""
        return {"data": self.name, "input_shape": list(self.input_shape), "outputs": self.outputs}


def _first(source: TaskSource[Task]) -> Task:
    batch = source.sample(1, torch.Generator().manual_seed(0))
    if not isinstance(batch, Task):
        raise TaskError(
            "a task source must hand out a `Task` of stacked examples from sample(count, "
            f"generator), got a {type(batch).__name__}"
        )
    return unstack(batch)[0]


def open_given(tasks: Given, validation: Given | None = None, test: Given | None = None) -> Source:
    """Whatever tasks are given, as a source.

    Args:
        tasks: a name that `--data` knows or a folder's path; a `Source`; a `Splits`; a `Pool` or a
            map-style data set, whose classes are split at random where nothing else is given; a
            task source, a task dictionary or a list of these.
        validation: meta-validation tasks, of the same kinds. Where there are none, fresh tasks
            from a task source stand in for them, which says nothing of new classes.
        test: meta-test tasks, likewise.

    Raises:
        DataError: too few classes to be split, or data that cannot be read.
        TaskError: things that are no tasks.

    Examples:
        >>> from quickstudy.data import Sinusoids
        >>> open_given(Sinusoids()).outputs
        1
    """
    if isinstance(tasks, str | Path):
        tasks = open_source(str(tasks), Wanted())
    if isinstance(tasks, Table):
        tasks = rows_of(IN_MEMORY, tasks, Wanted())
    if isinstance(tasks, Source):
        if validation is not None or test is not None:
            raise DataError(f"{tasks.name} bring their own splits; got others beside them")
        return tasks
    train = _part(tasks)
    if isinstance(train, Pool) and validation is None and test is None:
        if train.classes < LEAST_CLASSES:
            raise DataError(
                f"{train.classes} classes are too few to be split into meta-train, meta-validation "
                f"and meta-test, which takes {LEAST_CLASSES}; give validation and test tasks"
            )
        train = split_classes(train, at_least=5)
    if isinstance(train, Splits):
        Splits.disjoint(*train)
        return InMemory(dict(zip(PARTS, train, strict=True)))
    judged = train if validation is None and not isinstance(train, Pool) else validation
    last = judged if test is None else test
    if judged is None:
        raise DataError("classes to train on need validation tasks beside test tasks, got none")
    parts = [train, _part(judged), _part(last)]
    if all(isinstance(part, Pool) for part in parts) and parts[1] is not parts[2]:
        parts = list(Splits.disjoint(*parts))
    return InMemory(dict(zip(PARTS, parts, strict=True)))


def tasks_of(tasks: Given, split: Split, ways: int, shots: int, queries: int) -> TaskSource[Task]:
    """A source of tasks to be judged on, from whatever is given; all classes of a pool.

    Raises:
        DataError: tasks of such sizes cannot be drawn from it.
        TaskError: things that are no tasks.
    """
    if isinstance(tasks, str | Path):
        tasks = open_source(str(tasks), Wanted())
    if isinstance(tasks, Source):
        return tasks.tasks(split, ways, shots, queries)
    part = _part(tasks)
    if isinstance(part, Splits):
        part = part.test
    drawn: TaskSource[Task] = (
        Episodes(part, ways, shots, queries) if isinstance(part, Pool) else part
    )
    return drawn


def _part(given: Given) -> Any:
    """A pool, three of them, or a task source."""
    if isinstance(given, Pool | Splits) or callable(getattr(given, "sample", None)):
        return given
    if isinstance(given, dict):
        return TaskList([given])
    if isinstance(given, Sequence) and given and isinstance(given[0], dict):
        return TaskList(given)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, str):
        return from_dataset(given)
    raise TaskError(
        "tasks must be a name, a folder, a pool, a data set, dictionaries, or have "
        f"sample(count, generator), got a {type(given).__name__}"
    )

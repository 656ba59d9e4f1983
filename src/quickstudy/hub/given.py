"""Tasks that are handed in from Python, as a source like those that `--data` names."""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch

from quickstudy.core import Task, TaskSource, unstack
from quickstudy.core.tasks import leaves
from quickstudy.data.columns import Columns
from quickstudy.data.datasets import from_dataset
from quickstudy.data.dictionaries import TaskList
from quickstudy.data.episodes import Episodes
from quickstudy.data.frames import is_table
from quickstudy.data.groups import Groups
from quickstudy.data.leakage import check_leakage
from quickstudy.data.pools import Pool, Splits, split_classes
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.data.tables import Table
from quickstudy.errors import DataError, RunError, TaskError
from quickstudy.hub.config import Span
from quickstudy.hub.image_source import Images
from quickstudy.hub.source import LEAST_CLASSES, Source, Split, Wanted
from quickstudy.hub.sources import SOURCES, open_source
from quickstudy.hub.tables import rows_of

IN_MEMORY = "tasks in memory"
"""What the configuration of a run calls them."""
PARTS: tuple[Split, ...] = ("train", "validation", "test")

Given = Any
"""A name or folder, a source, a table, splits, a pool, a task source, dictionaries, a data set."""


_AGAIN = (
    "the tasks of this run were handed in from Python, and so they have to be again: "
    "Platform.load(folder, tasks), or Platform(net, tasks, ...).resume(folder)"
)


def refuse_in_memory(data: str) -> None:
    """Tasks that were handed in from Python have no name to open them by again.

    Raises:
        RunError: these are such.
    """
    if data == IN_MEMORY:
        raise RunError(_AGAIN)


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
        first = next(iter(parts.values()))
        if isinstance(first, Pool):
            self.input_shape = tuple(first.images.shape[1:])
            return
        task = _first(first)
        inputs = task.support.x
        is_tensor = isinstance(inputs, torch.Tensor)
        self.input_shape = tuple(leaves(inputs)[0].shape[1:]) if is_tensor else ()
        self.outputs = task.support.y.shape[-1] if _kind(first, task) == "values" else None

    def sizes(self, split: Split) -> tuple[str, ...]:
        """Those of classes; none where tasks come as they are."""
        return super().sizes(split) if isinstance(self.parts.get(split), Pool) else ()

    def fitting(
        self, splits: Sequence[Split], ways: int, shots: int, queries: int
    ) -> tuple[int, int, int]:
        """The sizes of tasks that each of these splits has classes and examples for."""
        pools = [part for part in map(self.parts.get, splits) if isinstance(part, Pool)]
        for pool in pools:
            ways = max(2, min(ways, pool.classes))
            queries = max(1, min(queries, int(pool.counts.min()) - shots))
        return ways, shots, queries

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """Tasks of a split; of a task source as they come, whatever sizes are asked for."""
        if split not in self.parts:
            raise DataError(
                f"{self.name} have no split {split!r}; they have {', '.join(self.parts)}"
            )
        part = self.parts[split]
        if not isinstance(part, Pool):
            return part
        try:
            return Episodes(part, ways, shots, queries)
        except DataError as error:
            where = f"{self.name}, meta-{split} ({part.classes} classes)"
            raise DataError(f"{where}: {error}") from None

    def facts(self) -> dict[str, Any]:
        """What is known of them."""
        return {"data": self.name, "input_shape": list(self.input_shape), "outputs": self.outputs}


class NotGiven(Source):
    """Tasks that a stored model was trained on, in the memory of some other program.

    Args:
        input_shape: of one input.
        preprocessing: how a user's images, or tables, become inputs.
    """

    def __init__(
        self, input_shape: Sequence[int], preprocessing: Preprocessing | Columns | None
    ) -> None:
        self.name = IN_MEMORY
        self.input_shape = tuple(input_shape)
        self.preprocessing = preprocessing

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """None.

        Raises:
            RunError: they have to be handed in.
        """
        raise RunError(_AGAIN)

    def facts(self) -> dict[str, Any]:
        """What is known of them."""
        return {"data": self.name, "input_shape": list(self.input_shape)}


def _first(source: TaskSource[Task]) -> Task:
    generator = torch.Generator().manual_seed(0)
    try:
        with contextlib.suppress(ValueError):  # what is not written in Python may have none
            inspect.signature(source.sample).bind(1, generator)
    except TypeError as error:
        raise TaskError(
            f"a task source must have sample(count, generator); that of a {type(source).__name__} "
            f"cannot be called so: {error}"
        ) from None
    batch = source.sample(1, generator)
    if not isinstance(batch, Task):
        raise TaskError(
            "a task source must hand out a `Task` of stacked examples from sample(count, "
            f"generator), got a {type(batch).__name__}"
        )
    return unstack(batch)[0]


def _kind(source: TaskSource[Task], task: Task) -> str:
    """What a source's targets are: as it says in its attribute `targets`, or as they look."""
    told = getattr(source, "targets", None)
    if told in ("classes", "values"):
        return str(told)
    y = task.support.y
    classes = bool(((y == 0) | (y == 1)).all()) and bool((y.sum(-1) <= 1).all())
    return "classes" if classes and y.shape[-1] > 1 else "values"


def open_given(
    tasks: Given,
    validation: Given | None = None,
    test: Given | None = None,
    wanted: Wanted | None = None,
) -> Source:
    """Whatever tasks are given, as a source.

    Args:
        tasks: a name that `--data` knows or a folder's path; a `Source`; a table; a `Splits`; a
            `Pool` or a map-style data set; a task source; a list of task dictionaries. Classes and
            written tasks are split at random, 70, 15 and 15 per cent, where nothing else is given.
        validation: meta-validation tasks: a pool, a data set, a task source or dictionaries. Where
            there are none, fresh tasks from a source that makes them up stand in for them, which
            says nothing of new classes.
        test: meta-test tasks, likewise; those of meta-validation where not given.
        wanted: how files and tables are read and split, where a model has seen them before.

    Raises:
        DataError: too few classes or tasks to be split, classes or pictures in two of the parts,
            or data that cannot be read.
        TaskError: things that are no tasks.

    Examples:
        >>> from quickstudy.data import Sinusoids
        >>> open_given(Sinusoids()).outputs
        1
    """
    if isinstance(tasks, str | Path):
        path = Path(tasks)
        if is_table(str(tasks)) and not isinstance((wanted or Wanted()).preprocessing, Columns):
            raise DataError(
                f"{tasks} is a table, which has to be told its columns: hand in "
                f"qs.table({str(tasks)!r}, targets=..., group=...)"
            )
        name = str(path.absolute()) if path.exists() and str(path) not in SOURCES else str(tasks)
        tasks = open_source(name, wanted or Wanted())
    if isinstance(tasks, Table):
        tasks = rows_of(IN_MEMORY, tasks, wanted or Wanted())
    extras = validation is not None or test is not None
    if isinstance(tasks, Source | Splits):
        if extras:
            raise DataError(f"a {type(tasks).__name__} brings its own splits; got others beside it")
        if isinstance(tasks, Source):
            return tasks
        Splits.disjoint(*tasks)
        return InMemory(dict(zip(PARTS, tasks, strict=True)))
    train = _part(tasks)
    if not extras:
        return InMemory(dict(zip(PARTS, _divided(train), strict=True)))
    if validation is None:
        raise DataError("test tasks need validation tasks beside them, to choose the best by")
    judged = train if validation is tasks else _part(validation)
    last = judged if test is None or test is validation else _part(test)
    _check_apart(train, judged, last)
    return InMemory(dict(zip(PARTS, (train, judged, last), strict=True)))


def _divided(train: Any) -> tuple[Any, Any, Any]:
    """Meta-train, meta-validation and meta-test out of one thing, sharing nothing."""
    if isinstance(train, Episodes | Groups):
        raise DataError(
            f"{type(train).__name__} draw from one pool; give validation tasks of other classes, "
            "or the pool itself, which is split by class"
        )
    held = train.classes if isinstance(train, Pool) else len(train) if _is_list(train) else None
    if held is None:
        return train, train, train  # it makes up fresh tasks each time
    what = "classes" if isinstance(train, Pool) else "tasks"
    if held < LEAST_CLASSES:
        raise DataError(
            f"{held} {what} are too few to be split into meta-train, meta-validation and "
            f"meta-test, which takes {LEAST_CLASSES}; give validation tasks"
        )
    return split_classes(train, at_least=5) if isinstance(train, Pool) else train.split()


def _is_list(source: object) -> TypeGuard[TaskList]:
    return isinstance(source, TaskList)


def _check_apart(train: Any, judged: Any, last: Any) -> None:
    """Refuse what is trained on among what is judged by.

    Raises:
        DataError: the same thing is given twice, or two parts share classes or pictures.
    """
    if judged is train or last is train:
        raise DataError("what is trained on cannot be validation or test tasks too")
    pools = [part for part in (train, judged, last) if isinstance(part, Pool)]
    for i, one in enumerate(pools):
        for other in pools[i + 1 :]:
            if other is not one:
                _refuse_shared(one, other)


def _refuse_shared(one: Pool, other: Pool) -> None:
    if one.images.ndim > 2:
        check_leakage(one, other)
        return
    shared = sorted(set(one.names) & set(other.names))  # rows of features may be equal by chance
    if shared:
        raise DataError(f"the parts must share no class, got {', '.join(map(repr, shared[:5]))}")


def judged_on(tasks: Given, split: Split, wanted: Wanted | None = None) -> Source:
    """Whatever tasks are given to be judged on, as a source with that split.

    Args:
        tasks: as for `open_given`; all classes of a pool.
        split: which part of data that is split.
        wanted: how files and tables are read and split.

    Raises:
        DataError: data that cannot be read.
        TaskError: things that are no tasks.
    """
    if isinstance(tasks, str | Path | Source | Table):
        return open_given(tasks, wanted=wanted)
    part = _part(tasks.test if isinstance(tasks, Splits) else tasks)
    return InMemory({split: part})


def images_of(source: Source, split: Split) -> Pool | None:
    """The images that a split's tasks are drawn from; None where they are no images."""
    pools: Mapping[Any, Any] = {}
    if isinstance(source, Images):
        pools = source.pools
    elif isinstance(source, InMemory):
        pools = source.parts
    pool = pools.get(split)
    return pool if isinstance(pool, Pool) and pool.images.ndim > 2 else None


def _part(given: Given) -> Any:
    """A pool, or a task source."""
    if callable(getattr(given, "sample", None)) and hasattr(given, "columns"):
        raise TaskError(
            f"a {type(given).__name__} has to be told its columns: hand in "
            "qs.table(frame, targets=..., group=...)"
        )
    if isinstance(given, Pool) or callable(getattr(given, "sample", None)):
        return given
    if isinstance(given, dict):
        return TaskList([given])
    if isinstance(given, Sequence) and given and isinstance(given[0], dict):
        return TaskList(given)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, str):
        return from_dataset(given)
    raise TaskError(
        "tasks must be a name, a folder (for validation: qs.image_folder(path)), a table, a pool, "
        f"a data set, dictionaries, or have sample(count, generator), got {type(given).__name__}"
    )

"""Tasks that a user wrote down: dictionaries of a support set and a query set."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from quickstudy.core.tasks import Examples, Task, one_hot, stack, tree_map
from quickstudy.data.arrays import array_of, distinct, numbers, said
from quickstudy.data.episodes import scale
from quickstudy.errors import DataError, TaskError

KEYS = ("support_x", "support_y", "query_x", "query_y")
"""What a dictionary that is a task holds."""

Given = Mapping[str, ArrayLike | Tensor]
"""A task as a dictionary."""


def as_task(given: Given | Task, way: int | None = None) -> Task:
    """A task from a dictionary of arrays, tensors or lists.

    Targets decide the kind of task. Strings or integers are classes: the support's distinct labels,
    sorted, are the columns of the one-hot. Floats are real targets.

    Args:
        given: "support_x" [n, ...] and "query_x" [m, ...], rows of one shape (uint8 is scaled to
            [0, 1], everything else becomes float32); "support_y" and "query_y", labels [n] and [m],
            or floats [n] or [n, d]. A `Task` comes back as it is.
        way: columns of the one-hot, where there are to be more than the support has classes. Labels
            are then the columns' own numbers, 0..way-1.

    Returns:
        The task, float32 on the CPU: y [n, way] one-hot, or [n, d] real targets ([n, 1] for floats
        [n]); masks all ones.

    Raises:
        TaskError: a key is missing or unknown; x or y is ragged, empty, no numbers, NaN or
            infinite; x and y differ in length; a query label that the support lacks; support and
            query of different kinds; fewer than two classes.

    Examples:
        >>> task = as_task({
        ...     "support_x": [[0.0, 0.1], [0.9, 1.0]], "support_y": ["dark", "light"],
        ...     "query_x": [[0.8, 0.7]], "query_y": ["light"],
        ... })
        >>> task.query.y
        tensor([[0., 1.]])
        >>> as_task({"support_x": [[0.0]], "support_y": [0.5], "query_x": [[1.0]]})
        Traceback (most recent call last):
        ...
        quickstudy.errors.TaskError: a task must hold support_x, ...; query_y is missing
    """
    return given if isinstance(given, Task) else _parsed(given, way).task


class _Parsed(NamedTuple):
    task: Task
    targets: Literal["classes", "values"]


def _parsed(given: Given, way: int | None = None) -> _Parsed:
    _check_keys(given)
    try:
        support_x, query_x = (numbers(name, given[name]) for name in ("support_x", "query_x"))
        _alike("support_x", support_x, "query_x", query_x)
        support_kind, query_kind = (_kind(name, given[name]) for name in ("support_y", "query_y"))
        if support_kind != query_kind:
            raise DataError(
                f"support_y and query_y must be of one kind, got {support_kind} and {query_kind}"
            )
        for half, x in (("support", support_x), ("query", query_x)):
            held = len(array_of(f"{half}_y", given[f"{half}_y"]))
            if held != len(x):
                raise DataError(
                    f"{half}_y must hold one target for each row of {half}_x, "
                    f"got {held} for {len(x)} {'row' if len(x) == 1 else 'rows'}"
                )
        if support_kind == "floats":
            support_y, query_y = _values(given, way)
        else:
            support_y, query_y = _one_hots(given, way)
    except DataError as error:
        raise TaskError(str(error)) from None
    halves = [
        Examples(scale(x, torch.Generator()), y, torch.ones(len(y)))
        for x, y in ((support_x, support_y), (query_x, query_y))
    ]
    return _Parsed(Task(*halves), "values" if support_kind == "floats" else "classes")


def _check_keys(given: Given) -> None:
    wanted = f"a task must hold {', '.join(KEYS)}"
    if not isinstance(given, Mapping):
        raise TaskError(f"{wanted} in a dictionary, got a {type(given).__name__}")
    wrong = []
    missing = [key for key in KEYS if key not in given]
    if missing:
        wrong.append(f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing")
    for key in given:
        if key not in KEYS:
            alike = difflib.get_close_matches(str(key), missing, n=1)
            hint = f" (did you mean {alike[0]}?)" if alike else ""
            wrong.append(f"{key!r} is none of them{hint}")
    if wrong:
        raise TaskError(f"{wanted}; {', '.join(wrong)}")


def _kind(name: str, y: ArrayLike | Tensor) -> str:
    array = array_of(name, y)
    if not array.size:
        raise DataError(f"{name} must hold at least one target, got shape {list(array.shape)}")
    kinds = {"f": "floats", "i": "integers", "u": "integers", "U": "strings", "O": "strings"}
    return kinds.get(array.dtype.kind, said(array))


def _values(given: Given, way: int | None) -> tuple[Tensor, Tensor]:
    """Real targets [n, d] and [m, d]."""
    if way is not None:
        raise DataError(f"way is for classes, and these targets are floats; got way={way}")
    found = []
    for name in ("support_y", "query_y"):
        y = numbers(name, given[name])
        if y.ndim > 2:
            raise DataError(f"{name} must be [n] or [n, targets], got shape {list(y.shape)}")
        found.append(y[:, None] if y.ndim == 1 else y)
    support, query = found
    _alike("support_y", support, "query_y", query)
    return support, query


def _one_hots(given: Given, way: int | None) -> tuple[Tensor, Tensor]:
    """One-hot targets [n, way] and [m, way]."""
    known, support = distinct("support_y", given["support_y"])
    asked, query = distinct("query_y", given["query_y"])
    if len(known) < 2:
        raise DataError(f"support_y must hold at least 2 classes, got only {known[0]!r}")
    lacking = sorted(set(asked) - set(known), key=str)
    if lacking:
        raise DataError(
            f"query_y must hold labels that support_y holds too, "
            f"got {', '.join(map(repr, lacking[:5]))}; it holds {', '.join(map(repr, known[:5]))}"
            f"{f' and {len(known) - 5} more' if len(known) > 5 else ''}"
        )
    place = {label: i for i, label in enumerate(known)}
    if way is not None:
        if isinstance(known[0], str) or known[0] < 0 or int(known[-1]) >= way:
            raise DataError(
                f"where way is {way}, labels must be integers in 0..{way - 1}, "
                f"got {known[0]!r}..{known[-1]!r}"
            )
        place = {label: int(label) for label in known}
    columns = torch.tensor([place[label] for label in known])
    among = torch.tensor([place[label] for label in asked])
    width = way or len(known)
    return (
        one_hot(columns[torch.from_numpy(support)], width),
        one_hot(among[torch.from_numpy(query)], width),
    )


def _alike(name: str, a: Tensor, other: str, b: Tensor) -> None:
    """Refuse rows of different shapes, and bytes beside other numbers, which are not scaled."""
    one, two = ((list(t.shape[1:]), str(t.dtype).removeprefix("torch.")) for t in (a, b))
    if one != two:
        raise DataError(
            f"rows of {name} and {other} must be of one shape and type, "
            f"got {one[0]} {one[1]} and {two[0]} {two[1]}"
        )


class TaskList:
    """A source of the tasks in a list, drawn at random, with replacement.

    Args:
        tasks: dictionaries that `as_task` takes, all of classes or all of real targets, with inputs
            of one shape. Their numbers of rows and of classes may differ: shorter ones are padded.

    Attributes:
        tasks: all of them, stacked.
        targets: "classes" or "values".

    Raises:
        TaskError: no task is given, one is not a task (says which), or they differ in kind.

    Examples:
        >>> line = {"support_x": [[0.0], [1.0]], "support_y": [0.0, 2.0],
        ...         "query_x": [[2.0]], "query_y": [4.0]}
        >>> tasks = TaskList([line, {**line, "support_y": [0.0, 3.0], "query_y": [6.0]}])
        >>> tasks.sample(5, torch.Generator().manual_seed(0)).query.y.flatten()
        tensor([4., 6., 6., 4., 6.])
    """

    targets: Literal["classes", "values"]

    def __init__(self, tasks: Sequence[Given]) -> None:
        if isinstance(tasks, Mapping):
            raise TaskError("a list of tasks must be a list, got one dictionary")
        found: list[_Parsed] = []
        for number, given in enumerate(tasks):
            try:
                found.append(_parsed(given))
            except TaskError as error:
                raise TaskError(f"task {number}: {error}") from None
        if not found:
            raise TaskError("a list of tasks needs at least one, got none")
        kinds = [_described(one) for one in found]
        for number, kind in enumerate(kinds):
            if kind != kinds[0]:
                raise TaskError(
                    f"tasks of one list must be alike, got {kinds[0]} (task 0) "
                    f"and {kind} (task {number})"
                )
        self.targets = found[0].targets
        self.tasks = stack([one.task for one in found])

    def __len__(self) -> int:
        return len(self.tasks.support.y)

    def split(self, seed: int = 0) -> tuple["TaskList", "TaskList", "TaskList"]:
        """Meta-train, meta-validation and meta-test: 70, 15 and 15 per cent of the tasks.

        Args:
            seed: which random split.

        Raises:
            TaskError: fewer than three tasks.
        """
        count = len(self)
        judged = max(1, round(0.15 * count))
        if count < 3:
            raise TaskError(f"three parts need three tasks or more, got {count}")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        parts = order.split([count - 2 * judged, judged, judged])
        train, validation, test = (self._of(rows) for rows in parts)
        return train, validation, test

    def _of(self, rows: Tensor) -> "TaskList":
        chosen = object.__new__(TaskList)
        chosen.targets = self.targets
        chosen.tasks = tree_map(lambda tensor: tensor[rows], self.tasks)
        return chosen

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` of the tasks, stacked, padded to the largest in the list.

        Raises:
            TaskError: fewer than one task.
        """
        if count < 1:
            raise TaskError(f"a batch needs at least one task, got {count}")
        device = generator.device
        chosen = torch.randint(len(self), (count,), generator=generator, device=device).cpu()
        return tree_map(lambda tensor: tensor[chosen], self.tasks)


def _described(one: _Parsed) -> str:
    shape = list(one.task.support.x.shape[1:])
    if one.targets == "classes":
        return f"classes of inputs {shape}"
    return f"{one.task.support.y.shape[1]} real targets of inputs {shape}"

"""Tasks: a support set to adapt from and a query set to be judged on.

Everything is written for one task. A batch of tasks is the same `Task` whose tensors carry one
more leading dimension; `stack` makes one and `unstack` takes it apart.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.functional import zero_masked
from quickstudy.errors import TaskError

Inputs = Any
"""A tensor [n, *input], or nested dicts, lists and tuples of tensors that share the leading n."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Examples(NamedTuple):
    """Labelled examples, padded to a fixed number of rows.

    Attributes:
        x: inputs, a tensor [n, *input] or nested dicts and tuples of such tensors.
        y: targets, [n, way] one-hot or [n, d] real. A real row whose one-hot is all zero is an
            unlabelled example.
        mask: [n], 1 for a real row, 0 for padding.
    """

    x: Inputs
    y: Tensor
    mask: Tensor


class Task(NamedTuple):
    """A support set to adapt from and a query set to be judged on, over the same targets."""

    support: Examples
    query: Examples


@runtime_checkable
class TaskSource(Protocol[T_co]):
    """Anything that hands out batches of tasks (or of problems: `fit` does not mind which).

    One method is all there is to write:

    Examples:
        >>> class Constant:
        ...     def sample(self, count, generator):
        ...         x = torch.rand(count, 4, 2, generator=generator)
        ...         half = Examples(x, one_hot(torch.tensor([0, 1, 0, 1]), 2).expand(count, 4, 2),
        ...                         torch.ones(count, 4))
        ...         return Task(half, half)
        >>> isinstance(Constant(), TaskSource)
        True
    """

    def sample(self, count: int, generator: torch.Generator) -> T_co:
        """Draw `count` tasks, stacked along a leading dimension, using `generator` alone."""
        ...


def tree_map(function: Callable[..., Tensor], tree: T, *others: T) -> T:
    """Apply `function` to every tensor of nested dicts, lists, tuples and named tuples.

    Args:
        function: takes one tensor from each tree, returns a tensor.
        tree: the structure to follow.
        others: trees of the same structure.

    Raises:
        TaskError: a leaf is neither a tensor nor a container.

    Examples:
        >>> tree_map(lambda a: a + 1, {"a": torch.zeros(1), "b": (torch.ones(1),)})
        {'a': tensor([1.]), 'b': (tensor([2.]),)}
    """
    result: Any
    if isinstance(tree, Tensor):
        return function(tree, *others)  # type: ignore[return-value]
    if isinstance(tree, dict):
        result = {k: tree_map(function, v, *(o[k] for o in others)) for k, v in tree.items()}  # type: ignore[index]
    elif isinstance(tree, tuple | list):
        rows = [tree_map(function, *leaves) for leaves in zip(tree, *others, strict=True)]
        result = type(tree)(*rows) if hasattr(tree, "_fields") else type(tree)(rows)
    else:
        raise TaskError(
            f"tasks and states hold tensors in dicts and tuples, got {type(tree).__name__}"
        )
    return result  # type: ignore[no-any-return]


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of a tree, in a fixed order.

    Examples:
        >>> len(leaves({"a": torch.zeros(1), "b": (torch.ones(1), torch.ones(2))}))
        3
    """
    if isinstance(tree, Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    return [tensor for child in children for tensor in leaves(child)]


def one_hot(labels: Int[Tensor, " n"], way: int) -> Float[Tensor, "n way"]:
    """Integer labels as rows of a one-hot matrix; a label of -1 gives a row of zeros (unlabelled).

    Args:
        labels: [n] integers in -1..way-1.
        way: the number of classes.

    Raises:
        TaskError: a label lies outside -1..way-1.

    Examples:
        >>> one_hot(torch.tensor([1, 0, -1]), way=2)
        tensor([[0., 1.],
                [1., 0.],
                [0., 0.]])
    """
    if labels.numel() and (int(labels.min()) < -1 or int(labels.max()) >= way):
        low, high = int(labels.min()), int(labels.max())
        raise TaskError(f"labels must lie in -1..{way - 1} for {way} ways, got {low}..{high}")
    return (labels[:, None] == torch.arange(way, device=labels.device)).float()


def examples(
    x: Inputs,
    labels: Int[Tensor, " n"] | Sequence[int],
    way: int,
    mask: Float[Tensor, " n"] | None = None,
) -> Examples:
    """Examples from inputs and integer labels.

    Args:
        x: inputs, every tensor [n, ...].
        labels: [n] integers in 0..way-1, -1 for an unlabelled example.
        way: the number of classes.
        mask: [n], 1 for a real row; all ones where it is not given.

    Returns:
        Examples whose labels and mask are in the precision of the inputs, or in torch's own where
        those are whole numbers.

    Raises:
        TaskError: the numbers of inputs and labels differ, a label is out of range or no whole
            number, or inputs are no tensors, or hold NaN or infinity.

    Examples:
        >>> examples(torch.rand(3, 8), torch.tensor([0, 1, 1]), way=2).y.shape
        torch.Size([3, 2])
    """
    whole = isinstance(labels, Sequence) and all(type(label) is int for label in labels)
    marks = torch.tensor(labels, dtype=torch.long) if whole else labels
    if not isinstance(marks, Tensor) or marks.is_floating_point() or marks.ndim != 1:
        raise TaskError(
            "labels must be whole numbers 0..way-1, [n]; FewShotClassifier takes any others"
        )
    tree_map(_usable, x)
    rows = {leaf.shape[0] for leaf in leaves(x)}
    if rows != {len(marks)}:
        raise TaskError(
            f"inputs and labels must agree in number, got {sorted(rows)} and {len(marks)}"
        )
    mask = torch.ones(len(marks), device=marks.device) if mask is None else mask
    precise = [leaf.dtype for leaf in leaves(x) if leaf.is_floating_point()]
    dtype = precise[0] if precise else torch.get_default_dtype()
    return Examples(x, one_hot(marks, way).to(dtype), mask.to(dtype))


def _usable(x: Tensor) -> Tensor:
    if x.ndim == 0 or (x.is_floating_point() and not bool(x.isfinite().all())):
        what = "one number" if x.ndim == 0 else "NaN or infinity among them"
        raise TaskError(f"inputs must be tensors [n, ...] of finite numbers, got {what}")
    return x


def check_targets(learner: object, task: object) -> None:
    """Refuse a task whose targets are not of the kind that a learner fits.

    Looks at numbers, so it is called once, at the first batch of a loop.

    Args:
        learner: says "classes" or "values" in its attribute `targets`; anything else passes.
        task: one task, or a batch of them; anything else passes.

    Raises:
        TaskError: targets that are neither [n, way] nor [n, d], or of another width in support and
            query; classes that are not one-hot, or values that are not finite; no support, for a
            learner that learns from tasks.

    Examples:
        >>> class Classifier:
        ...     targets = "classes"
        >>> half = Examples(torch.rand(3, 8), torch.tensor([[0.5], [2.0], [1.0]]), torch.ones(3))
        >>> check_targets(Classifier(), Task(half, half))
        Traceback (most recent call last):
        ...
        quickstudy.errors.TaskError: Classifier learns classes, y must be one-hot [n, way], got ...
    """
    kind = getattr(learner, "targets", None)
    if kind not in ("classes", "values") or not isinstance(task, Task):
        return
    name = type(learner).__name__
    if getattr(learner, "trains_on", "tasks") == "tasks" and not task.support.mask.shape[-1]:
        raise TaskError(f"{name} learns from tasks, got examples without a support (Labelled)")
    shapes = [list(half.y.shape) for half in task]
    if any(half.y.ndim != half.mask.ndim + 1 for half in task) or shapes[0][-1] != shapes[1][-1]:
        raise TaskError(
            f"support and query must have targets [n, way] or [n, d] of one width, got {shapes[0]} "
            f"and {shapes[1]}"
        )
    for half in task:
        rows = half.y[half.mask > 0]
        came = [len(rows), rows.shape[-1]]
        if kind == "values" and not bool(rows.isfinite().all()):
            raise TaskError(
                f"{name} learns values, y must be finite, got NaN or infinity in {came}"
            )
        one_hot_rows = ((rows == 0) | (rows == 1)).all() & (rows.sum(-1) <= 1).all()
        if kind == "classes" and not bool(one_hot_rows):
            raise TaskError(
                f"{name} learns classes, y must be one-hot [n, way], got real targets {came}; "
                "wanted a learner of values: its `tasks` name them"
            )


def pad(part: Examples, rows: int, width: int) -> Examples:
    """Examples padded to `rows` rows and targets of `width` columns; padding is masked out.

    Raises:
        TaskError: there are already more rows or columns than that.

    Examples:
        >>> pad(examples(torch.rand(2, 8), torch.tensor([0, 1]), way=2), rows=4, width=3).mask
        tensor([1., 1., 0., 0.])
    """
    n, columns = part.y.shape
    if n > rows or columns > width:
        raise TaskError(f"cannot pad {n} rows of {columns} targets to {rows} rows of {width}")

    def grow(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.new_zeros(rows - n, *tensor.shape[1:])])

    wider = torch.cat([part.y, part.y.new_zeros(n, width - columns)], dim=1)
    return Examples(tree_map(grow, part.x), grow(wider), grow(part.mask))


def stack(tasks: Sequence[Task]) -> Task:
    """A batch of tasks: padded to the longest support, the longest query and the widest way.

    Args:
        tasks: at least one task; their inputs agree in structure and shape.

    Raises:
        TaskError: no task is given.

    Examples:
        >>> def task(n):
        ...     half = examples(torch.rand(n, 8), torch.arange(n) % 2, way=2)
        ...     return Task(half, half)
        >>> stack([task(2), task(5)]).support.x.shape
        torch.Size([2, 5, 8])
    """
    if not tasks:
        raise TaskError("a batch needs at least one task, got none")
    width = max(part.y.shape[1] for task in tasks for part in task)
    halves = []
    for parts in zip(*tasks, strict=True):
        rows = max(len(part.y) for part in parts)
        padded = [pad(part, rows, width) for part in parts]
        halves.append(tree_map(lambda *t: torch.stack(t), *padded))
    return Task(*halves)


def unstack(batch: T) -> list[T]:
    """The tasks of a batch, one by one (views: no copies).

    Examples:
        >>> half = Examples(torch.rand(3, 2, 8), torch.rand(3, 2, 2), torch.ones(3, 2))
        >>> len(unstack(Task(half, half)))
        3
    """
    count = leaves(batch)[0].shape[0]
    return [tree_map(lambda t, i=i: t[i], batch) for i in range(count)]


def zero_padding(part: Examples) -> Examples:
    """The same examples with zeros for inputs and targets of padding, whatever stands there.

    Examples:
        >>> rows = torch.tensor([[1.0], [torch.nan]])
        >>> part = zero_padding(Examples(rows, rows, torch.tensor([1, 0])))
        >>> part.x.tolist(), part.y.tolist()
        ([[1.0], [0.0]], [[1.0], [0.0]])
    """
    x = tree_map(lambda leaf: zero_masked(leaf, part.mask), part.x)
    return Examples(x, zero_masked(part.y, part.mask), part.mask)


def move(tree: T, device: torch.device | str) -> T:
    """The same tree with every tensor on `device`.

    Examples:
        >>> move({"a": torch.zeros(1)}, "cpu")
        {'a': tensor([0.])}
    """
    return tree_map(lambda t: t.to(device), tree)

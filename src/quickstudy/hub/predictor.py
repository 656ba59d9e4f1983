"""A learner adapted to one task, ready to answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from quickstudy.core import Examples, Inputs, Learner, State, Task, move
from quickstudy.core.batching import device_of
from quickstudy.core.tasks import check_targets, tree_map, unstack
from quickstudy.data.arrays import distinct, numbers
from quickstudy.data.columns import Columns
from quickstudy.data.dictionaries import as_task
from quickstudy.data.episodes import scale
from quickstudy.data.pictures import from_pictures
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, TaskError
from quickstudy.hub.inputs import in_parts, learned

Reading = Preprocessing | Columns
"""How a user's files or rows become a learner's input."""

Deployable = Task | Examples | Mapping[str, Any] | tuple[Any, Any]
"""A task, its support alone, the same as a dictionary, or inputs and targets."""


class Predictor:
    """What a learner learned from one support set; many can be alive at once.

    Make one with `deploy`. It keeps the learner's answer to the support set as a value, so that
    more meta-training of the learner is no concern of `state`, though of what is predicted from it.

    Args:
        learner: in evaluation mode.
        state: what it adapted to.
        labels: of the classes, in the order of the logits; None for their numbers, or real targets.
        reading: how the learner's data is read: of a table, inputs and answers are in its units;
            of images, inputs may be files and Pillow images. None for numbers as they are.
        shape: of one input, as the support's were; None where an input is not one tensor.

    Attributes:
        learner: the learner.
        state: what it learned; nested dicts and tuples of tensors.
        labels: as given.
        reading: as given.
        shape: as given.
    """

    def __init__(
        self,
        learner: Learner,
        state: State,
        labels: Sequence[Any] | None = None,
        reading: Reading | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.learner = learner
        self.state = state
        self.labels = list(labels) if labels is not None else None
        self.reading = reading
        self.shape = shape

    def __call__(self, x: Inputs) -> Tensor:
        """Logits [m, way], or means [m, d] in the learner's own units, of inputs [m, ...].

        Raises:
            DataError: inputs that are no numbers or pictures.
            TaskError: inputs of another shape than the support's.
        """
        return self._ask(self.learner.predict, x)

    def predict(self, x: Inputs) -> Any:
        """The likeliest label of each input (a list), or the means [m, d] of real targets."""
        answers = self(x)
        if self.learner.targets == "values":
            columns = self.reading if isinstance(self.reading, Columns) else None
            return columns.in_units(answers).float() if columns else answers
        chosen = answers.argmax(-1).tolist()
        return chosen if self.labels is None else [self.labels[i] for i in chosen]

    def probabilities(self, x: Inputs) -> Float[Tensor, "m way"]:
        """Class probabilities [m, way].

        Raises:
            TaskError: the learner predicts real targets.
        """
        if self.learner.targets == "values":
            raise TaskError(f"this {type(self.learner).__name__} predicts numbers, no classes")
        return self._ask(self.learner.probabilities, x)

    def _ask(self, function: Any, x: Inputs) -> Tensor:
        if isinstance(x, Mapping) or (isinstance(x, tuple) and isinstance(x[0], Tensor)):
            with torch.no_grad():
                answer: Tensor = function(self.state, move(x, device_of(self.learner))).cpu()
            return answer
        rows = scale(numbers("x", _read(x, self.reading)), torch.Generator())
        if self.shape is not None and rows.shape[1:] != self.shape:
            one = "; [x] is one input" if rows.shape == self.shape else ""
            wanted = ", ".join(map(str, ("n", *self.shape)))
            raise TaskError(f"x must be inputs [{wanted}], got {list(rows.shape)}{one}")
        return in_parts(self.learner, function, self.state, rows)


def deploy(learner: Learner, task: Deployable, reading: Reading | None = None) -> Predictor:
    """Adapt a learner to a task, whatever kind of learner it is.

    Args:
        learner: put into evaluation mode; its numbers stay as they are.
        task: a `Task` or its support `Examples` (one task, no batch, but for a batch of one), a
            dictionary with `support_x` and `support_y` (labels of any kind, or floats), or a pair
            of inputs and targets. Queries are not looked at.
        reading: how the learner's data is read. Of a table, a dictionary or a pair is in its
            units, a `Task` as the table's tasks are; of images, inputs may be files.

    Raises:
        TaskError: what is given is no support set, or none that the learner takes.
        DataError: it leads the learner to numbers that are not finite.

    Examples:
        >>> from quickstudy.learners import NearestMean
        >>> predictor = deploy(NearestMean(), ([[0.0], [1.0]], ["dark", "light"]))
        >>> predictor.predict([[0.9], [0.2]])
        ['light', 'dark']
    """
    reading = None if isinstance(task, Task | Examples) else reading
    support, labels = _support(task, learner.targets, reading)
    shape = tuple(support.x.shape[1:]) if isinstance(support.x, Tensor) else None
    learner.eval()
    support = move(support, device_of(learner))
    like = next((p for p in learner.parameters() if p.is_floating_point()), None)
    if like is not None:
        support = tree_map(lambda t: t.to(like.dtype) if t.is_floating_point() else t, support)
    check_targets(learner, Task(support, support))
    state = learned(learner, support, "this task")
    return Predictor(learner, state, labels, reading, shape)


def _support(
    task: Deployable, targets: str, reading: Reading | None
) -> tuple[Examples, list[Any] | None]:
    """The support set, and its labels in the order of the logits; None for real targets."""
    if isinstance(task, Task):
        task = task.support
    if isinstance(task, Examples):
        return _one_task(task), None
    if isinstance(task, tuple):
        if len(task) != 2:
            raise TaskError(f"a pair of inputs and targets was wanted, got {len(task)} things")
        task = {"support_x": task[0], "support_y": task[1]}
    if not isinstance(task, Mapping):
        raise TaskError(
            "a task to deploy is a Task, Examples, a dictionary with support_x and support_y or a "
            f"pair (x, y), got {type(task).__name__}"
        )
    missing = [key for key in ("support_x", "support_y") if key not in task]
    if missing:
        raise TaskError(
            "a dictionary to deploy must hold support_x and support_y; "
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
        )
    given = dict(task) | {"support_x": _read(task["support_x"], reading)}
    if targets == "values":  # whole numbers are amounts here, not labels
        amounts = _doubles("support_y", given["support_y"])
        amounts = amounts[:, None] if amounts.ndim == 1 else amounts
        if isinstance(reading, Columns):
            amounts = reading.standardised(amounts, len(reading.features))
        given["support_y"] = amounts.float()
    given |= {f"query_{part}": given[f"support_{part}"] for part in "xy"}
    return as_task(given).support, _labels(given["support_y"])


def _one_task(support: Examples) -> Examples:
    if support.mask.ndim == 2 and len(support.mask) == 1:
        support = unstack(support)[0]
    if support.mask.ndim != 1:
        raise TaskError(
            f"one task can be deployed at a time, got a batch of {len(support.mask)}; "
            "`unstack` takes it apart"
        )
    return support


def _read(x: Any, reading: Reading | None) -> Any:
    """Inputs as the learner knows them, from a user's own.

    Raises:
        DataError: files that are no pictures.
        TaskError: rows that are not of the table's features.
    """
    first = x[0] if isinstance(x, Sequence) and len(x) else None
    picture = isinstance(first, str | Path) or hasattr(first, "convert")  # the latter is Pillow's
    if isinstance(reading, Preprocessing) and picture:
        return scale(from_pictures(x, reading), torch.Generator())
    if not isinstance(reading, Columns):
        return x
    rows = _doubles("x", x)
    if rows.ndim != 2 or rows.shape[1] != len(reading.features):
        raise TaskError(
            f"x must be rows of {', '.join(reading.features)}: [n, {len(reading.features)}], "
            f"got {list(rows.shape)}"
        )
    return reading.standardised(rows)


def _doubles(name: str, values: Any) -> Float64[Tensor, "..."]:
    """Numbers in double precision, as dates and the like need it.

    Raises:
        TaskError: they are none.
    """
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    try:
        return torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise TaskError(f"{name} must be an array of numbers, got something else") from None


def _labels(y: Any) -> list[Any] | None:
    """The labels in the order of the logits; None for real targets, which the learner refuses."""
    try:
        return list(distinct("support_y", y)[0])
    except DataError:
        return None

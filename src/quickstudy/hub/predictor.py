"""A learner adapted to one task, ready to answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core import Examples, Inputs, Learner, State, Task, move
from quickstudy.core.batching import device_of
from quickstudy.core.tasks import check_targets, tree_map, unstack
from quickstudy.data.arrays import distinct, numbers
from quickstudy.data.columns import Columns
from quickstudy.data.dictionaries import as_task
from quickstudy.data.episodes import scale
from quickstudy.errors import DataError, TaskError
from quickstudy.hub.inputs import in_parts

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
        columns: of the table that the learner was trained on: inputs and answers are then in its
            units. None for numbers as they are.

    Attributes:
        learner: the learner.
        state: what it learned; nested dicts and tuples of tensors.
        labels: as given.
        columns: as given.
    """

    def __init__(
        self,
        learner: Learner,
        state: State,
        labels: Sequence[Any] | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.learner = learner
        self.state = state
        self.labels = list(labels) if labels is not None else None
        self.columns = columns

    def __call__(self, x: Inputs) -> Tensor:
        """Logits [m, way], or means [m, d] in the learner's own units, of inputs [m, ...]."""
        return self._ask(self.learner.predict, x)

    def predict(self, x: Inputs) -> Any:
        """The likeliest label of each input (a list), or the means [m, d] of real targets."""
        answers = self(x)
        if self.learner.targets == "values":
            return self.columns.in_units(answers).float() if self.columns else answers
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
        rows = scale(numbers("x", x), torch.Generator())
        if self.columns:
            rows = self.columns.standardised(rows.double())
        return in_parts(self.learner, function, self.state, rows)


def deploy(learner: Learner, task: Deployable, columns: Columns | None = None) -> Predictor:
    """Adapt a learner to a task, whatever kind of learner it is.

    Args:
        learner: put into evaluation mode; its numbers stay as they are.
        task: a `Task` or its support `Examples` (one task, no batch, but for a batch of one), a
            dictionary with `support_x` and `support_y` (labels of any kind, or floats), or a pair
            of inputs and targets. Queries are not looked at.
        columns: of the table that the learner was trained on: a dictionary or a pair is then in
            its units, a `Task` as the table's tasks are.

    Raises:
        TaskError: what is given is no support set, or none that the learner takes.

    Examples:
        >>> from quickstudy.learners import NearestMean
        >>> predictor = deploy(NearestMean(), ([[0.0], [1.0]], ["dark", "light"]))
        >>> predictor.predict([[0.9], [0.2]])
        ['light', 'dark']
    """
    support, labels = _support(task)
    columns = None if isinstance(task, Task | Examples) else columns
    if columns:
        first = len(columns.features)
        x, y = columns.standardised(support.x.double()), support.y
        y = columns.standardised(y.double(), first) if columns.outputs else y
        support = Examples(x, y, support.mask)
    learner.eval()
    support = move(support, device_of(learner))
    like = next((p for p in learner.parameters() if p.is_floating_point()), None)
    if like is not None:
        support = tree_map(lambda t: t.to(like.dtype) if t.is_floating_point() else t, support)
    check_targets(learner, Task(support, support))
    with torch.no_grad():
        return Predictor(learner, learner.adapt(support), labels, columns)


def _support(task: Deployable) -> tuple[Examples, list[Any] | None]:
    if isinstance(task, Task):
        task = task.support
    if isinstance(task, Examples):
        if task.mask.ndim == 2 and len(task.mask) == 1:
            task = unstack(task)[0]
        if task.mask.ndim != 1:
            raise TaskError(
                f"one task can be deployed at a time, got a batch of {len(task.mask)}; "
                "`unstack` takes it apart"
            )
        return task, None
    if isinstance(task, tuple):
        if len(task) != 2:
            raise TaskError(f"a pair of inputs and targets was wanted, got {len(task)} things")
        task = {"support_x": task[0], "support_y": task[1]}
    if not isinstance(task, Mapping):
        raise TaskError(
            "a task to deploy is a Task, Examples, a dictionary with support_x and support_y or a "
            f"pair (x, y), got a {type(task).__name__}"
        )
    asked = {f"query_{part}": task.get(f"support_{part}") for part in "xy"}
    held = {key: task[key] for key in task if key not in asked}
    whole = as_task({**held, **{k: v for k, v in asked.items() if v is not None}})
    return whole.support, _labels(task["support_y"])


def _labels(y: Any) -> list[Any] | None:
    """The labels in the order of the logits; None for real targets."""
    try:
        return list(distinct("support_y", y)[0])
    except DataError:
        return None

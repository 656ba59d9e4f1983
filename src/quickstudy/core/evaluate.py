"""Accuracy or error with a 95% interval, over many sampled tasks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.batching import AUTO, Batching, device_of, map_tasks
from quickstudy.core.learner import Learner, squared_error
from quickstudy.core.tasks import Task, TaskSource, move
from quickstudy.errors import TaskError

SAMPLED_TOGETHER = 20
"""Tasks drawn at a time; a constant, so that a seed means the same tasks for every learner."""


@dataclass(frozen=True)
class Evaluation:
    """A mean over tasks, with its interval.

    Attributes:
        mean: accuracy in 0..1, or mean squared error.
        interval95: half-width of the normal 95% interval of the mean over tasks.
        tasks: how many tasks.
        metric: "accuracy" or "squared_error".
        values: the tasks' own figures, [tasks], for paired comparisons.
    """

    mean: float
    interval95: float
    tasks: int
    metric: Literal["accuracy", "squared_error"] = "accuracy"
    values: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False, compare=False)

    @property
    def score(self) -> float:
        """The mean, signed so that larger is better."""
        return self.mean if self.metric == "accuracy" else -self.mean

    def __str__(self) -> str:
        if self.metric == "accuracy":
            return f"{100 * self.mean:.1f} ± {100 * self.interval95:.1f} %"
        return f"{self.mean:.3g} ± {self.interval95:.1g}"


def summarise(
    values: Float[Tensor, " tasks"], metric: Literal["accuracy", "squared_error"] = "accuracy"
) -> Evaluation:
    """Mean and 95% interval of the tasks' figures.

    Examples:
        >>> print(summarise(torch.tensor([0.5, 1.0, 0.75, 0.75])))
        75.0 ± 20.0 %
    """
    values = values.double()
    n = values.numel()
    spread = float(values.std()) / n**0.5 if n > 1 else float("nan")
    return Evaluation(float(values.mean()), 1.96 * spread, n, metric, values)


def accuracy(
    logits: Float[Tensor, "m way"], y: Float[Tensor, "m way"], mask: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Share of the real, labelled rows whose largest logit is at their class.

    Examples:
        >>> accuracy(torch.eye(2), torch.tensor([[1., 0.], [1., 0.]]), torch.ones(2))
        tensor(0.5000)
    """
    labelled = mask * y.sum(-1)
    right = (logits.argmax(-1) == y.argmax(-1)).to(labelled.dtype)
    return (right * labelled).sum() / labelled.sum().clamp(min=1)


def evaluations(
    learner: Learner,
    source: TaskSource[Task],
    *,
    tasks: int,
    seed: int = 0,
    batching: Batching = AUTO,
    metric: Literal["accuracy", "squared_error"] | None = None,
) -> Iterator[Float[Tensor, " chunk"]]:
    """The figures of `tasks` tasks as they come, for callers that show progress; see `evaluate`."""
    if tasks < 1:
        raise TaskError(f"an evaluation needs at least one task, got {tasks}")
    measure = {"accuracy": accuracy, "squared_error": squared_error}[metric or metric_of(learner)]

    def judge(task: Task) -> Tensor:
        prediction = learner.answer(task)
        wrong = ~prediction.isfinite().all(-1) & (task.query.mask > 0)
        # Logits that are no numbers are not chance: the figure is none either.
        figure = measure(prediction, task.query.y, task.query.mask)
        return torch.where(wrong.any(), torch.nan, figure)

    generator = torch.Generator().manual_seed(seed)
    modes = [(module, module.training) for module in learner.modules()]
    learner.eval()
    try:
        with torch.no_grad():
            for start in range(0, tasks, SAMPLED_TOGETHER):
                batch = source.sample(min(SAMPLED_TOGETHER, tasks - start), generator)
                batch = move(batch, device_of(learner))
                yield torch.cat(list(map_tasks(judge, batch, learner, batching)))
    finally:
        for module, training in modes:
            module.training = training


def metric_of(learner: Learner) -> Literal["accuracy", "squared_error"]:
    """What a learner is judged by: accuracy where it predicts classes, else squared error."""
    return "accuracy" if learner.targets == "classes" else "squared_error"


def evaluate(
    learner: Learner,
    source: TaskSource[Task],
    *,
    tasks: int = 1000,
    seed: int = 0,
    batching: Batching = AUTO,
    metric: Literal["accuracy", "squared_error"] | None = None,
) -> Evaluation:
    """Adapt to the support of many tasks and judge the queries.

    The same seed draws the same tasks for every learner, so two evaluations can be compared in
    pairs through `Evaluation.values`.

    Args:
        learner: put in evaluation mode meanwhile.
        source: where the tasks come from.
        tasks: how many, >= 1.
        seed: of the generator that draws them.
        batching: how a batch of tasks runs.
        metric: "accuracy" or "squared_error"; by the learner's targets where not given.

    Raises:
        TaskError: fewer than one task.

    Examples:
        >>> from quickstudy.data import Blobs
        >>> from quickstudy.learners import NearestMean
        >>> evaluate(NearestMean(), Blobs(way=5, shot=5, spread=0.1), tasks=50).mean > 0.9
        True
    """
    name = metric or metric_of(learner)
    figures = evaluations(learner, source, tasks=tasks, seed=seed, batching=batching, metric=name)
    return summarise(torch.cat(list(figures)), name)

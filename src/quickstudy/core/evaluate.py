"""Accuracy or error with a 95% interval, over many sampled tasks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.batching import AUTO, Batching, device_of, map_tasks
from quickstudy.core.calibration import calibration_table, expected_calibration_error
from quickstudy.core.distributed import put_together, ranks, share
from quickstudy.core.learner import Learner, Predictive, gaussian_nll
from quickstudy.core.tasks import Task, TaskSource, check_targets, move, zero_padding
from quickstudy.errors import TaskError

SAMPLED_TOGETHER = 20
"""Tasks drawn at a time; a constant, so that a seed means the same tasks for every learner."""


CENTRAL90 = 1.6449
"""How many standard deviations from the mean of a normal distribution its central 90% ends."""


@dataclass(frozen=True)
class Evaluation:
    """A mean over tasks, with its interval.

    Attributes:
        mean: accuracy in 0..1, or mean squared error.
        interval95: half-width of the normal 95% interval of the mean over tasks.
        tasks: how many tasks.
        metric: "accuracy" or "squared_error".
        values: the tasks' own figures, [tasks], for paired comparisons.
        calibration: the answers of all tasks by confidence, [bins, 3], see `calibration_table`;
            None for real targets.
        errors: the mean squared error of each real target, [tasks, outputs]; None for classes.
        predictive: of each task the mean negative log density of its real targets, and the share of
            them in the central 90% of what was predicted, [tasks, 2]; None for classes, and for
            learners that say nothing of how sure they are.
    """

    mean: float
    interval95: float
    tasks: int
    metric: Literal["accuracy", "squared_error"] = "accuracy"
    values: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False, compare=False)
    calibration: Tensor | None = field(default=None, repr=False, compare=False)
    errors: Tensor | None = field(default=None, repr=False, compare=False)
    predictive: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def score(self) -> float:
        """The mean, signed so that larger is better."""
        return self.mean if self.metric == "accuracy" else -self.mean

    @property
    def ece(self) -> float | None:
        """Expected calibration error after adapting, in 0..1; None for real targets."""
        return None if self.calibration is None else expected_calibration_error(self.calibration)

    def __str__(self) -> str:
        if self.metric == "accuracy":
            return f"{100 * self.mean:.1f} ± {100 * self.interval95:.1f} %"
        return f"{self.mean:.3g} ± {self.interval95:.1g}"


class Judged(NamedTuple):
    """Some tasks of an evaluation, judged.

    Attributes:
        values: the tasks' figures, [tasks].
        calibration: their answers by confidence, [tasks, bins, 3]; None for real targets.
        errors: the mean squared error of each real target, [tasks, outputs]; None for classes.
        predictive: surprise and coverage of each task, [tasks, 2], see `Evaluation`.
    """

    values: Float[Tensor, " tasks"]
    calibration: Float[Tensor, "tasks bins 3"] | None = None
    errors: Float[Tensor, "tasks outputs"] | None = None
    predictive: Float[Tensor, "tasks 2"] | None = None


def gather(parts: Iterable[Judged]) -> Judged:
    """All tasks of an evaluation as one, on the CPU.

    Examples:
        >>> gather([Judged(torch.zeros(2)), Judged(torch.ones(1))]).values
        tensor([0., 0., 1.])
    """
    figures, *others = ([*column] for column in zip(*parts, strict=True))
    return Judged(torch.cat([part.cpu() for part in figures]), *map(_joined, others))


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """All tasks' rows; None where there are none, or tasks differ in the number of targets."""
    known = [part.cpu() for part in parts if part is not None]
    alike = len({part.shape[1:] for part in known}) == 1
    return torch.cat(known) if alike else None


def summarise(
    judged: Judged, metric: Literal["accuracy", "squared_error"] = "accuracy"
) -> Evaluation:
    """Mean and 95% interval of the tasks' figures, and the sum of their calibration tables.

    Examples:
        >>> print(summarise(Judged(torch.tensor([0.5, 1.0, 0.75, 0.75]))))
        75.0 ± 20.0 %
    """
    values, calibration, errors, predictive = judged
    values = values.double()
    n = values.numel()
    spread = float(values.std()) / n**0.5 if n > 1 else float("nan")
    table = None if calibration is None else calibration.double().sum(0)
    mean = float(values.mean())
    return Evaluation(mean, 1.96 * spread, n, metric, values, table, errors, predictive)


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
    together: bool = False,
) -> Iterator[Judged]:
    """`tasks` tasks, judged, as they come, for callers that show progress; see `evaluate`.

    `gather` and `summarise` make one figure of them.
    """
    if tasks < 1:
        raise TaskError(f"an evaluation needs at least one task, got {tasks}")
    metric = metric or metric_of(learner)
    sure = learner if metric == "squared_error" and isinstance(learner, Predictive) else None

    def judge(task: Task) -> tuple[Tensor, ...]:
        task = task._replace(query=zero_padding(task.query))
        x, y, mask = task.query
        if sure:
            prediction, variance = sure.predictive(learner.adapt(task.support), x)
        else:
            prediction = learner.answer(task)
        wrong = ~prediction.isfinite().all(-1) & (mask > 0)
        # Logits that are no numbers are not chance: the figure is none either.
        known = torch.where(wrong.any(), torch.nan, 1.0)
        if metric == "accuracy":
            return known * accuracy(prediction, y, mask), calibration_table(prediction, y, mask)
        rows = torch.where(mask[:, None] > 0, (prediction - y) ** 2, 0.0)
        errors = rows.sum(0) / mask.sum().clamp(min=1)
        told = known * errors.mean(), known * errors
        return (*told, known * _honesty(prediction, variance, y, mask)) if sure else told

    beside = ("calibration",) if metric == "accuracy" else ("errors", "predictive")
    generator = torch.Generator().manual_seed(seed)
    modes = [(module, module.training) for module in learner.modules()]
    learner.eval()
    try:
        with torch.no_grad():
            for start in range(0, tasks, SAMPLED_TOGETHER):
                count = min(SAMPLED_TOGETHER, tasks - start)
                batch = move(source.sample(count, generator), device_of(learner))
                if not start:
                    check_targets(learner, batch)
                divided = together and count >= ranks()[1]
                mine = share(batch) if divided else batch
                parts = map(torch.cat, zip(*map_tasks(judge, mine, learner, batching), strict=True))
                figures, *more = (put_together(p, count) if divided else p for p in parts)
                yield Judged(figures, **dict(zip(beside, more, strict=False)))
    finally:
        for module, training in modes:
            module.training = training


def _honesty(means: Tensor, variances: Tensor, y: Tensor, mask: Tensor) -> Float[Tensor, " 2"]:
    """Mean negative log density of the targets, and the share of them in the central 90%."""
    inside = ((y - means).abs() <= CENTRAL90 * variances.sqrt()).to(y.dtype).mean(-1)
    covered = torch.where(mask > 0, mask * inside, 0.0).sum() / mask.sum().clamp(min=1)
    return torch.stack([gaussian_nll(means, variances, y, mask), covered])


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
    together: bool = False,
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
        together: every process of the job makes this same call, and the tasks are divided among
            them; all get the same result.

    Raises:
        TaskError: fewer than one task.
        PeerLost: another process of the job is gone.

    Examples:
        >>> from quickstudy.data import Blobs
        >>> from quickstudy.learners import NearestMean
        >>> evaluate(NearestMean(), Blobs(way=5, shot=5, spread=0.1), tasks=50).mean > 0.9
        True
    """
    name = metric or metric_of(learner)
    parts = evaluations(
        learner, source, tasks=tasks, seed=seed, batching=batching, metric=name, together=together
    )
    return summarise(gather(parts), name)

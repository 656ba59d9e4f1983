"""How good a model is on tasks of classes that it never saw, beside what costs no learning."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.core import (
    SGD,
    Batching,
    Evaluation,
    Learner,
    Task,
    TaskSource,
    evaluate,
    evaluations,
    gather,
    summarise,
)
from quickstudy.core.evaluate import metric_of
from quickstudy.data.unbalanced import ALIKE, UnbalancedQueries
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.source import Source, Split, refuse_sizes
from quickstudy.hub.tables import in_units
from quickstudy.learners import NearestMean, SupportMean

CHOSEN_AMONG = 3
"""How many times as many queries as a class has on average it may have at most, where they are
unbalanced: with a concentration of 2, one of five classes would have more in 1.5 % of tasks."""

Tick = Callable[[int, int], None]
"""Told how many tasks of how many are judged."""


class Setting(NamedTuple):
    """Which tasks a model is judged on.

    Attributes:
        ways: classes a task; those of the model's meta-validation where None.
        shots: support examples a class; likewise.
        queries: query examples a class; likewise.
        tasks: how many tasks.
        seed: of the generator that draws them.
        inner_steps: that adapting takes; the learner's own where None.
        inner_rate: how far each of them goes; likewise.
        unlabelled: support examples a class without a label; as in the model's meta-train tasks
            where None.
        dirichlet: concentration of the distribution that the classes' shares of a task's queries
            are drawn by; as many of each class where None. See `UnbalancedQueries`.
    """

    ways: int | None = None
    shots: int | None = None
    queries: int | None = None
    tasks: int = 1000
    seed: int = 0
    inner_steps: int | None = None
    inner_rate: float | None = None
    unlabelled: int | None = None
    dirichlet: float | None = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Ways, shots and queries; where it names none, those of a run that names none."""
        ways, shots, queries = TrainConfig().validation_sizes
        return self.ways or ways, self.shots or shots, self.queries or queries

    def filled(
        self, sizes: tuple[int, int, int] | None, domains: Sequence[tuple[Source, Split]] = ()
    ) -> "Setting":
        """The same with these sizes where it names none, or what all the data has classes for.

        Examples:
            >>> Setting(ways=20).filled((5, 2, 10)).sizes
            (20, 2, 10)
        """
        ways, shots, queries = sizes or self.sizes
        ways, shots, queries = self.ways or ways, self.shots or shots, self.queries or queries
        room = 1 if self.dirichlet is None else CHOSEN_AMONG
        for source, split in domains:
            fitting = source.fitting([split], ways, shots, room * queries)
            ways, queries = self.ways or fitting[0], self.queries or max(1, fitting[2] // room)
        return self._replace(ways=ways, shots=shots, queries=queries)

    def check_for(self, source: Source, split: Split) -> None:
        """Refuse sizes of tasks that come as they are.

        Raises:
            RunError: names the first of them.
        """
        given = {name: getattr(self, name) for name in ("ways", "shots", "queries")}
        refuse_sizes(source, split, {name for name, value in given.items() if value is not None})
        if self.dirichlet is not None and "ways" not in source.sizes(split):
            refuse_sizes(source, split, ["dirichlet"])

    def check(self) -> None:
        """Refuse numbers that make no tasks.

        Raises:
            RunError: one of them is too small.
        """
        least = {"ways": 2, "shots": 1, "queries": 1, "tasks": 1} | dict.fromkeys(
            ("seed", "inner_steps", "unlabelled"), 0
        )
        for name, low in least.items():
            value, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise RunError(f"{flag} must be a whole number, got {value!r}")
            if value is not None and value < low:
                raise RunError(f"{flag} must be at least {low}, got {value}")
        rate, alpha = self.inner_rate, self.dirichlet
        if rate is not None and not (_is_number(rate) and 0 < rate < math.inf):
            raise RunError(f"--inner-rate must be a positive number, got {rate!r}")
        if alpha is not None and not (_is_number(alpha) and 0 < alpha <= ALIKE):
            raise RunError(f"--dirichlet must lie in (0, {ALIKE:,.0f}], got {alpha!r}")

    def tasks_of(self, source: Source, split: Split) -> TaskSource[Task]:
        """The tasks of a split of these sizes, which are filled in.

        Raises:
            QuickstudyError: the data has no such tasks.
        """
        ways, shots, queries = self.sizes
        if self.dirichlet is None:
            return source.tasks(split, ways, shots, queries)
        try:
            more = source.tasks(split, ways, shots, CHOSEN_AMONG * queries)
        except DataError as error:
            source.tasks(split, ways, shots, queries)  # may lack more than queries to choose from
            raise DataError(
                f"{error}: with --dirichlet a class may have {CHOSEN_AMONG} times the {queries} "
                "queries that it has on average"
            ) from None
        return UnbalancedQueries(more, ways * queries, float(self.dirichlet))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def control_of(
    learner: Learner, source: TaskSource[Task], tasks: int, seed: int, batching: Batching
) -> tuple[str, Evaluation]:
    """What the no-learning control of the learner's targets gets on the same tasks."""
    control = NearestMean() if metric_of(learner) == "accuracy" else SupportMean()
    score = evaluate(control, source, tasks=tasks, seed=seed, batching=batching)
    return type(control).__name__, score


def inner_steps_of(learner: Learner) -> int | None:
    """How many inner steps adapting takes; None where it takes none."""
    name = learner.steps_argument
    return None if name is None else int(getattr(learner, name))


def inner_rate_of(learner: Learner) -> float | None:
    """How far each inner step goes; None where there is no one rate that says so."""
    holder, name = _holder_of_rate(learner)
    return None if holder is None else float(getattr(holder, name))


def _holder_of_rate(learner: Learner) -> tuple[Any, str]:
    """Whose attribute the rate is, and its name; None where there is no one rate."""
    rule = getattr(learner, "rule", None)
    if learner.steps_argument is not None and isinstance(rule, SGD):
        return rule, "rate"
    name = learner.rate_argument
    return (None, "") if name is None else (learner, name)


@contextlib.contextmanager
def adapting_by(learner: Learner, steps: int | None, rate: float | None = None) -> Iterator[None]:
    """The learner, with other inner steps meanwhile; its own where None.

    Raises:
        RunError: it adapts without inner steps, or at no one rate.
    """
    cls, name = type(learner).__name__, learner.steps_argument
    holder, rate_name = _holder_of_rate(learner)
    if name is None and (steps is not None or rate is not None):
        flag = "--inner-steps" if steps is not None else "--inner-rate"
        raise RunError(f"{cls} adapts without inner steps, so it takes no {flag}")
    if rate is not None and holder is None:
        raise RunError(f"{cls} has no fixed inner rate, so it takes no --inner-rate")
    changes = [(learner, name or "", steps), (holder, rate_name, rate)]
    with contextlib.ExitStack() as own:
        for owner, attribute, value in changes:
            if value is not None:
                own.callback(setattr, owner, attribute, getattr(owner, attribute))
                setattr(owner, attribute, value)
        yield


def score_of(
    learner: Learner,
    source: TaskSource[Task],
    setting: Setting,
    *,
    batching: Batching | None = None,
    tick: Tick | None = None,
) -> Evaluation:
    """What a learner gets on the tasks of a setting.

    Raises:
        RunError: inner steps, or a rate, for a learner that adapts without.
    """
    judged, done = [], 0
    with adapting_by(learner, setting.inner_steps, setting.inner_rate):
        for part in evaluations(
            learner, source, tasks=setting.tasks, seed=setting.seed, batching=batching or Batching()
        ):
            judged.append(part)
            done += len(part.values)
            if tick:
                tick(done, setting.tasks)
    return summarise(gather(judged), metric_of(learner))


def judge(
    learner: Learner,
    source: TaskSource[Task],
    setting: Setting,
    *,
    data: Source | None = None,
    batching: Batching | None = None,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """A learner and the control on the same tasks, as JSON.

    Args:
        learner: the one in question.
        source: of the tasks.
        setting: says how many tasks, which, and their sizes.
        data: what they are drawn from, where it has a name.
        batching: how tasks run.
        tick: told after each few tasks.

    Returns:
        accuracy and interval95 in 0..1, ece (or squared_error and interval95; of a table also
        units and rmse, of a learner that says how sure it is nll and coverage90), tasks, ways,
        shots, queries, dirichlet, unlabelled, inner_steps, inner_rate, control (name, and the same
        figures), transductive, seed.

    Raises:
        RunError: inner steps, or a rate, for a learner that adapts without.
    """
    batching = batching or Batching()
    score = score_of(learner, source, setting, batching=batching, tick=tick)
    control = control_of(learner, source, setting.tasks, setting.seed, batching)
    return as_row(learner, setting, score, control, data)


def as_row(
    learner: Learner,
    setting: Setting,
    score: Evaluation,
    control: tuple[str, Evaluation],
    data: Source | None,
) -> dict[str, Any]:
    """A learner's score and its control's in a setting, as JSON; see `judge`."""
    steps = inner_steps_of(learner) if setting.inner_steps is None else setting.inner_steps
    return {
        **_scored(score, data),
        "tasks": score.tasks,
        "ways": setting.ways if learner.targets == "classes" else None,
        "shots": setting.shots,
        "queries": setting.queries,
        "dirichlet": setting.dirichlet,
        "unlabelled": setting.unlabelled or 0,
        "inner_steps": steps,
        "inner_rate": inner_rate_of(learner) if setting.inner_rate is None else setting.inner_rate,
        "control": {"name": control[0], **_scored(control[1], data)},
        "transductive": learner.transductive,
        "seed": setting.seed,
    }


def _scored(score: Evaluation, data: Source | None) -> dict[str, Any]:
    told = {score.metric: score.mean, "interval95": score.interval95}
    told |= {} if score.ece is None else {"ece": score.ece}
    if score.predictive is not None:
        told |= dict(zip(("nll", "coverage90"), score.predictive.mean(0).tolist(), strict=True))
    figures = {k: round(v, 6) if math.isfinite(v) else None for k, v in told.items()}
    return figures | (in_units(data, score) if data is not None else {})


def evaluate_run(
    path: Path | str,
    setting: Setting,
    *,
    data: str | None = None,
    split: Split | None = None,
    learner: str | None = None,
    learner_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    batching: Batching | None = None,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """Evaluate a run, or any stored model, on data.

    Args:
        path: the run's folder.
        setting: which tasks.
        data: a name or a folder; what it was trained on where None.
        split: where None, meta-"test", to which all classes belong that the run never saw; "all"
            classes of a folder of which it saw none.
        learner: another method, to read the net of the run's learner; see `embeddings.reading`.
        learner_options: arguments of its constructor.
        device: where.
        threads: of the CPU.
        batching: how tasks run.
        tick: told after each few tasks.

    Raises:
        QuickstudyError: no such run or data, or tasks that cannot be drawn from it.
    """
    from quickstudy.hub.sweeps import sweep_run

    swept = sweep_run(
        path,
        setting,
        inner_steps=[] if setting.inner_steps is None else [setting.inner_steps],
        data=[] if data is None else [data],
        split=split,
        learner=learner,
        learner_options=learner_options,
        device=device,
        threads=threads,
        batching=batching,
        tick=tick,
    )
    return swept.rows[0]

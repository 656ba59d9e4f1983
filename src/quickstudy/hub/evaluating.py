"""How good a model is on tasks of classes that it never saw, beside what costs no learning."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from quickstudy.core import (
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
from quickstudy.errors import RunError
from quickstudy.hub.sources import Source, Split
from quickstudy.hub.tables import in_units
from quickstudy.learners import NearestMean, SupportMean

Tick = Callable[[int, int], None]
"""Told how many tasks of how many are judged."""


class Setting(NamedTuple):
    """Which tasks a model is judged on.

    Attributes:
        ways: classes a task.
        shots: support examples a class.
        queries: query examples a class.
        tasks: how many tasks.
        seed: of the generator that draws them.
        inner_steps: that adapting takes; the learner's own where None.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    tasks: int = 1000
    seed: int = 0
    inner_steps: int | None = None

    def check(self) -> None:
        """Refuse numbers that make no tasks.

        Raises:
            RunError: one of them is too small.
        """
        least = {"ways": 2, "shots": 1, "queries": 1, "tasks": 1, "seed": 0, "inner_steps": 0}
        for name, value in self._asdict().items():
            if value is not None and value < least[name]:
                flag = name.replace("_", "-")
                raise RunError(f"--{flag} must be at least {least[name]}, got {value}")


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


@contextlib.contextmanager
def taking_steps(learner: Learner, steps: int | None) -> Iterator[None]:
    """The learner, adapting with another number of inner steps meanwhile; its own where None.

    Raises:
        RunError: it adapts without inner steps.
    """
    if steps is None:
        yield
        return
    name = learner.steps_argument
    if name is None:
        raise RunError(
            f"{type(learner).__name__} adapts without inner steps, so it takes no --inner-steps"
        )
    own = getattr(learner, name)
    setattr(learner, name, steps)
    try:
        yield
    finally:
        setattr(learner, name, own)


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
        RunError: inner steps for a learner that adapts without.
    """
    judged, done = [], 0
    with taking_steps(learner, setting.inner_steps):
        for part in evaluations(
            learner, source, tasks=setting.tasks, seed=setting.seed, batching=batching or Batching()
        ):
            judged.append(part)
            done += len(part.values)
            if tick:
                tick(done, setting.tasks)
    whole = gather(judged)
    return summarise(whole.values, metric_of(learner), whole.calibration)


def units_of(
    source: Source,
    learner: Learner,
    tasks: TaskSource[Task],
    setting: Setting,
    batching: Batching | None = None,
) -> dict[str, Any]:
    """What a squared error on a table means, see `tables.in_units`; nothing for other data."""
    with taking_steps(learner, setting.inner_steps):
        return in_units(
            source, learner, tasks, count=setting.tasks, seed=setting.seed, batching=batching
        )


def judge(
    learner: Learner,
    source: TaskSource[Task],
    setting: Setting,
    *,
    batching: Batching | None = None,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """A learner and the control on the same tasks, as JSON.

    Args:
        learner: the one in question.
        source: of the tasks.
        setting: says how many tasks, which, and their sizes.
        batching: how tasks run.
        tick: told after each few tasks.

    Returns:
        accuracy and interval95 in 0..1, ece (or squared_error and interval95), tasks, ways, shots,
        queries, inner_steps, control (name, accuracy, interval95, ece), transductive, seed.

    Raises:
        RunError: inner steps for a learner that adapts without.
    """
    batching = batching or Batching()
    score = score_of(learner, source, setting, batching=batching, tick=tick)
    control = control_of(learner, source, setting.tasks, setting.seed, batching)
    return as_row(learner, setting, score, control)


def as_row(
    learner: Learner,
    setting: Setting,
    score: Evaluation,
    control: tuple[str, Evaluation],
) -> dict[str, Any]:
    """A learner's score and its control's in a setting, as JSON; see `judge`."""
    steps = inner_steps_of(learner) if setting.inner_steps is None else setting.inner_steps
    return {
        **_scored(score),
        "tasks": score.tasks,
        **{name: getattr(setting, name) for name in ("ways", "shots", "queries")},
        "inner_steps": steps,
        "control": {"name": control[0], **_scored(control[1])},
        "transductive": learner.transductive,
        "seed": setting.seed,
    }


def _scored(score: Evaluation) -> dict[str, JsonValue]:
    told = {score.metric: score.mean, "interval95": score.interval95}
    told |= {} if score.ece is None else {"ece": score.ece}
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in told.items()}


def evaluate_run(
    path: Path | str,
    setting: Setting,
    *,
    data: str | None = None,
    split: Split | None = None,
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
        shots=[setting.shots],
        inner_steps=[] if setting.inner_steps is None else [setting.inner_steps],
        data=[] if data is None else [data],
        split=split,
        device=device,
        threads=threads,
        batching=batching,
        tick=tick,
    )
    return swept.rows[0]

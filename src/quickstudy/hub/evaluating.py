"""How good a model is on tasks of classes that it never saw, beside what costs no learning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor

from quickstudy.artefacts.manifest import MANIFEST, Manifest
from quickstudy.core import (
    Batching,
    Evaluation,
    Learner,
    Task,
    TaskSource,
    evaluate,
    evaluations,
    summarise,
)
from quickstudy.core.evaluate import metric_of
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.devices import choose_device, set_threads
from quickstudy.hub.kept import parse_kept
from quickstudy.hub.sources import (
    Images,
    Source,
    Split,
    Wanted,
    open_source,
    preprocessing_of,
)
from quickstudy.learners import NearestMean

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
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    tasks: int = 1000
    seed: int = 0

    def check(self) -> None:
        """Refuse numbers that make no tasks.

        Raises:
            RunError: one of them is too small.
        """
        least = {"ways": 2, "shots": 1, "queries": 1, "tasks": 1, "seed": 0}
        for name, value in self._asdict().items():
            if value < least[name]:
                raise RunError(f"--{name} must be at least {least[name]}, got {value}")


def control_of(
    learner: Learner, source: TaskSource[Task], tasks: int, seed: int, batching: Batching
) -> tuple[str, Evaluation] | None:
    """What the no-learning control gets on the same tasks; None for real targets."""
    if metric_of(learner) != "accuracy":
        return None
    control = NearestMean()
    score = evaluate(control, source, tasks=tasks, seed=seed, batching=batching)
    return type(control).__name__, score


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
        accuracy and interval95 in 0..1 (or squared_error), tasks, ways, shots, queries, control
        (name, accuracy, interval95), transductive, seed.
    """
    batching = batching or Batching()
    metric = metric_of(learner)
    values: list[Tensor] = []
    parts = evaluations(
        learner, source, tasks=setting.tasks, seed=setting.seed, batching=batching, metric=metric
    )
    for part in parts:
        values.append(part.cpu())
        if tick:
            tick(sum(map(len, values)), setting.tasks)
    control = control_of(learner, source, setting.tasks, setting.seed, batching)
    sizes = setting._asdict()
    return {
        **_scored(summarise(torch.cat(values), metric)),
        "tasks": sizes.pop("tasks"),
        **{k: sizes[k] for k in ("ways", "shots", "queries")},
        "control": control and {"name": control[0], **_scored(control[1])},
        "transductive": learner.transductive,
        "seed": setting.seed,
    }


def _scored(score: Evaluation) -> dict[str, JsonValue]:
    interval = score.interval95 if score.tasks > 1 else None
    return {score.metric: round(score.mean, 6), "interval95": interval and round(interval, 6)}


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
    setting.check()
    set_threads(threads)
    where = choose_device(device)
    learner, model = load_model(path, device=where)
    trained_on = _trained_on(model.manifest)
    data = data or trained_on
    if data is None:
        raise RunError(f"{path} does not say what it was trained on; name data with --data")
    source = open_for(model.manifest, path, data, where)
    if isinstance(source, Images) and not source.curated:
        split = split or _unseen(source, model.manifest, path)
    split = split or "test"
    tasks = source.tasks(split, setting.ways, setting.shots, setting.queries)
    result = judge(learner, tasks, setting, batching=batching, tick=tick)
    return {"run": str(path), "data": source.name, "split": split, **result}


def open_for(
    manifest: Manifest, path: Path | str, data: str, device: torch.device | None = None
) -> Source:
    """Data as the input of a stored model.

    Raises:
        RunError: the model takes another kind of input.
    """
    how = preprocessing_of(manifest.preprocessing, path) if manifest.preprocessing else None
    kept = parse_kept(manifest.training.get("kept"), Path(path, MANIFEST))
    where = device or torch.device("cpu")
    source = open_source(data, Wanted(preprocessing=how, device=where, kept=kept))
    if manifest.input_shape is not None and list(source.input_shape) != manifest.input_shape:
        raise RunError(
            f"the model in {path} takes inputs {manifest.input_shape}, "
            f"those of {source.name} are {list(source.input_shape)}"
        )
    return source


def _trained_on(manifest: Manifest) -> str | None:
    config = manifest.training.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, str) else None


def _unseen(source: Images, manifest: Manifest, path: Path | str) -> Split:
    """The split of a folder that holds what a model never saw: all, or what is not the run's own.

    Raises:
        RunError: there is none, or nobody knows which classes they are.
    """
    told = manifest.training.get("kept") is not None
    own = None if told else _trained_on(manifest)
    if own is not None and Path(own).is_dir() and Path(own).samefile(source.name):
        raise RunError(
            f"{path} was trained on {source.name} and does not say on which classes of it; "
            "name others with --data"
        )
    if not {"all", "test"} & set(source.pools):
        raise RunError(f"{source.name} holds no class that the model in {path} never saw")
    return "all" if "all" in source.pools else "test"

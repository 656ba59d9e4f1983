"""What a meta-training job is made of: the data, the learner, and the loop over them.

A run in a folder (`training`) and the platform object iterate the same job.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from quickstudy.artefacts.arguments import describe
from quickstudy.core import (
    Batching,
    Evaluation,
    Fit,
    Learner,
    Progress,
    Task,
    TaskSource,
    evaluate,
    move,
    unstack,
)
from quickstudy.core.tasks import check_targets
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import CATALOGUE, learner_named
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import choose_device, keep_freed_memory, set_threads
from quickstudy.hub.drawing import learner_for, training_source
from quickstudy.hub.evaluating import control_of
from quickstudy.hub.given import refuse_in_memory
from quickstudy.hub.image_source import Images
from quickstudy.hub.kept import Kept
from quickstudy.hub.source import Source, Wanted
from quickstudy.hub.sources import open_source
from quickstudy.hub.tables import Rows

SMALL_GRADIENT = 1e-5
"""Adam's epsilon. What a learner cannot see, a shift of all embeddings say, has a gradient of
nothing but rounding, some 1e-9 here; at torch's 1e-8 Adam takes steps along it that differ from one
number of processes to another, at this it stays. On the built-in characters most gradients are 1e-4
and more; of a rate for each number (`MetaSGD`) half are some 2e-5, which slows those by a third."""
NO_MEMORY = "can't allocate memory"
"""How torch says it of the CPU, in an error of no class of its own."""
WARM_UP = 0.1
"""Share of a one-cycle schedule in which the rate rises."""
VALIDATION_SEED = 1
"""Meta-validation tasks are the same at every look, in every run."""

Stop = Callable[[], bool]
"""Whether somebody has asked this process to stop."""


@dataclass
class Job:
    """What a configuration becomes.

    Attributes:
        config: what to do.
        device: where.
        source: the data.
        learner: what is trained.
        validation: meta-validation tasks.
        fit: the loop, of which nothing has run yet.
    """

    config: TrainConfig
    device: torch.device
    source: Source
    learner: Learner
    validation: TaskSource[Task]
    fit: Fit

    @property
    def batching(self) -> Batching:
        """How tasks run."""
        return Batching(self.config.batching)

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.fit.parameters)

    def try_out(self) -> None:
        """One loss, so that what cannot be trained is refused before anything is done.

        Raises:
            QuickstudyError: the learner does not take such tasks, or there is no memory.
        """
        held = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(held), torch.no_grad(), readable_errors():
            task = self.fit.source.sample(1, torch.Generator().manual_seed(0))
            check_targets(self.learner, task)
            self.learner.loss(unstack(move(task, self.device))[0])

    def check_storable(self) -> None:
        """Refuse a learner that cannot be stored, before a folder is made for it.

        Raises:
            ArtefactError: says which argument stands in the way.
        """
        describe(self.learner, CATALOGUE)

    def control(self) -> tuple[str, Evaluation] | None:
        """What the no-learning control gets on the meta-validation tasks."""
        return control_of(
            self.learner,
            self.validation,
            self.config.validation_tasks,
            VALIDATION_SEED,
            self.batching,
        )

    def drawn_sizes(self) -> dict[str, JsonValue]:
        """Of the meta-validation tasks as they come: small data makes them smaller than asked."""
        return drawn_sizes(self.validation, self.source.outputs is None)


def drawn_sizes(tasks: TaskSource[Task], classes: bool) -> dict[str, JsonValue]:
    """The ways, shots, queries and unlabelled of tasks as they come; no ways of real targets."""
    task = unstack(tasks.sample(1, torch.Generator().manual_seed(VALIDATION_SEED)))[0]
    ways = task.support.y.shape[-1] if classes else None
    # Of classes all rows but those that are real and have no label; of real targets all.
    free = int((task.support.mask * (1 - task.support.y.sum(-1))).sum()) if classes else 0
    shots, queries = (len(task.support.y) - free, len(task.query.y))
    numbers = (number // (ways or 1) for number in (shots, queries, free))
    return {"ways": ways, **dict(zip(("shots", "queries", "unlabelled"), numbers, strict=True))}


def open_data(config: TrainConfig, kept: Kept | None = None) -> Source:
    """The data that a configuration names.

    Raises:
        RunError: it was handed in from Python, so that no name opens it.
    """
    refuse_in_memory(config.data)
    return open_source(
        config.data,
        Wanted(
            preprocessing=kept.preprocessing if kept else None,
            size=config.size,
            channels=config.channels,
            system_fonts=config.system_fonts,
            device=choose_device(config.device),
            kept=kept,
            group=config.group,
            features=config.features,
            targets=config.targets or (),
            leave_out_small=config.leave_out_small,
        ),
    )


def make_job(config: TrainConfig, kept: Kept | None = None, stop: Stop = lambda: False) -> Job:
    """The job that a configuration describes. Sets torch's threads and its global generator.

    Args:
        config: what to do.
        kept: of the run that goes on; see `kept.Kept`.
        stop: asked once a step; see `Fit`.

    Raises:
        QuickstudyError: the data, the learner or an option is not usable.
    """
    config = config.model_copy(update={"learner": learner_named(config.learner).__name__})
    ready(config)
    source = open_data(config, kept)
    if kept and isinstance(source, Images | Rows):
        kept.check(source.pools)
    torch.manual_seed(config.seed)
    with readable_errors():
        learner = learner_for(config, source)
    return job_of(config, source, learner, stop)


def ready(config: TrainConfig) -> None:
    """Threads and memory of this process, as a configuration wants them."""
    set_threads(config.threads)
    keep_freed_memory()


def job_of(
    config: TrainConfig, source: Source, learner: Learner, stop: Stop = lambda: False
) -> Job:
    """The job of a learner and data that are there already.

    Args:
        config: how to train; what it says of data and learner is not looked at.
        source: the data.
        learner: the learner, which is moved to the device.
        stop: asked once a step; see `Fit`.

    Raises:
        QuickstudyError: tasks that cannot be drawn.
    """
    if not any(p.requires_grad for p in learner.parameters()):
        raise RunError(f"{type(learner).__name__} has nothing to train")
    device = choose_device(config.device)
    learner = learner.to(device)
    source = source.with_unlabelled(config.unlabelled)
    training = training_source(config, source, type(learner))
    sizes = config.validation_sizes
    validation = source.validation_tasks(*sizes)

    def judged_on(tasks: TaskSource[Task], count: int) -> Callable[[nn.Module], Evaluation]:
        def judge(module: nn.Module) -> Evaluation:
            return evaluate(
                module,  # type: ignore[arg-type]
                tasks,
                tasks=count,
                seed=VALIDATION_SEED,
                batching=Batching(config.batching),
                together=True,
            )

        return judge

    fit = Fit(
        learner,
        training,
        steps=config.steps,
        tasks_per_step=config.tasks_per_step,
        optimizer=lambda p: AdamW(
            p, lr=config.rate, weight_decay=config.weight_decay, eps=SMALL_GRADIENT
        ),
        schedule=schedule_of(config),
        clip=config.clip,
        validate=judged_on(validation, config.validation_tasks),
        evaluate_every=config.evaluations_apart,
        contrast=judged_on(source.contrast_tasks(*sizes), config.contrast_tasks),
        patience=config.patience,
        average=config.average,
        nonfinite=config.nonfinite,
        batching=Batching(config.batching),
        seed=config.seed,
        stop=stop,
    )
    return Job(config, device, source, learner, validation, fit)


def schedule_of(config: TrainConfig) -> Callable[[Optimizer], LRScheduler] | None:
    """How the rate goes over the run: it stays, falls along a cosine, or rises first."""
    if config.schedule == "constant":
        return None
    rising = WARM_UP if config.schedule == "one-cycle" else 0.0

    def share(step: int) -> float:
        done = step / config.steps
        if done < rising:
            return 0.04 + 0.96 * done / rising
        fallen = (done - rising) / (1 - rising)
        return max(0.5 * (1 + math.cos(math.pi * min(fallen, 1.0))), 1e-3)

    return lambda optimizer: LambdaLR(optimizer, share)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Torch's refusals that a user can do something about, in one line.

    Raises:
        RunError: the device has no memory left.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or NO_MEMORY in str(error)):
            raise
        raise RunError(
            "the device has no memory left: fewer --ways, --queries or --tasks-per-step, a smaller "
            f"net, or --batching loop ({_short(error)})"
        ) from None


def _short(error: RuntimeError) -> str:
    """What torch says of memory, without where in its code it says so."""
    return str(error).partition("] . ")[2].strip() or str(error).partition(".")[0]


def row_of(progress: Progress, seconds: float) -> dict[str, JsonValue]:
    """What happened in a step, as the record of a run holds it."""
    row: dict[str, JsonValue] = {
        "step": progress.step,
        "loss": _finite(progress.loss),
        "gradient_norm": _finite(progress.gradient_norm),
        "seconds": round(seconds, 3),
    }
    if progress.validation is not None:
        row["validation"] = described(progress.validation) | {"best": progress.best}
    if progress.training is not None:
        row["training"] = described(progress.training)
    return row


def gap_of(row: Mapping[str, Any]) -> float | None:
    """How much better than meta-validation tasks the row's meta-train tasks were answered.

    Examples:
        >>> gap_of({"validation": {"mean": 0.5, "metric": "accuracy"}, "training": {"mean": 0.75}})
        0.25
    """
    judged, trained = row.get("validation"), row.get("training")
    if not judged or not trained or None in (judged["mean"], trained["mean"]):
        return None
    sign = 1 if judged["metric"] == "accuracy" else -1
    return sign * float(trained["mean"] - judged["mean"])


def described(evaluation: Evaluation) -> dict[str, JsonValue]:
    """An evaluation as JSON."""
    told = asdict(evaluation)
    del told["values"], told["calibration"], told["errors"], told["predictive"]
    return told | {key: _finite(told[key]) for key in ("mean", "interval95")}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None

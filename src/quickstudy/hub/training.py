"""A meta-training run, start to end, as a stream of events.

The command line, the demo and whoever else wants a run iterate the same events; nothing is printed
here. Whoever stops iterating (and closes the iterator) leaves a checkpoint that `resume` takes.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from quickstudy.artefacts.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.core import (
    Batching,
    Evaluation,
    Fit,
    Learner,
    Progress,
    Task,
    TaskSource,
    evaluate,
    unstack,
)
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import build_learner, learner_named, load, save
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import choose_device, keep_freed_memory, set_threads
from quickstudy.hub.evaluating import control_of
from quickstudy.hub.kept import Kept, parse_kept
from quickstudy.hub.pictures import draw_curve, draw_task
from quickstudy.hub.runs import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    REPORT,
    Metrics,
    Run,
    check_output,
    create_run,
    open_run,
    write_json,
)
from quickstudy.hub.sources import Images, Source, Wanted, open_source

WARM_UP = 0.1
"""Share of a one-cycle schedule in which the rate rises."""
VALIDATION_SEED = 1
"""Meta-validation tasks are the same at every look, in every run."""


class Started(NamedTuple):
    """A run begins, or goes on.

    Attributes:
        run: where it lives.
        step: how many steps are done.
        parameters: how many numbers are learned.
        device: where.
    """

    run: Run
    step: int
    parameters: int
    device: str


class Stepped(NamedTuple):
    """One outer step was done.

    Attributes:
        progress: what it did.
        seconds: training time so far, over all sittings.
    """

    progress: Progress
    seconds: float


class Finished(NamedTuple):
    """A run has ended; its model, report and pictures are in its folder.

    Attributes:
        run: where it lives.
        report: what `report.json` holds.
        learner: the trained learner, in evaluation mode.
        source: the data it was trained on.
    """

    run: Run
    report: dict[str, Any]
    learner: Learner
    source: Source


Event = Started | Stepped | Finished


@dataclass
class _Made:
    """What a configuration becomes."""

    config: TrainConfig
    device: torch.device
    source: Source
    learner: Learner
    validation: TaskSource[Task]
    fit: Fit

    @property
    def batching(self) -> Batching:
        return Batching(self.config.batching)


def train(config: TrainConfig, out: Path | str, *, overwrite: bool = False) -> Iterator[Event]:
    """Run a configuration in a new folder.

    Everything that can be wrong with it is found before the folder is made. The run owns torch's
    global generator (initial weights, dropout), which its seed sets.

    Args:
        config: what to do.
        out: the run's folder.
        overwrite: replace a run that is there.

    Yields:
        `Started`, a `Stepped` for every step, `Finished`.

    Raises:
        QuickstudyError: the folder, the data, the learner or an option is not usable; or (while
            training) the loss is not finite or the disk is full; the last checkpoint stays.
    """
    folder = Path(out)
    check_output(folder, overwrite)
    made = _make(config)
    _try_out(made)
    kept = made.source.kept()
    keep = kept.model_dump(mode="json") if kept else None
    run = create_run(folder, made.config, overwrite, keep)
    with run.lock():
        yield from _run(run, made, resumed=None)


def resume(path: Path | str, *, device: str | None = None) -> Iterator[Event]:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Args:
        path: the run's folder.
        device: where, if not where it was.

    Yields:
        As `train`; of a run that has ended only `Finished`, with what its folder holds.

    Raises:
        QuickstudyError: as for `train`; or there is no run, or its checkpoint is damaged.
    """
    with open_run(path).lock():
        run = open_run(path)  # again: another process may have replaced it meanwhile
        config = run.config if device is None else run.config.model_copy(update={"device": device})
        kept = parse_kept(run.kept, run / CONFIG)
        if run.finished:
            learner = load(run.folder, device=choose_device(config.device))
            yield Finished(run, run.report(), learner, _open_source(config, kept))
            return
        made = _make(config, kept)
        held = load_checkpoint(run / CHECKPOINT) if (run / CHECKPOINT).exists() else None
        yield from _run(run, made, resumed=held)


def _open_source(config: TrainConfig, kept: Kept | None = None) -> Source:
    return open_source(
        config.data,
        Wanted(
            preprocessing=kept.preprocessing if kept else None,
            size=config.size,
            channels=config.channels,
            system_fonts=config.system_fonts,
            device=choose_device(config.device),
            kept=kept,
        ),
    )


def _make(config: TrainConfig, kept: Kept | None = None) -> _Made:
    config = config.model_copy(update={"learner": learner_named(config.learner).__name__})
    set_threads(config.threads)
    keep_freed_memory()
    device = choose_device(config.device)
    source = _open_source(config, kept)
    if kept and isinstance(source, Images):
        kept.check(source.pools)
    torch.manual_seed(config.seed)
    learner = build_learner(config, source.input_shape, source.outputs).to(device)
    batching = Batching(config.batching)
    validation = source.validation_tasks(
        config.validation_ways, config.validation_shots, config.validation_queries
    )

    def validate(module: nn.Module) -> Evaluation:
        return evaluate(
            module,  # type: ignore[arg-type]
            validation,
            tasks=config.validation_tasks,
            seed=VALIDATION_SEED,
            batching=batching,
        )

    fit = Fit(
        learner,
        source.training_tasks(**_sizes(config)),
        steps=config.steps,
        tasks_per_step=config.tasks_per_step,
        optimizer=lambda p: AdamW(p, lr=config.rate, weight_decay=config.weight_decay),
        schedule=_schedule(config),
        clip=config.clip,
        validate=validate,
        evaluate_every=config.evaluations_apart,
        average=config.average,
        nonfinite=config.nonfinite,
        batching=batching,
        seed=config.seed,
    )
    return _Made(config, device, source, learner, validation, fit)


def _try_out(made: _Made) -> None:
    """One loss, so that what cannot be trained is refused before anything is written."""
    held = [made.device] if made.device.type == "cuda" else []
    with torch.random.fork_rng(held), torch.no_grad(), _readable_errors():
        task = made.fit.source.sample(1, torch.Generator().manual_seed(0))
        made.learner.loss(unstack(task)[0])


def _sizes(config: TrainConfig) -> dict[str, Any]:
    names = ("ways", "shots", "queries", "rotations", "warp")
    return {name: getattr(config, name) for name in names}


def _schedule(config: TrainConfig) -> Callable[[Optimizer], LRScheduler] | None:
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
def _readable_errors() -> Iterator[None]:
    """Torch's refusals that a user can do something about, in one line.

    Raises:
        RunError: the device has no memory left.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            "the device has no memory left: fewer --ways, --queries or --tasks-per-step, or "
            f"--batching loop ({str(error).partition('.')[0]})"
        ) from None


def _run(run: Run, made: _Made, resumed: dict[str, Any] | None) -> Iterator[Event]:
    """The rest of a run, whose lock is held."""
    with _readable_errors():
        spent, size = 0.0, 0
        if resumed is not None:
            made.fit.load_state_dict(resumed["fit"])
            spent, size = resumed["seconds"], resumed["metrics_bytes"]
        count = sum(p.numel() for p in made.fit.parameters)
        yield Started(run, made.fit.step, count, str(made.device))
        with closing(Metrics(run / METRICS, size)) as metrics:
            clock = _Clock(spent)
            yield from _steps(run, made, metrics, clock)
        report = _finish(run, made, clock.seconds)
        yield Finished(run, report, made.learner, made.source)


class _Clock:
    """Training time over all sittings, in seconds."""

    def __init__(self, spent: float) -> None:
        self._start = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def _steps(run: Run, made: _Made, metrics: Metrics, clock: _Clock) -> Iterator[Stepped]:
    config, fit = made.config, made.fit
    saved_at, saved_step = clock.seconds, fit.step

    def save_now() -> None:
        nonlocal saved_at, saved_step
        state = {"metrics_bytes": metrics.settle(), "seconds": clock.seconds}
        save_checkpoint(run / CHECKPOINT, state | {"fit": fit.state_dict()})
        saved_at, saved_step = clock.seconds, fit.step

    for progress in fit:
        metrics.append(_row(progress, clock.seconds))
        if config.checkpoint_every:
            due = fit.step % config.checkpoint_every == 0
        else:
            due = clock.seconds - saved_at >= config.checkpoint_seconds
        if due or fit.step == fit.steps:
            save_now()
        try:
            yield Stepped(progress, clock.seconds)
        except GeneratorExit:
            if saved_step != fit.step:
                save_now()
            raise


def _drawn_sizes(made: _Made) -> dict[str, JsonValue]:
    """Of the meta-validation tasks as they come: small data makes them smaller than asked for."""
    task = unstack(made.validation.sample(1, torch.Generator().manual_seed(VALIDATION_SEED)))[0]
    ways = task.support.y.shape[-1] if made.source.outputs is None else None
    shots, queries = (len(half.y) // (ways or 1) for half in (task.support, task.query))
    return {"ways": ways, "shots": shots, "queries": queries}


def _row(progress: Progress, seconds: float) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {
        "step": progress.step,
        "loss": _finite(progress.loss),
        "gradient_norm": _finite(progress.gradient_norm),
        "seconds": round(seconds, 3),
    }
    if progress.validation is not None:
        row["validation"] = described(progress.validation) | {"best": progress.best}
    return row


def described(evaluation: Evaluation) -> dict[str, JsonValue]:
    """An evaluation as JSON."""
    told = asdict(evaluation)
    del told["values"]
    return told | {key: _finite(told[key]) for key in ("mean", "interval95")}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _finish(run: Run, made: _Made, seconds: float) -> dict[str, Any]:
    """Store the model, the pictures and the report, in this order; each appears whole."""
    made.learner.eval()  # where no step was left to do, `Fit` has not done so
    rows = run.metrics()
    looks = [row for row in rows if row.get("validation")]
    best = next((row for row in reversed(looks) if row["validation"]["best"]), None)
    control = control_of(
        made.learner, made.validation, made.config.validation_tasks, VALIDATION_SEED, made.batching
    )
    training = {
        "config": made.config.model_dump(mode="json"),
        "steps": made.fit.step,
        "seconds": round(seconds, 1),
        "device": str(made.device),
        "threads": torch.get_num_threads(),
    }
    sizes = _drawn_sizes(made)
    told = {"step": best["step"], "looks": len(looks)} if best else {}
    metrics = {
        "validation": best and best["validation"] | sizes | told,
        "control": control and {"name": control[0], **described(control[1]), **sizes},
    }
    how = made.source.preprocessing
    save(
        run.folder,
        made.learner,
        input_shape=made.source.input_shape,
        preprocessing=how.model_dump() if how else None,
        training=training | {"kept": run.kept},
        metrics=metrics,
    )
    draw_curve(run, rows, control[1].mean if control else None)
    draw_task(run, made.learner, made.source)
    parameters = sum(p.numel() for p in made.fit.parameters)
    report = {"run": str(run.folder), **training, "parameters": parameters, **metrics}
    write_json(run / REPORT, report)
    return report

"""A meta-training run in a folder, start to end, as a stream of events.

The command line, the demo and whoever else wants a run iterate the same events; nothing is printed
here. Whoever stops iterating (and closes the iterator) leaves a checkpoint that `resume` takes.
Of many processes each iterates the same events, and the first alone writes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from quickstudy.core import Learner, Progress
from quickstudy.core.distributed import ranks
from quickstudy.errors import PeerLost, RunError
from quickstudy.hub.catalogue import load, save
from quickstudy.hub.checkpoints import Checkpoints, Found
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import choose_device
from quickstudy.hub.job import (
    Job,
    Stop,
    described,
    gap_of,
    make_job,
    open_data,
    readable_errors,
    row_of,
)
from quickstudy.hub.kept import parse_kept
from quickstudy.hub.pictures import draw_curve, draw_rates, draw_task
from quickstudy.hub.processes import first, gathered, one_voice, only_first
from quickstudy.hub.recording import Recorder
from quickstudy.hub.runs import (
    CONFIG,
    REPORT,
    Run,
    check_output,
    create_run,
    open_run,
    write_json,
)
from quickstudy.hub.source import Source, refuse_sizes
from quickstudy.hub.store.reporting import Reporter, reported_to_store


class Started(NamedTuple):
    """A run begins, or goes on.

    Attributes:
        run: where it lives.
        step: how many steps are done.
        parameters: how many numbers are learned.
        device: where.
        damaged: what is wrong with newer checkpoints than the one it goes on from.
    """

    run: Run
    step: int
    parameters: int
    device: str
    damaged: tuple[str, ...] = ()


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


def train(
    config: TrainConfig, out: Path | str, *, overwrite: bool = False, stop: Stop = lambda: False
) -> Iterator[Event]:
    """Run a configuration in a new folder.

    Everything that can be wrong with it is found before the folder is made. The run owns torch's
    global generator (initial weights, dropout), which its seed sets.

    Args:
        config: what to do.
        out: the run's folder.
        overwrite: replace a run that is there.
        stop: whether this process was asked to stop; `Progress.stop` says so of any process.

    Yields:
        `Started`, a `Stepped` for every step, `Finished`.

    Raises:
        QuickstudyError: the folder, the data, the learner or an option is not usable; or (while
            training) the loss is not finite or the disk is full; the last checkpoint stays.
    """
    with one_voice():
        if first():
            check_output(Path(out), overwrite)
        job = make_job(config, stop=stop)
        if config.recipe is None:
            named = config.model_fields_set & {"ways", "shots", "queries"}
            refuse_sizes(job.source, "train", sorted(named))
    yield from train_job(job, out, overwrite=overwrite)


def train_job(job: Job, out: Path | str, *, overwrite: bool = False) -> Iterator[Event]:
    """Run a job in a new folder; see `train`."""
    folder = Path(out)
    with one_voice():
        if first():
            check_output(folder, overwrite)
        job.try_out()
        job.check_storable()
        kept = job.source.kept()
        keep = kept.model_dump(mode="json") if kept else None
        run = Run(folder, job.config, keep)
        if first():
            run = create_run(folder, job.config, overwrite, keep)
    with only_first(run.lock()):
        yield from _run(run, job, resumed=None)


def resume(
    path: Path | str, *, device: str | None = None, stop: Stop = lambda: False
) -> Iterator[Event]:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    The number of processes may be another than before.

    Args:
        path: the run's folder.
        device: where, if not where it was.
        stop: as for `train`.

    Yields:
        As `train`; of a run that has ended only `Finished`, with what its folder holds.

    Raises:
        QuickstudyError: as for `train`; or there is no run, or its checkpoint is damaged.
    """

    def remake(run: Run) -> Job:
        config = run.config if device is None else run.config.model_copy(update={"device": device})
        return make_job(config, parse_kept(run.kept, run / CONFIG), stop)

    return resume_job(path, remake, device)


def resume_job(
    path: Path | str, remake: Callable[[Run], Job], device: str | None = None
) -> Iterator[Event]:
    """Go on with a run; see `resume`.

    Args:
        path: the run's folder.
        remake: makes the run's job again, before its first step.
        device: of a run that has ended, where its learner goes.
    """
    with one_voice():
        run = open_run(path)
    with only_first(run.lock()):
        with one_voice():
            run = open_run(path)  # again: another process may have replaced it meanwhile
            finished = run.finished
            job = None if finished else remake(run)
            held = _checkpoints(run).newest() if job else None
        gathered(None)  # all have read before the first one writes
        if job:
            yield from _run(run, job, resumed=held)
            return
        learner = load(run.folder, device=choose_device(device or run.config.device))
        source = open_data(run.config, parse_kept(run.kept, run / CONFIG))
        yield Finished(run, run.report(), learner, source)


def _run(run: Run, job: Job, resumed: Found | None) -> Iterator[Event]:
    """The rest of a run, whose lock is held."""
    with readable_errors(), _way_on(run):
        spent, sizes, damaged = 0.0, {}, []
        if resumed is not None:
            job.fit.load_state_dict(resumed.tree["fit"])
            spent, sizes = resumed.tree["seconds"], resumed.tree["sizes"]
            damaged = resumed.damaged
        yield Started(run, job.fit.step, job.parameters, str(job.device), tuple(damaged))
        clock = _Clock(spent)
        if not first():
            for progress in job.fit:
                yield Stepped(progress, clock.seconds)
            yield Finished(run, {}, job.learner, job.source)
            return
        with reported_to_store(run) as reporter:
            with closing(Recorder(run.folder, sizes)) as recorder:
                yield from _steps(run, job, recorder, reporter, clock)
            report = finish(run, job, clock.seconds)
        yield Finished(run, report, job.learner, job.source)


@contextmanager
def _way_on(run: Run) -> Iterator[None]:
    """Where another process of the job is lost, say how the run goes on without it."""
    try:
        yield
    except PeerLost as error:
        raise PeerLost(
            f"{error}; go on with: quickstudy resume {run.folder}, on any number of processes"
        ) from error


class _Clock:
    """Training time over all sittings, in seconds."""

    def __init__(self, spent: float) -> None:
        self._start = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def _look_of(row: dict[str, Any], looks: int) -> dict[str, Any]:
    """Which of how many looks it was, and how much better meta-train tasks were answered then."""
    told: dict[str, Any] = {"step": row["step"], "looks": looks}
    if row.get("training"):
        told["gap"] = gap_of(row)
    return told


def _checkpoints(run: Run) -> Checkpoints:
    return Checkpoints(run.folder, run.config.keep_checkpoints)


def _steps(
    run: Run, job: Job, recorder: Recorder, reporter: Reporter, clock: _Clock
) -> Iterator[Stepped]:
    config, fit, checkpoints = job.config, job.fit, _checkpoints(run)
    saved_at, saved_step = clock.seconds, fit.step

    def save_now(best: bool = False) -> None:
        nonlocal saved_at, saved_step
        state = {"sizes": recorder.settle(), "seconds": clock.seconds, "fit": fit.state_dict()}
        checkpoints.save(fit.step, state, best=best)
        saved_at, saved_step = clock.seconds, fit.step

    for progress in fit:
        row = row_of(progress, clock.seconds)
        recorder.append(row)
        reporter.tell(row)
        if config.checkpoint_every:
            due = fit.step % config.checkpoint_every == 0
        else:
            due = clock.seconds - saved_at >= config.checkpoint_seconds
        if due or progress.best or fit.ended:
            save_now(progress.best)
        try:
            yield Stepped(progress, clock.seconds)
        except GeneratorExit:
            if saved_step != fit.step:
                save_now()
            raise


def finish(run: Run, job: Job, seconds: float) -> dict[str, Any]:
    """Store the model, the pictures and the report, in this order; each appears whole.

    Args:
        run: where; its metrics are there.
        job: whose last step is done.
        seconds: that the steps took.

    Returns:
        The report.

    Raises:
        RunError: what was trained answers no task with finite numbers.
    """
    rows = run.metrics()
    looks = [row["validation"] for row in rows if row.get("validation")]
    if looks and all(look["mean"] is None for look in looks):
        raise RunError(
            f"no meta-validation gave finite numbers, so {run.folder} gets no model; train again "
            "with a lower --rate or --clip"
        )
    report = _store(run, job, rows, seconds)
    control = report["control"]
    if rows:
        draw_curve(run, rows, control and control["mean"])
    draw_rates(run, job.learner)
    draw_task(run, job.learner, job.source)
    write_json(run / REPORT, report)
    return report


def _store(run: Run, job: Job, rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Store a job's learner, with how it came about; what the report says of it."""
    job.learner.eval()  # where no step was left to do, `Fit` has not done so
    looks = [row for row in rows if row.get("validation")]
    best = next((row for row in reversed(looks) if row["validation"]["best"]), None)
    control = job.control()
    done = rows[-1]["step"] if rows else job.fit.step
    training = {
        "config": job.config.model_dump(mode="json"),
        "steps": done,
        "stopped_early": done < job.config.steps,
        "seconds": round(seconds, 1),
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "processes": ranks()[1],
    }
    sizes = job.drawn_sizes()
    metrics = {
        "validation": best and {**best["validation"], **sizes, **_look_of(best, len(looks))},
        "control": control and {"name": control[0], **described(control[1]), **sizes},
    }
    how = job.source.preprocessing
    save(
        run.folder,
        job.learner,
        input_shape=job.source.input_shape,
        preprocessing=how.model_dump() if how else None,
        training=training | {"kept": run.kept},
        metrics=metrics,
    )
    return {"run": str(run.folder), **training, "parameters": job.parameters, **metrics}

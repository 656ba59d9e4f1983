"""Showing a run while it goes, and stopping it where Ctrl-C is pressed."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from quickstudy.core.distributed import ranks
from quickstudy.hub import screen
from quickstudy.hub.job import Stop
from quickstudy.hub.processes import first, gathered
from quickstudy.hub.training import Event, Finished, Started, Stepped

INTERRUPTED = 130
PATIENCE = 25.0
"""Seconds after SIGTERM until a run leaves in the middle of a step: who sent it kills after 30."""


def follow(begin: Callable[[Stop], Iterator[Event]], out: Path) -> Finished:
    """Show a run's progress on stderr until it ends.

    Args:
        begin: `training.train` or `training.resume`, told how to learn that it is to stop.
        out: the run's folder, as the user said it.

    Returns:
        The event it ends with.

    Raises:
        Exit: it was stopped; it can be resumed then.
    """
    console = screen.err()
    with interruptible(out) as stopped:
        events = begin(stopped)
        began = next(events)
        if isinstance(began, Finished):
            console.print(f"{out} has ended already")
            return began
        assert isinstance(began, Started)
        config = began.run.config
        _announce(began, out)
        with screen.Steps(console, config.steps, began.step) as shown:
            for event in events:
                if isinstance(event, Finished):
                    return event
                if isinstance(event, Stepped):
                    shown.show(event.progress)
                    if event.progress.stop and event.progress.step < config.steps:
                        break
        # While signals are caught still: the first process writes the checkpoint now. The launcher
        # ends all as soon as one leaves, so the others wait for it.
        close = getattr(events, "close", None)
        if close:
            close()
        gathered(None)
    step = event.progress.step if isinstance(event, Stepped) else began.step
    console.print(f"stopped after step {step}; go on with: quickstudy resume {out}")
    raise typer.Exit(INTERRUPTED)


def _announce(began: Started, out: Path) -> None:
    """Say what is trained on what, and where."""
    console, config = screen.err(), began.run.config
    for said in began.damaged:
        console.print(f"warning: {said}; going on from an earlier checkpoint")
    data = Path(config.data).name if "/" in config.data else config.data
    world = ranks()[1]
    console.print(
        f"meta-training {config.learner} on {data}: {began.parameters:,} parameters, "
        f"{began.device}, in {out}"
        + (f", on {world} processes" if world > 1 else "")
        + (f", from step {began.step}" if began.step else "")
    )
    if world > config.tasks_per_step:
        console.print(
            f"note: a step has fewer tasks ({config.tasks_per_step}) than there are processes "
            f"({world}), so some have nothing to do; give more --tasks-per-step"
        )


@contextmanager
def interruptible(out: Path) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C (or SIGTERM) ask for a stop after the step; a second one stops at once.

    Where the step takes longer than whoever sent SIGTERM will wait, the process leaves without it;
    what is on the disk is whole at any moment.

    Yields:
        Whether a stop was asked for.
    """
    asked = threading.Event()
    late = threading.Timer(PATIENCE, _leave, [out])
    late.daemon = True
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if number == signal.SIGTERM:
            late.start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        late.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(out: Path) -> None:
    """End the process where it is."""
    with contextlib.suppress(OSError):
        said = f"stopped in the middle of a long step; go on with: quickstudy resume {out}\n"
        os.write(sys.stderr.fileno(), said.encode())
    os._exit(INTERRUPTED)


def finish(ended: Finished, json: bool) -> None:
    """Say how a run ended, and what to type next; one of many processes says it."""
    if not first():
        return
    if json:
        screen.print_json(ended.report)
        return
    console, report = screen.out(), ended.report
    took = screen.duration(report["seconds"])
    early = ", stopped early" if report.get("stopped_early") else ""
    console.print(f"trained {report['steps']} steps in {took}{early}; {summary(report)}")
    console.print(f"the model, report.json and pictures are in {ended.run.folder}")
    console.print(f"next: quickstudy evaluate {ended.run.folder}")


def summary(report: dict[str, Any]) -> str:
    """Meta-validation of a report in one line."""
    best, control = report["validation"], report["control"]
    if not best:
        return "no meta-validation was finite"
    said = f"meta-validation {_score(best)} at step {best['step']}{_looked(best)}"
    if best.get("gap") is not None:
        said += f", gap to meta-train {screen.gap(best['gap'], best['metric'])}"
    return said + (f" ({control['name']}, the control: {_score(control)})" if control else "")


def _looked(best: dict[str, Any]) -> str:
    """How often meta-validation looked, and at what tasks; earlier reports do not say so."""
    if "looks" not in best:
        return ""
    looks = "the only look" if best["looks"] == 1 else f"the best of {best['looks']} looks"
    ways, each = (f"{best['ways']}-way ", " a class") if best["ways"] else ("", "")
    kind = f"{ways}{best['shots']}-shot tasks, {best['queries']} queries{each}"
    return f", {looks} at {best['tasks']} {kind}"


def _score(told: dict[str, Any]) -> str:
    return screen.percent({told["metric"]: told["mean"], "interval95": told["interval95"]})

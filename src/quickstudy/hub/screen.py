"""What a person sees: progress on stderr, results on stdout, plain lines where no terminal is."""

import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from quickstudy.core.fit import Progress as StepProgress
from quickstudy.hub.processes import first

PLAIN_SECONDS = 10.0
"""Without a terminal a line of progress appears about this often."""
WIDE = 110
"""Columns from which a terminal has room for everything."""
SMOOTHING = 0.95
"""Of the loss that is shown, from step to step."""


def out() -> Console:
    """Where results go; wide enough for one line a sentence where nobody looks."""
    return _console(sys.stdout)


def err() -> Console:
    """Where progress and remarks go."""
    return _console(sys.stderr)


def _console(stream: Any) -> Console:
    console = Console(file=stream, highlight=False, soft_wrap=True, quiet=not first())
    if not console.is_terminal:
        console.width = 120
    return console


def print_json(value: Any) -> None:
    """One JSON value on stdout, and nothing else there."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()  # whoever waits for it may wait for what goes on running


def print_fields(fields: Mapping[str, Any]) -> None:
    """A mapping on stdout, one line a field, for people; what says nothing is left out."""
    console = out()
    for name, value in fields.items():
        if isinstance(value, Mapping):
            console.print(f"{name}:", markup=False)
            for inner, one in value.items():
                if one not in (None, {}, []):
                    console.print(f"  {inner}: {plain(one)}", markup=False)
        elif value is not None:
            console.print(f"{name}: {plain(value)}", markup=False)


def plain(value: Any) -> str:
    """A JSON value in a line.

    Examples:
        >>> plain("omniglot"), plain([1, None])
        ('omniglot', '[1, null]')
    """
    return value if isinstance(value, str) else json.dumps(value)


def near(path: Path | str) -> str:
    """A path as it is said from here.

    Examples:
        >>> near(Path.cwd() / "runs" / "a")
        'runs/a'
    """
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def table(*columns: str, right: Collection[str] = (), whole: Collection[str] = ()) -> Table:
    """An empty table.

    Args:
        columns: their names.
        right: those that hold numbers.
        whole: those that are not broken into lines.
    """
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        side: Literal["left", "right"] = "right" if name in right else "left"
        made.add_column(name, justify=side, no_wrap=name in whole)
    return made


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "-/s", style="progress.data.speed")


class Steps:
    """Progress of a run: step, loss, meta-validation figure, rate and time left.

    Args:
        console: where it shows.
        steps: how many there are.
        done: how many were done before.
    """

    def __init__(self, console: Console, steps: int, done: int = 0) -> None:
        self.console = console
        self.steps = steps
        self.loss: float | None = None
        self.judged = "-"
        self.first, self.start = done, time.monotonic()
        self.said = self.start
        self.bar: Progress | None = None
        if console.is_terminal:
            wide = console.width >= WIDE
            self.bar = Progress(
                *([TextColumn("meta-training")] if wide else []),
                BarColumn(bar_width=24 if wide else 6),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("meta-validation {task.fields[validation]}"),
                _Rate(),
                *([TextColumn("left")] if wide else []),
                TimeRemainingColumn(),
                console=console,
            )
            self.task = self.bar.add_task("", total=steps, completed=done, loss="-", validation="-")

    def __enter__(self) -> "Steps":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def show(self, progress: StepProgress) -> None:
        """One step was done."""
        step, loss = progress.step, progress.loss
        if math.isfinite(loss):
            self.loss = loss if self.loss is None else SMOOTHING * self.loss + 0.05 * loss
        if progress.validation:
            self.judged = str(progress.validation)
            if progress.gap is not None:
                self.judged += f" (gap {gap(progress.gap, progress.validation.metric)})"
        shown = "-" if self.loss is None else f"{self.loss:.3f}"
        if self.bar:
            self.bar.update(self.task, completed=step, loss=shown, validation=self.judged)
            return
        now = time.monotonic()
        if progress.validation or now - self.said >= PLAIN_SECONDS or step == self.steps:
            self.said = now
            rate = (step - self.first) / max(now - self.start, 1e-9)
            left = duration((self.steps - step) / rate) if rate else "-"
            self.console.print(
                f"step {step}/{self.steps}  loss {shown}  meta-validation {self.judged}  "
                f"{rate:.1f}/s  {left} left"
            )


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for something that is counted; nothing where there is no terminal.

    Yields:
        To be told how many of how many are done.
    """
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn(what),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def transfer(console: Console, what: str, size: int) -> Iterator[Callable[[str, int, int], None]]:
    """Files that are fetched: one line, and a bar for each where there is a terminal.

    Args:
        console: where it shows.
        what: they are.
        size: of all of them in bytes; 0 where they are here already.

    Yields:
        To be told a file's name and how many bytes of how many of it are here.
    """
    fetched = f"fetching and converting {what}, {size / 1e6:.1f} MB"
    console.print(fetched if size else f"converting {what}", markup=False)
    if not console.is_terminal:
        yield lambda name, done, total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def told(name: str, done: int, total: int) -> None:
            if name not in tasks:  # what came another time does not count for the rate
                tasks[name] = bar.add_task(name, completed=done, total=total)
            bar.update(tasks[name], completed=done)

        yield told


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Examples:
        >>> duration(3.2), duration(75), duration(3700)
        ('3 s', '1 min 15 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def score(value: float | None, metric: str | None) -> str:
    """A score for people.

    Examples:
        >>> score(0.9448, "accuracy"), score(12.3456, "squared_error"), score(None, None)
        ('94.5 %', '12.3', '-')
    """
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.3g}"


def moment(when: str | None) -> str:
    """A moment as JSON holds it, for people: where they are, to the minute.

    Examples:
        >>> moment(None)
        '-'
    """
    return f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M}" if when else "-"


def gap(value: float, metric: str = "accuracy") -> str:
    """How much better meta-train tasks were answered than meta-validation tasks, for people.

    Examples:
        >>> gap(0.052), gap(-0.01), gap(0.5, "squared_error")
        ('+5.2', '-1.0', '+0.5')
    """
    return f"{100 * value:+.1f}" if metric == "accuracy" else f"{value:+.3g}"


def percent(score: dict[str, Any] | None, metric: str = "accuracy") -> str:
    """A score as JSON holds it, for people.

    Examples:
        >>> percent({"accuracy": 0.9448, "interval95": 0.0039})
        '94.5 ± 0.4 %'
        >>> percent(None)
        '-'
    """
    if not score or score.get(metric, score.get("squared_error")) is None:  # NaN in JSON
        return "-"
    if metric not in score:
        interval = score["interval95"]
        return f"{score['squared_error']:.3g}" + (f" ± {interval:.1g}" if interval else "")
    interval = f" ± {100 * score['interval95']:.1f}" if score["interval95"] is not None else ""
    return f"{100 * score[metric]:.1f}{interval} %"

"""Accuracy against shots, inner steps and data: one model, many settings, each with its control."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from quickstudy.core import Batching, Evaluation
from quickstudy.errors import DataError, RunError
from quickstudy.hub.evaluating import (
    Setting,
    Tick,
    adapting_by,
    as_row,
    control_of,
    inner_steps_of,
    score_of,
)
from quickstudy.hub.source import Source, Split
from quickstudy.hub.subjects import Subject, open_domain, open_subject


class Swept(NamedTuple):
    """What came of a sweep.

    Attributes:
        rows: one mapping a setting, as JSON; see `sweep_run`.
        calibration: of the first row, [bins, 3]; None for real targets.
        passed_over: why the model's own data is not among the rows, where it should be.
    """

    rows: list[dict[str, Any]]
    calibration: Tensor | None
    passed_over: str | None = None


def sweep_run(
    path: Path | str,
    setting: Setting,
    *,
    shots: Sequence[int] = (),
    inner_steps: Sequence[int] = (),
    data: Sequence[str] = (),
    split: Split | None = None,
    learner: str | None = None,
    learner_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    batching: Batching | None = None,
    tick: Tick | None = None,
) -> Swept:
    """Evaluate a run over several shots, inner steps or collections of data.

    Shots are swept at the model's own number of inner steps, or at the one that is given; inner
    steps at the first number of shots. Where there are several data, the model's own meta-test
    comes first, whether it is named or not, and each row says its gap to that.

    Args:
        path: the run's folder.
        setting: all that stays the same.
        shots: support examples a class; those of the setting where none are given.
        inner_steps: that adapting takes; none given for the model's own.
        data: names or folders; what it was trained on where none is given.
        split: of every data; see `evaluate_run`.
        learner: another method, to read the net of the run's learner; see `embeddings.reading`.
        learner_options: arguments of its constructor; without `learner`, of the run's own.
        device: where.
        threads: of the CPU.
        batching: how tasks run.
        tick: told after each few tasks.

    Returns:
        Rows with all keys of `evaluate_run`, and "gap" where there are several data: how much worse
        the row's tasks are answered than those of the own meta-test at the same setting (positive:
        a lower accuracy, or a larger error), and the interval of that; None for itself. Rows of
        another method say its name in "learner", and in "embedding_of" whose net it reads; what was
        told in "learner_options".

    Raises:
        QuickstudyError: as for `evaluate_run`; inner steps for a learner that takes none.
    """
    named: Sequence[int | None] = shots or [setting.shots]
    for number in named:
        setting._replace(shots=number, inner_steps=None).check()
    for steps in inner_steps:
        setting._replace(inner_steps=steps).check()
    subject = open_subject(path, device, threads)
    if learner is not None:
        subject = subject.read_by(learner, learner_options)
    elif learner_options:
        subject = subject.told(learner_options)
    for number in inner_steps or (None,):
        with adapting_by(subject.learner, number, setting.inner_rate):  # refused before it runs
            pass
    domains, passed_over = _domains(subject, data, split)
    if setting.unlabelled is None:
        setting = setting._replace(unlabelled=subject.unlabelled)
    domains = [(s.with_unlabelled(setting.unlabelled or 0), where) for s, where in domains]
    for source, where in domains:
        setting._replace(shots=named[0]).check_for(source, where)
    most = setting._replace(shots=max(shots) if shots else setting.shots)
    whole = most.filled(subject.sizes, domains)
    own_steps = inner_steps_of(subject.learner)
    settings = _settings(whole, shots or [whole.sizes[1]], inner_steps, own_steps)
    drawn = [  # every source of tasks, so that what cannot be drawn is refused first
        (source, where, one, one.tasks_of(source, where))
        for source, where in domains
        for one in settings
    ]
    rows: list[dict[str, Any]] = []
    scores: list[Evaluation] = []
    controls: dict[tuple[str, int | None], tuple[str, Evaluation]] = {}
    for number, (source, where, one, tasks) in enumerate(drawn):
        done = number * setting.tasks

        def told(judged: int, _: int, done: int = done) -> None:
            if tick:
                tick(done + judged, len(drawn) * setting.tasks)

        score = score_of(subject.learner, tasks, one, batching=batching, tick=told)
        key = (source.name, one.shots)
        if key not in controls:
            controls[key] = control_of(
                subject.learner, tasks, one.tasks, one.seed, batching or Batching()
            )
        row = as_row(subject.learner, one, score, controls[key], source)
        rows.append(
            {"run": str(path), **_read(subject), "data": source.name, "split": where, **row}
        )
        scores.append(score)
    if len(domains) > 1:
        own = None if passed_over else len(settings)
        rows = [_with_gap(row, i, rows, own) for i, row in enumerate(rows)]
    return Swept(rows, scores[0].calibration, passed_over)


def _read(subject: Subject) -> dict[str, Any]:
    """Whose net is read by which method, and what it was told, where that is not as trained."""
    told = {"learner_options": dict(subject.options)} if subject.options else {}
    if subject.embedding_of is None:
        return told
    read = {"learner": type(subject.learner).__name__, "embedding_of": subject.embedding_of}
    return read | told


def _domains(
    subject: Subject, data: Sequence[str], split: Split | None
) -> tuple[list[tuple[Source, Split]], str | None]:
    """The data, the model's own first where there are several; and why that is missing."""
    if not data:
        return [open_domain(subject, None, split)], None
    opened = [open_domain(subject, name, split) for name in data]
    if len(opened) == 1:
        return opened, None
    names = [source.name for source, _ in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"--data must name each data once, got {', '.join(twice)} again")
    own = next((i for i, name in enumerate(names) if _same(name, subject.trained_on)), None)
    if own is not None:
        return [opened.pop(own), *opened], None
    try:
        return [open_domain(subject, None, split), *opened], None
    except (DataError, RunError) as error:
        return opened, str(error)


def _same(name: str, own: str | None) -> bool:
    """Whether two names of data, or paths of folders, mean the same."""
    if own is None or name == own:
        return name == own
    return Path(name).is_dir() and Path(own).is_dir() and Path(name).samefile(own)


def _settings(
    setting: Setting, shots: Sequence[int], inner_steps: Sequence[int], own: int | None
) -> list[Setting]:
    """One for each number of shots, then one for each of inner steps, none of them twice."""
    steps = inner_steps[0] if len(inner_steps) == 1 else own
    several = [
        setting._replace(shots=shots[0], inner_steps=number)
        for number in inner_steps
        if len(inner_steps) > 1
    ]
    one = [setting._replace(shots=number, inner_steps=steps) for number in shots]
    return list(dict.fromkeys([*(one if len(one) > 1 or not several else []), *several]))


def _with_gap(
    row: dict[str, Any], place: int, rows: Sequence[dict[str, Any]], own: int | None
) -> dict[str, Any]:
    """A row and how much worse it is than the own data's in the same setting.

    Args:
        row: one of the rows.
        place: which.
        rows: those of the own data first, setting by setting, then the next data's.
        own: how many there are of each data; None where the own data is not among them.
    """
    if own is None or place < own:
        return {**row, "gap": None}
    home = rows[place % own]
    metric = "accuracy" if "accuracy" in row else "squared_error"
    if None in (row[metric], home[metric]):
        return {**row, "gap": None}
    halves = [row["interval95"], home["interval95"]]
    interval = None if None in halves else round(sum(h * h for h in halves) ** 0.5, 6)
    sign = 1 if metric == "accuracy" else -1
    worse = round(sign * (home[metric] - row[metric]), 6)
    return {**row, "gap": {metric: worse, "interval95": interval}}

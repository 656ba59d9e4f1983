"""The diversity of what `--data` names, split by split: is meta-train as diverse as meta-test?"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quickstudy.core import Task, TaskSource
from quickstudy.data.diversity import class_spread, function_spread, task_choice, task_spread
from quickstudy.data.episodes import Episodes
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError
from quickstudy.hub.evaluating import Setting
from quickstudy.hub.handwriting import Glyphs
from quickstudy.hub.kept import PARTS
from quickstudy.hub.source import SPLITS, Source, Split
from quickstudy.hub.sources import Formula

POINTS = 20
"""Support and query points of a regression task, where there are as many."""
FEW_GROUPS = 10
"""Regression tasks below which a remark says so."""

SHOWN = {
    "classes": ("classes", ""),
    "groups": ("groups", ""),
    "effective_groups": ("effective groups", ".1f"),
    "examples": ("examples", ""),
    "distinct": ("distinct tasks", ",.3g"),
    "shared": ("classes that two tasks share", ".2f"),
    "seen": ("classes seen in the sample", ".0%"),
    "effective_dimension": ("effective dimension of the classes", ".1f"),
    "variance_ratio": ("variance between / within classes", ".2f"),
    "control": ("accuracy without learning", ".1%"),
    "control_spread": ("its spread over tasks", ".1%"),
    "hard": ("hard tasks (5 %) stay below", ".1%"),
    "easy": ("easy tasks (5 %) exceed", ".1%"),
    "coefficient": ("task-diversity coefficient", ".3f"),
    "between": ("difference of two tasks' functions", ".3f"),
    "interval95": ("95 % interval of that, ±", ".3f"),
    "within": ("the same within one task", ".3f"),
}
"""What a report holds, to what it is called and how it is written."""


def diversity_report(
    source: Source, setting: Setting, split: Split | None = None
) -> dict[str, Any]:
    """How diverse the tasks of each split are, as JSON.

    Args:
        source: of the tasks.
        setting: their ways, shots and queries, how many are sampled, and the seed.
        split: the only one to look at; all that there are where None.

    Returns:
        data; ways, shots, queries, tasks, seed; splits, name to the figures of `data.diversity`;
        remarks, sentences on what should give pause.

    Raises:
        DataError: no such split, fewer than two tasks, or no split that has tasks of that size.
        RunError: numbers that make no tasks.
    """
    setting.check()
    if setting.tasks < 2:
        raise DataError(f"diversity is between two tasks or more, got --tasks {setting.tasks}")
    reports: dict[str, Any] = {}
    remarks: list[str] = []
    for part in _splits(source) if split is None else (split,):
        try:
            reports[part] = _split_report(source, part, setting)
        except DataError as error:
            if split is not None or part in ("train", "all"):
                raise
            remarks.append(f"meta-{part} is left out: {error}")
    sizes = dict(zip(("ways", "shots", "queries"), setting.sizes, strict=True))
    sizes |= {"tasks": setting.tasks, "seed": setting.seed}
    remarks += _remarks(reports, setting.sizes[0])
    return {"data": source.name, **sizes, "splits": reports, "remarks": remarks}


def _splits(source: Source) -> tuple[Split, ...]:
    """Train beside what is judged on; the whole where nothing is split."""
    if isinstance(source, Formula):
        return ("train",)  # all splits are the same
    there = [split for split in SPLITS if split in source.facts()]
    return tuple(split for split in PARTS if split in there) or ("all",)


def _split_report(source: Source, split: Split, setting: Setting) -> dict[str, Any]:
    if source.outputs is not None:
        pool = getattr(source, "pools", {}).get(split)
        there = {} if pool is None else {"groups": pool.classes}
        tasks = _regression_tasks(source, split, pool)
        return there | _plain(asdict(function_spread(tasks, setting.tasks, setting.seed)))
    tasks = source.tasks(split, *setting.sizes)
    told: dict[str, Any] = {}
    if isinstance(tasks, Episodes):
        pool = source.faces().pool(split) if isinstance(source, Glyphs) else tasks.pool
        told |= asdict(class_spread(pool))
        told |= asdict(task_choice(tasks, setting.tasks, setting.seed))
    return _plain(told | asdict(task_spread(tasks, setting.tasks, setting.seed)))


def _regression_tasks(source: Source, split: Split, pool: Pool | None) -> TaskSource[Task]:
    """With as many points as there are, up to POINTS: neighbours are then near."""
    points = POINTS if pool is None else max(1, min(POINTS, int(pool.counts.min()) // 2))
    return source.tasks(split, 2, points, points)


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for JSON: rounded, None for NaN."""
    return {
        name: value
        if not isinstance(value, float)
        else (round(value, 6) if math.isfinite(value) else None)
        for name, value in told.items()
    }


def _remarks(reports: Mapping[str, Mapping[str, Any]], ways: int) -> list[str]:
    """What should give pause, in words."""
    said = []
    for split, report in reports.items():
        trained = split in ("train", "all")
        why = "a learner can do well by remembering them (meta-overfitting)"
        why = why if trained else "its figures are about these few"
        if report.get("shared", 0) >= 1:
            said.append(
                f"meta-{split} has {report['classes']} classes, so two {ways}-way tasks share "
                f"{report['shared']:.1f} of them on average: {why}"
            )
        if "between" in report and "groups" in report and report["groups"] < FEW_GROUPS:
            groups = f"{report['groups']} group" + "s" * (report["groups"] > 1)
            said.append(f"meta-{split} has {groups}: {why}")
    train = reports.get("train")
    for split in ("validation", "test"):
        other = reports.get(split)
        if not (train and other):
            continue
        said += [
            f"meta-train is less diverse than meta-{split} "
            f"({train[name]:.3f} against {other[name]:.3f})"
            for name in ("coefficient", "between")
            if name in train and _less(train, other, name)
        ]
    return said


def _less(train: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    """Whether meta-train's figure is below the other's, intervals included; not without them."""
    halves = [report["interval95"] for report in (train, other)]
    return None not in halves and bool(train[name] + sum(halves) < other[name])


def rows_of(reports: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The figures for people: what each is called, and its value in every split.

    Examples:
        >>> rows_of({"train": {"classes": 9, "seen": 1.0}, "test": {"classes": 3, "seen": 0.5}})
        [('classes', ['9', '3']), ('classes seen in the sample', ['100 %', '50 %'])]
    """
    return [
        (called, [_written(report.get(name), form) for report in reports.values()])
        for name, (called, form) in SHOWN.items()
        if any(name in report for report in reports.values())
    ]


def _written(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form).replace("%", " %")

"""Figures of models beside each other: means with intervals, and differences in pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.metrics import LOWER_IS_BETTER, NAMES, Ranked, interval

OURS = "quickstudy"

Figures = dict[tuple[str, int, str], dict[int, list[float]]]
"""Model, support size and metric to the figures of each unit: a user, say, once a seed."""


def count_ranking(figures: Figures, model: str, size: int, unit: int, found: Ranked) -> None:
    """Note a ranking's figures."""
    figures[model, size, "ndcg10"][unit].append(found.ndcg10)
    figures[model, size, "recall20"][unit].append(found.recall20)


def count_errors(
    figures: Figures,
    model: str,
    size: int,
    unit: int,
    said: NDArray[np.float32],
    true: NDArray[np.float32],
) -> None:
    """Note the errors of ratings [m]."""
    wrong = said.astype(np.float64) - true
    figures[model, size, "rmse"][unit].append(float(np.sqrt((wrong**2).mean())))
    figures[model, size, "mae"][unit].append(float(np.abs(wrong).mean()))


def _of_units(figures: Figures, model: str, size: int, metric: str) -> NDArray[np.float64]:
    """Each unit's figure, averaged over seeds, in the order of units."""
    held = figures.get((model, size, metric), {})
    return np.array([np.mean(held[user]) for user in sorted(held)])


def rows(
    figures: Figures, shots: Sequence[int], learners: Sequence[str] = (), unit: str = "users"
) -> list[dict[str, Any]]:
    """Each model's figures at each support size: means over units, with intervals of 95 %.

    Args:
        figures: of all models.
        shots: support sizes.
        learners: models that are no controls, beside ours.
        unit: what the figures were counted for.
    """
    models = sorted({model for model, _, _ in figures}, key=lambda m: (m != OURS, m))
    found = []
    for model in models:
        for size in shots:
            row: dict[str, Any] = {
                "model": model,
                "control": model not in {OURS, *learners},
                "shots": size,
            }
            half: dict[str, float | None] = {}
            for metric in NAMES:
                values = _of_units(figures, model, size, metric)
                there = values[np.isfinite(values)]
                row[metric] = float(there.mean()) if len(there) else None
                width = interval(values)
                half[metric] = width if np.isfinite(width) else None
                row[unit] = max(row.get(unit, 0), len(there))
            found.append({**row, "interval95": half})
    return found


def pairs(
    figures: Figures, shots: Sequence[int], learners: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Ours less each control, unit by unit; `better` where the interval leaves out zero."""
    found = []
    models = sorted({model for model, _, _ in figures} - {OURS, *learners})
    for metric in NAMES:
        for size in shots:
            ours = _of_units(figures, OURS, size, metric)
            for model in models:
                theirs = _of_units(figures, model, size, metric)
                if not len(theirs):
                    continue
                gap = ours - theirs
                if not np.isfinite(gap).any():
                    continue
                mean, half = float(np.nanmean(gap)), interval(gap)
                sign = -1 if metric in LOWER_IS_BETTER else 1
                found.append(
                    {
                        "metric": metric,
                        "shots": size,
                        "control": model,
                        "difference": mean,
                        "interval95": half if np.isfinite(half) else None,
                        "better": bool(np.isfinite(half) and sign * mean > half),
                    }
                )
    return found

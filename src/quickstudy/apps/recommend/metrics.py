"""How good a ranking of a whole catalogue is, and how far off ratings are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

NAMES = ("ndcg10", "recall20", "rmse", "mae")
LOWER_IS_BETTER = ("rmse", "mae")
TOP = 20


class Ranked(NamedTuple):
    """Figures of one ranking; NaN where nothing was relevant."""

    ndcg10: float
    recall20: float


def ranked(
    scores: NDArray[np.float32], support: NDArray[np.int64], relevant: NDArray[np.int64]
) -> Ranked:
    """nDCG@10 (binary gains) and recall@20 of all items but the support's.

    Args:
        scores: [items]; equal ones rank in the order of the catalogue.
        support: items that are no candidates.
        relevant: items that were liked later.

    Examples:
        >>> ranked(np.array([3., 2., 1.]), np.array([0]), np.array([1]))
        Ranked(ndcg10=1.0, recall20=1.0)
    """
    relevant = relevant[~np.isin(relevant, support)]
    if not len(relevant):
        return Ranked(np.nan, np.nan)
    candidates = scores.astype(np.float64, copy=True)
    candidates[support] = -np.inf
    best = top(candidates, TOP)
    hits = np.isin(best, relevant)
    gains = 1 / np.log2(np.arange(2, 12))
    ideal = gains[: min(10, len(relevant))].sum()
    ndcg = float((hits[:10] * gains[: len(hits[:10])]).sum() / ideal)
    return Ranked(ndcg, float(hits.sum() / len(relevant)))


def top(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The places of the highest scores, the highest first, ties in order; none that is -inf.

    Examples:
        >>> top(np.array([1., 5., 5., -np.inf]), 3).tolist()
        [1, 2, 0]
    """
    count = min(count, len(scores))
    if count < len(scores):
        least = -np.partition(-scores, count - 1)[count - 1]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    places = places[np.argsort(-scores[places], kind="stable")][:count]
    return places[scores[places] > -np.inf]


def interval(values: NDArray[np.float64]) -> float:
    """Half of the 95 % interval of a mean (Student's t); NaN where there are fewer than two."""
    there = values[np.isfinite(values)]
    if len(there) < 2:
        return float("nan")
    width = stdtrit(len(there) - 1, 0.975)
    return float(width * there.std(ddof=1) / np.sqrt(len(there)))

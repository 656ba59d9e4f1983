"""Ratings of new items: what a support set says, folded into biases and factors of known ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.factors import ITEM_SHRINKAGE, Factors
from quickstudy.apps.recommend.launches import Asked, Support
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.newcomers import Newcomers
from quickstudy.apps.recommend.statistics import History
from quickstudy.apps.recommend.tasks import Timelines

Floats = NDArray[np.float32]
TRUST = 0.5
"""In what features foresee of ratings: a new category's features may mean something else."""


class OpeningRatings:
    """Biases and factors of known items and users.

    Args:
        log: the interactions elsewhere.
    """

    def __init__(self, log: Log) -> None:
        self.mean = float(log.value.mean())
        self.factors = Factors.of(log)
        self.histories = Timelines(log, 0)

    def ratings(self, opened: Newcomers, asked: Sequence[Asked]) -> dict[str, Floats]:
        """Ratings [asked, c] by items' means, with biases folded in, with factors or features."""
        support, items = opened.support, len(opened.content.names)
        known = [self._read(self.histories.history(user, 0.0)) for user in support.user.tolist()]
        theirs = [self._read(one.history) for one in asked]
        bias = np.array([[bias] for bias, _ in theirs])
        off = support.value - self.mean - np.array([bias for bias, _ in known])
        none = np.zeros(items, np.float32)
        level = _level(support, off, none, ITEM_SHRINKAGE)
        folded = self._factors(support, off, level, known)
        taste = np.array([vector for _, vector in theirs]) @ folded.T
        foreseen = _level(support, off, TRUST * opened.foreseen.deviation, ITEM_SHRINKAGE)
        mean = self.mean + _level(support, support.value - self.mean, none, ITEM_SHRINKAGE)
        said = {
            "item mean": np.tile(mean, (len(asked), 1)),
            "bias fold-in": self.mean + bias + level,
            "rating ALS": self.mean + bias + level + taste,
            "features": self.mean + bias + foreseen + taste,
        }
        return {name: ratings.astype(np.float32) for name, ratings in said.items()}

    def _read(self, history: History) -> tuple[float, Floats]:
        """A user's bias and factors."""
        left = history.values - self.factors.level[history.items]
        bias = self.factors.bias(left)
        return bias, self.factors.user(history.items, left - bias)

    def _factors(
        self, support: Support, off: Floats, level: Floats, known: Sequence[tuple[float, Floats]]
    ) -> Floats:
        """New items' factors by ridge regression on those of their support's users [c, width]."""
        width = self.factors.items.shape[1]
        vectors = np.array([vector for _, vector in known]).reshape(len(known), width)
        folded = np.zeros((len(level), width), np.float32)
        for item in np.unique(support.item).tolist():
            by = vectors[support.item == item]
            gram = by.T @ by + self.factors.penalty * len(by) * np.eye(width)
            folded[item] = np.linalg.solve(gram, by.T @ (off[support.item == item] - level[item]))
        return folded


def _level(support: Support, off: Floats, prior: Floats, strength: float) -> Floats:
    """How far above the mean each item is rated, mixed with what was thought before [c]."""
    counts = np.bincount(support.item, minlength=len(prior))
    total = np.bincount(support.item, off, len(prior))
    level: Floats = ((total + strength * prior) / (counts + strength)).astype(np.float32)
    return level

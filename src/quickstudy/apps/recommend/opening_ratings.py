"""Ratings of new items: what a support set says, folded into biases and factors of known ones."""

from collections.abc import Sequence
from typing import NamedTuple

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
OURS = "ours"


class OpeningRatings(NamedTuple):
    """Biases and factors of known items and users.

    Attributes:
        mean: of all ratings.
        factors: of known items.
        bias: of known users [users].
        vectors: their factors [users, width].
    """

    mean: float
    factors: Factors
    bias: Floats
    vectors: Floats

    @classmethod
    def of(cls, log: Log, factors: Factors | None = None) -> "OpeningRatings":
        """Those of a log; its factors are found if not given."""
        factors = Factors.of(log) if factors is None else factors
        histories = Timelines(log, 0)
        known = [_read(factors, histories.history(user, 0.0)) for user in range(len(log.users))]
        bias = np.array([bias for bias, _ in known], np.float32)
        vectors = np.array([vector for _, vector in known], np.float32)
        return cls(float(log.value.mean()), factors, bias, vectors)

    def ratings(self, opened: Newcomers, asked: Sequence[Asked]) -> dict[str, Floats]:
        """Ratings [asked, c] by items' means, with biases folded in, with factors, and ours.

        Ours are those with factors, but an item without ratings has the level that its features
        foresee by half, and not that of the mean item.
        """
        support, items = opened.support, len(opened.content.names)
        there = support.user >= 0
        known = support.user * there
        theirs = [_read(self.factors, one.history) for one in asked]
        bias = np.array([[bias] for bias, _ in theirs])
        off = support.value - self.mean - self.bias[known] * there
        none = np.zeros(items, np.float32)
        level = _level(support, off, none, ITEM_SHRINKAGE)
        folded = self._folded(support, off - level[support.item], known, there, items)
        taste = np.array([vector for _, vector in theirs]) @ folded.T
        foreseen = _level(support, off, TRUST * opened.foreseen.deviation, ITEM_SHRINKAGE)
        mean = self.mean + _level(support, support.value - self.mean, none, ITEM_SHRINKAGE)
        said = {
            "item mean": np.tile(mean, (len(asked), 1)),
            "bias fold-in": self.mean + bias + level,
            "rating ALS": self.mean + bias + level + taste,
            OURS: self.mean + bias + foreseen + taste,
        }
        return {name: ratings.astype(np.float32) for name, ratings in said.items()}

    def _folded(
        self,
        support: Support,
        left: Floats,
        known: NDArray[np.int64],
        there: NDArray[np.bool_],
        items: int,
    ) -> Floats:
        """New items' factors by ridge regression on those of their support's users [c, width]."""
        width = self.factors.items.shape[1]
        folded = np.zeros((items, width), np.float32)
        for item in np.unique(support.item[there]).tolist():
            rows = there & (support.item == item)
            by = self.vectors[known[rows]]
            gram = by.T @ by + self.factors.penalty * len(by) * np.eye(width)
            folded[item] = np.linalg.solve(gram, by.T @ left[rows])
        return folded


def _read(factors: Factors, history: History) -> tuple[float, Floats]:
    """A user's bias and factors."""
    left = history.values - factors.level[history.items]
    bias = factors.bias(left)
    return bias, factors.user(history.items, left - bias)


def _level(support: Support, off: Floats, prior: Floats, strength: float) -> Floats:
    """How far above the mean each item is rated, mixed with what was thought before [c]."""
    counts = np.bincount(support.item, minlength=len(prior))
    total = np.bincount(support.item, off, len(prior))
    level: Floats = ((total + strength * prior) / (counts + strength)).astype(np.float32)
    return level

"""What every recommender has to beat: no meta-learning, tuned on meta-validation users."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.content import Content, alike
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.factors import Factors, ImplicitFactors
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.statistics import History, Statistics
from quickstudy.apps.recommend.tasks import UserTask

Floats = NDArray[np.float32]
Scores = dict[str, Floats]

WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Of a scorer beside log-popularity, that tuning tries; in shares of one over its spread."""
PENALTIES = (0.06, 0.12, 0.25, 0.5)
SHRINKAGES = (2.0, 4.0, 8.0, 16.0)
IMPLICIT = ((10.0, 10.0), (40.0, 10.0), (10.0, 50.0))
"""Confidence and penalty of implicit ALS that tuning tries."""


class Settings(NamedTuple):
    """What tuning chose.

    Attributes:
        weights: of each scorer beside log-popularity.
        factors: penalty and shrinkage of rating factors.
        implicit: confidence and penalty of implicit factors.
    """

    weights: dict[str, float]
    factors: tuple[float, float]
    implicit: tuple[float, float]


class Controls:
    """Closed-form recommenders of a catalogue.

    Args:
        known: statistics of the training users.
        content: features of the catalogue.
        log: the training users' interactions.
        factors: penalty and shrinkage of rating factors.
        implicit: confidence and penalty of implicit factors.
    """

    def __init__(
        self,
        known: Statistics,
        content: Content,
        log: Log,
        *,
        factors: tuple[float, float],
        implicit: tuple[float, float],
    ) -> None:
        self.known, self.content = known, content
        liked = log.rows(log.liked)
        self.cosines = cosines(liked)
        confidence, penalty = implicit
        self.implicit = ImplicitFactors.of(liked, confidence=confidence, penalty=penalty)
        self.factors: Factors | None = None
        if known.scale is not None:
            penalty, shrinkage = factors
            self.factors = Factors.of(log, penalty=penalty, shrinkage=shrinkage)

    def pure(self, histories: Sequence[History]) -> Scores:
        """Scores [histories, items] of each, not mixed."""
        known = self.known
        liked, _, _ = profiles(histories, known.items, known.liked_from)
        moments = np.array([history.time for history in histories])
        shape = (len(histories), known.items)
        scores: Scores = {
            "popularity": np.broadcast_to(np.log1p(known.likes), shape),
            "recent popularity": known.recently_liked(moments)[:, 1],
            "item neighbours": (liked @ self.cosines.T @ self.cosines).toarray(),
            "EASE": known.eased_scores(liked),
            "content neighbours": self._alike(liked),
            "implicit ALS": self.wanted(histories),
        }
        if self.factors is not None:
            scores["item mean"] = np.broadcast_to(known.deviation, shape)
            scores["rating ALS"] = np.stack([self._rated(history) for history in histories])
        return scores

    def scores(self, histories: Sequence[History], weights: dict[str, float]) -> Scores:
        """Scores of each, and of each beside log-popularity."""
        pure = self.pure(histories)
        mixed = {
            f"{name} + log-popularity": pure["popularity"] + weights[name] * scores
            for name, scores in pure.items()
            if name in weights
        }
        both = pure["recent popularity"] + weights["both"] * pure["item neighbours"]
        return {**pure, **mixed, "item neighbours + recent popularity": both}

    def ratings(self, history: History, items: NDArray[np.int64]) -> Scores:
        """Ratings of some items [m] by item means, with a bias folded in, with factors too."""
        if self.factors is None:
            return {}
        known = self.known
        mean = known.mean + known.deviation[items]
        left = history.values - self.factors.level[history.items]
        bias = self.factors.bias(left)
        mine = self.factors.user(history.items, left - bias)
        folded = self.factors.level[items] + bias
        return {
            "item mean": mean,
            "bias fold-in": folded,
            "rating ALS": folded + self.factors.items[items] @ mine,
        }

    def _alike(self, profile: sparse.csr_matrix) -> Floats:
        content = self.content
        near: Floats = (profile @ content.numbers) @ content.numbers.T
        for block in (content.kinds, content.tokens):
            near = near + alike(profile @ block, block)
        return near

    def wanted(self, histories: Sequence[History]) -> Floats:
        """Scores [histories, items] of implicit ALS."""
        liked = (h.items[h.values >= self.known.liked_from] for h in histories)
        return np.stack([self.implicit.scores(items) for items in liked])

    def _rated(self, history: History) -> Floats:
        rated = self.ratings(history, np.arange(self.known.items))
        return np.asarray(rated["rating ALS"], np.float32)


def cosines(liked: Log) -> sparse.csr_matrix:
    """Likes [users, items] whose columns have length one: products of two are cosines."""
    _, rows = np.unique(liked.user, return_inverse=True)
    counts = np.bincount(liked.item, minlength=len(liked.items))
    data = (1 / np.sqrt(np.maximum(counts, 1)))[liked.item].astype(np.float32)
    shape = (int(rows.max(initial=-1)) + 1, len(liked.items))
    return sparse.csr_matrix((data, (rows, liked.item)), shape)


def tune(known: Statistics, content: Content, log: Log, tasks: Sequence[UserTask]) -> Settings:
    """The best settings for meta-validation users, by nDCG@10 and by squared error.

    Args:
        known: statistics of other users than the tasks'.
        content: features of the catalogue.
        log: those users' interactions.
        tasks: of the meta-validation users.
    """
    histories = [task.history for task in tasks]
    factors = (PENALTIES[0], SHRINKAGES[0])
    if known.scale is not None:
        pairs = [(penalty, shrinkage) for penalty in PENALTIES for shrinkage in SHRINKAGES]
        factors = min(pairs, key=lambda pair: _error(log, pair, tasks))
    found = {
        pair: Controls(known, content, log, factors=factors, implicit=pair) for pair in IMPLICIT
    }
    implicit = max(
        found, key=lambda pair: _ndcg(found[pair].wanted(histories), tasks, known.liked_from)
    )
    pure = found[implicit].pure(histories)

    def best_weight(base: str, name: str) -> float:
        scale = 1 / max(float(pure[name].std()), 1e-9)
        found = {
            w * scale: _ndcg(pure[base] + w * scale * pure[name], tasks, known.liked_from)
            for w in WEIGHTS
        }
        return max(found, key=lambda weight: found[weight])

    weights = {name: best_weight("popularity", name) for name in pure if "popularity" not in name}
    weights["both"] = best_weight("recent popularity", "item neighbours")
    return Settings(weights, factors, implicit)


def _ndcg(scores: Floats, tasks: Sequence[UserTask], liked_from: float) -> float:
    found = [
        ranked(row, task.history.items, task.relevant(liked_from)).ndcg10
        for row, task in zip(scores, tasks, strict=True)
    ]
    return (
        float(np.nanmean([-1.0, *found]))
        if not np.isfinite(found).any()
        else float(np.nanmean(found))
    )


def _error(log: Log, pair: tuple[float, float], tasks: Sequence[UserTask]) -> float:
    """Mean over users of the error of rating factors with this penalty and shrinkage."""
    penalty, shrinkage = pair
    factors = Factors.of(log, penalty=penalty, shrinkage=shrinkage)
    return float(np.mean(list(_errors(factors, tasks))))


def _errors(factors: Factors, tasks: Sequence[UserTask]) -> Iterator[float]:
    for task in tasks:
        support, later = task.history.items, task.later
        left = task.history.values - factors.level[support]
        bias = factors.bias(left)
        mine = factors.user(support, left - bias)
        said = factors.level[later] + bias + factors.items[later] @ mine
        yield float(np.sqrt(((said - task.values) ** 2).mean()))

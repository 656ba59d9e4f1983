"""What every recommender of a new category has to beat: closed forms without meta-learning.

Models of known items are fitted without the category. Its items are folded in from their support
set, as new users are folded in elsewhere: ridge regressions on the users who took them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.factors import ImplicitFactors
from quickstudy.apps.recommend.launches import Asked
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.newcomers import EVIDENCE, Newcomers
from quickstudy.apps.recommend.opening_ratings import OpeningRatings
from quickstudy.apps.recommend.statistics import EASE_ITEMS, EASE_PENALTY

Floats = NDArray[np.float32]
Scores = dict[str, Floats]

WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Of a scorer beside log-popularity, in shares of one over its spread, that tuning tries."""
TAKEN = {
    "popularity": "log likes",
    "recent popularity": "likes lately",
    "content popularity": "popularity foreseen",
}
"""Scorers that are one column of the evidence."""
FEATURES = "content neighbours + content popularity"


class OpeningControls:
    """Closed-form recommenders of known items, and of new ones that are folded in.

    Args:
        log: the interactions elsewhere.
        content: features of the catalogue.
    """

    def __init__(self, log: Log, content: Content) -> None:
        self.content, self.liked_from = content, log.liked_from
        liked = log.rows(log.liked)
        ones = np.ones(len(liked.user), np.float32)
        shape = (len(log.users), len(log.items))
        self.likes = sparse.csr_matrix((ones, (liked.user, liked.item)), shape)
        self.norms = np.sqrt(np.maximum(np.asarray(self.likes.sum(0)).ravel(), 1))
        self.implicit = ImplicitFactors.of(liked)
        self.users = self.implicit.fold(self.likes)
        self.eased = np.argsort(-self.norms, kind="stable")[:EASE_ITEMS]
        among = self.likes[:, self.eased]
        gram = (among.T @ among).toarray() + EASE_PENALTY * np.eye(
            len(self.eased), dtype=np.float32
        )
        self.regression = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        self.rated = None if log.scale is None else OpeningRatings(log)

    def pure(self, opened: Newcomers, asked: Sequence[Asked], evidence: Floats) -> Scores:
        """Scores [asked, c] of each, not mixed."""
        liked, _, _ = profiles([one.history for one in asked], self.likes.shape[1], self.liked_from)
        taken = self._taken(opened)
        scores = {name: evidence[:, :, EVIDENCE.index(column)] for name, column in TAKEN.items()}
        scores["content neighbours"] = self._alike(opened, liked)
        scores["item neighbours"] = self._cosines(taken, liked)
        scores["EASE"] = self._regressed(taken, liked)
        items = self.implicit.of_items(taken, self.users)
        there = sparse.csr_matrix((liked > 0).astype(np.float32))
        scores["implicit ALS"] = self.implicit.fold(there) @ items.T
        if self.rated is not None:
            rated = self.rated.ratings(opened, asked)
            scores["item mean"] = rated["item mean"]
            scores["rating ALS"] = rated["rating ALS"]
        return scores

    def scores(
        self,
        opened: Newcomers,
        asked: Sequence[Asked],
        evidence: Floats,
        weights: dict[str, float],
    ) -> Scores:
        """Scores of each, and of each beside log-popularity."""
        pure = self.pure(opened, asked, evidence)
        mixed = {
            f"{name} + log-popularity": pure["popularity"] + weights[name] * _standard(pure[name])
            for name in pure
            if name in weights
        }
        near, foreseen = (
            _standard(pure[f"content {what}"]) for what in ("neighbours", "popularity")
        )
        return {**pure, **mixed, FEATURES: foreseen + weights[FEATURES] * near}

    def _taken(self, opened: Newcomers) -> sparse.csr_matrix:
        """Who of the known users liked which new item [users, c]."""
        support = opened.support
        chosen = opened.liked & (support.user >= 0)
        ones = np.ones(int(chosen.sum()), np.float32)
        shape = (self.likes.shape[0], len(opened.content.names))
        return sparse.csr_matrix((ones, (support.user[chosen], support.item[chosen])), shape)

    def _alike(self, opened: Newcomers, liked: sparse.csr_matrix) -> Floats:
        alike = (liked @ self.content.numbers) @ opened.content.numbers.T
        for name in ("kinds", "tokens"):
            known, new = getattr(self.content, name), getattr(opened.content, name)
            if known.shape[1]:
                alike = alike + ((liked @ known) @ new.T).toarray()
        return np.asarray(alike, np.float32)

    def _cosines(self, taken: sparse.csr_matrix, liked: sparse.csr_matrix) -> Floats:
        counts = np.sqrt(np.maximum(np.asarray(taken.sum(0)).ravel(), 1))
        both = (liked @ sparse.diags(1 / self.norms)) @ self.likes.T
        cosines: Floats = ((both @ taken).toarray() / counts).astype(np.float32)
        return cosines

    def _regressed(self, taken: sparse.csr_matrix, liked: sparse.csr_matrix) -> Floats:
        """Ridge regressions of new items' likes on those of known ones, as of EASE."""
        together = (self.likes[:, self.eased].T @ taken).toarray()
        weights = linalg.cho_solve(self.regression, together, check_finite=False)
        scores: Floats = liked[:, self.eased] @ weights
        return scores


class Opened(NamedTuple):
    """One opening of a meta-validation category.

    Attributes:
        controls: of the interactions elsewhere.
        newcomers: its items.
        asked: its users.
        evidence: of all items for all users.
    """

    controls: OpeningControls
    newcomers: Newcomers
    asked: Sequence[Asked]
    evidence: Floats


def tune(openings: Sequence[Opened]) -> dict[str, float]:
    """The best weight of each scorer beside log-popularity, by nDCG@10 over these openings."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for opening in openings:
        pure = opening.controls.pure(opening.newcomers, opening.asked, opening.evidence)
        standard = {name: _standard(scores) for name, scores in pure.items()}
        tried = [("popularity", name, name) for name in pure if name != "popularity"]
        tried.append(("content popularity", "content neighbours", FEATURES))
        for base, name, called in tried:
            first = pure[base] if base == "popularity" else standard[base]
            for weight in WEIGHTS:
                mixed = first + weight * standard[name]
                found[called][weight].extend(_ndcg(mixed, opening.asked))
    return {
        name: max(weights, key=lambda weight: float(np.mean(weights[weight])))
        for name, weights in found.items()
    }


def _ndcg(scores: Floats, asked: Sequence[Asked]) -> list[float]:
    return [
        ranked(row, one.seen, one.relevant).ndcg10 for row, one in zip(scores, asked, strict=True)
    ]


def _standard(scores: Floats) -> Floats:
    """Scores in shares of their spread."""
    return scores / max(float(scores.std()), 1e-9)

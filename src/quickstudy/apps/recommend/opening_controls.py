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

from quickstudy.apps.recommend.content import Content, alike
from quickstudy.apps.recommend.elsewhere import foreseen_factors
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.factors import ImplicitFactors
from quickstudy.apps.recommend.launches import Asked
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.newcomers import EVIDENCE, Newcomers
from quickstudy.apps.recommend.opening_ratings import OpeningRatings
from quickstudy.apps.recommend.statistics import EASE_ITEMS

Floats = NDArray[np.float32]
Scores = dict[str, Floats]

WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Of a scorer beside log-popularity, in shares of one over its spread, that tuning tries."""
TAKEN = {
    "popularity": "log likes",
    "recent popularity": "likes lately",
    "content popularity": "popularity foreseen",
    "content popularity of the moment": "popularity foreseen for the moment",
}
"""Scorers that are one column of the evidence."""
FEATURES = ("content popularity", "content popularity of the moment")
"""What content neighbours are also mixed with."""
FITS = ((10.0, 10.0, 200.0), (40.0, 10.0, 50.0), (10.0, 50.0, 1000.0))
"""Confidence and penalty of implicit ALS, and penalty of EASE, that tuning tries."""


class OpeningControls:
    """Closed-form recommenders of known items, and of new ones that are folded in.

    Args:
        log: the interactions elsewhere.
        content: features of the catalogue.
        fits: confidence and penalty of implicit ALS, and penalty of the regression (EASE).
    """

    def __init__(
        self, log: Log, content: Content, fits: tuple[float, float, float] = FITS[0]
    ) -> None:
        self.content, self.liked_from = content, log.liked_from
        confidence, penalty, ridge = fits
        liked = log.rows(log.liked)
        ones = np.ones(len(liked.user), np.float32)
        shape = (len(log.users), len(log.items))
        self.likes = sparse.csr_matrix((ones, (liked.user, liked.item)), shape)
        counts = np.asarray(self.likes.sum(0)).ravel()
        self.norms = np.sqrt(np.maximum(counts, 1))
        self.implicit = ImplicitFactors.of(liked, confidence=confidence, penalty=penalty)
        self.users = self.implicit.fold(self.likes)
        self.foreseen = foreseen_factors(content, self.implicit.items, counts)
        self.eased = np.argsort(-counts, kind="stable")[:EASE_ITEMS]
        among = self.likes[:, self.eased]
        gram = (among.T @ among).toarray() + ridge * np.eye(len(self.eased), dtype=np.float32)
        self.regression = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        self.rated = None if log.scale is None else OpeningRatings.of(log)

    def pure(self, opened: Newcomers, asked: Sequence[Asked], evidence: Floats) -> Scores:
        """Scores [asked, c] of each, not mixed."""
        liked, _, _ = profiles([one.history for one in asked], self.likes.shape[1], self.liked_from)
        taken, own = self._taken(opened), self._own(opened, asked)
        scores = {name: evidence[:, :, EVIDENCE.index(column)] for name, column in TAKEN.items()}
        scores["content neighbours"] = self._alike(opened, liked, own)
        scores["item neighbours"] = self._cosines(taken, liked, own)
        scores["EASE"] = self._regressed(taken, liked)
        items = self.implicit.of_items(taken, self.users)
        both = sparse.csr_matrix(sparse.hstack([liked > 0, own > 0]), dtype=np.float32)
        theirs = self.implicit.fold(both, np.concatenate([self.implicit.items, items]))
        scores["implicit ALS"] = theirs @ items.T
        scores["implicit ALS from content"] = theirs @ self.foreseen(opened.content).T
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
        near = _standard(pure["content neighbours"])
        called = {f"content neighbours + {base}": base for base in FEATURES}
        features = {n: _standard(pure[b]) + weights[n] * near for n, b in called.items()}
        return {**pure, **mixed, **features}

    def _taken(self, opened: Newcomers) -> sparse.csr_matrix:
        """Who of the known users liked which new item [users, c]."""
        support = opened.support
        chosen = opened.liked & (support.user >= 0)
        ones = np.ones(int(chosen.sum()), np.float32)
        shape = (self.likes.shape[0], len(opened.content.names))
        return sparse.csr_matrix((ones, (support.user[chosen], support.item[chosen])), shape)

    def _own(self, opened: Newcomers, asked: Sequence[Asked]) -> sparse.csr_matrix:
        """What users liked of the new items [asked, c], scaled as profiles of the others are."""
        sizes = [len(one.liked) for one in asked]
        rows = np.repeat(np.arange(len(asked)), sizes)
        columns = np.concatenate([*(one.liked for one in asked), np.empty(0, np.int64)])
        known = [np.sqrt(max((one.history.values >= self.liked_from).sum(), 1)) for one in asked]
        data = (1 / np.array(known))[rows].astype(np.float32)
        return sparse.csr_matrix((data, (rows, columns)), (len(asked), len(opened.content.names)))

    def _alike(self, opened: Newcomers, liked: sparse.csr_matrix, own: sparse.csr_matrix) -> Floats:
        known, new = self.content, opened.content
        near: Floats = (liked @ known.numbers + own @ new.numbers) @ new.numbers.T
        for there, here in ((known.kinds, new.kinds), (known.tokens, new.tokens)):
            near = near + alike(liked @ there + own @ here, here)
        return near

    def _cosines(
        self, taken: sparse.csr_matrix, liked: sparse.csr_matrix, own: sparse.csr_matrix
    ) -> Floats:
        counts = np.sqrt(np.maximum(np.asarray(taken.sum(0)).ravel(), 1))
        both = (liked @ sparse.diags(1 / self.norms)) @ self.likes.T
        both = both + (own @ sparse.diags(1 / counts)) @ taken.T
        cosines: Floats = ((both @ taken).toarray() / counts).astype(np.float32)
        return cosines

    def _regressed(self, taken: sparse.csr_matrix, liked: sparse.csr_matrix) -> Floats:
        """Ridge regressions of new items' likes on those of known ones, as of EASE."""
        together = (self.likes[:, self.eased].T @ taken).toarray()
        weights = linalg.cho_solve(self.regression, together, check_finite=False)
        scores: Floats = liked[:, self.eased] @ weights
        return scores


class Opened(NamedTuple):
    """One opening of a meta-validation set of items.

    Attributes:
        newcomers: its items.
        asked: its users.
        evidence: of all items for all users.
    """

    newcomers: Newcomers
    asked: Sequence[Asked]
    evidence: Floats


def best_fits(
    openings: Sequence[tuple[Log, Sequence[Opened]]], content: Content
) -> tuple[float, float, float]:
    """The settings of implicit ALS and of the regression that rank best, by nDCG@10.

    Args:
        openings: interactions elsewhere, and the openings that they were elsewhere of.
        content: features of the catalogue.
    """
    found: dict[str, list[float]] = {"implicit ALS": [], "EASE": []}
    for fits in FITS:
        told: dict[str, list[float]] = defaultdict(list)
        for log, opened in openings:
            controls = OpeningControls(log, content, fits)
            for one in opened:
                pure = controls.pure(one.newcomers, one.asked, one.evidence)
                for name in found:
                    told[name].extend(_ndcg(pure[name], one.asked))
        for name, values in found.items():
            values.append(float(np.mean(told[name])) if told[name] else 0.0)
    als, ease = (int(np.argmax(found[name])) for name in ("implicit ALS", "EASE"))
    return (*FITS[als][:2], FITS[ease][2])


def tune(openings: Sequence[tuple[OpeningControls, Opened]]) -> dict[str, float]:
    """The best weight of each scorer beside log-popularity, by nDCG@10 over these openings."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for controls, opened in openings:
        pure = controls.pure(opened.newcomers, opened.asked, opened.evidence)
        standard = {name: _standard(scores) for name, scores in pure.items()}
        tried = [("popularity", name, name) for name in pure if name != "popularity"]
        tried += [(b, "content neighbours", f"content neighbours + {b}") for b in FEATURES]
        for base, name, called in tried:
            first = pure[base] if base == "popularity" else standard[base]
            for weight in WEIGHTS:
                mixed = first + weight * standard[name]
                found[called][weight].extend(_ndcg(mixed, opened.asked))
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

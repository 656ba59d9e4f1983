"""What interactions with known items say of users and of features: what a new category starts from.

Nothing here knows any interaction with the new items: their popularity, what the rest of their
popularity will look like over time, and who will want them, are foreseen from their features.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.factors import USER_SHRINKAGE
from quickstudy.apps.recommend.log import Log

Floats = NDArray[np.float32]

WIDTH = 32
"""Of users' and items' vectors."""
MOMENTS = 12
"""Points in time at which popularity is foreseen."""
FADING = 0.1
"""How fast popularity fades, in spans of the log's time."""
PENALTY = 5.0
"""Of regressions on features."""
KINDS = 300
"""The most common kinds and tags are regressed on."""
TOLD = 100
"""Likewise the most common words, but for those of more than half of all items."""
CROSSED = 1200
"""Products of kinds and numbers, at most; with more, there are none."""
COMMON = 200
"""Words of more items than these say nothing of popularity."""
SHRINKAGE = 5.0
"""Likes that an item's mean vector is mixed with, all of nobody's."""


class Elsewhere(NamedTuple):
    """Users, and regressions of what becomes of items on their features.

    Attributes:
        likes: who liked what, rows and columns scaled, rows of length one [users, items].
        scale: of the columns [items].
        popularity: logarithm of likes [items].
        theirs: vectors of users, less their mean [users, WIDTH].
        centre: that mean [WIDTH].
        length: of the vectors, on average.
        basis: vectors of items, that a history's likes add up to a user's by [items, WIDTH].
        sizes: interactions of each user [users].
        starts: where each user's interactions begin in the next two [users + 1].
        times: of interactions, in order [n].
        company: popularity of their items, above the mean of what is taken [n].
        span: of the log's time.
        moments: points in time [m].
        columns: of kinds that are regressed on.
        words: likewise of words.
        weights: of features, for popularity, at each moment, for vectors and ratings
            [features, 1 + m + WIDTH + 1].
        left: popularity that features leave [items].
        relative: how far an item's numbers are above those of its kind [items, numbers].
    """

    likes: sparse.csr_matrix
    scale: Floats
    popularity: Floats
    theirs: Floats
    centre: Floats
    length: float
    basis: Floats
    sizes: Floats
    starts: NDArray[np.int64]
    times: NDArray[np.float64]
    company: Floats
    span: float
    moments: NDArray[np.float64]
    columns: NDArray[np.int64]
    words: NDArray[np.int64]
    weights: Floats
    left: Floats
    relative: Floats

    @classmethod
    def of(cls, log: Log, content: Content) -> "Elsewhere":
        """All that a log says; users are those of its names, items those of the catalogue."""
        users, items = len(log.users), len(log.items)
        liked = log.rows(log.liked)
        counts = np.bincount(liked.item, minlength=items).astype(np.float32)
        scale = (1 / np.sqrt(np.maximum(counts, 1) + 2)).astype(np.float32)
        likes = _unit(
            sparse.csr_matrix((scale[liked.item], (liked.user, liked.item)), (users, items))
        )
        basis = _basis(likes)
        raw = likes @ basis
        centre = raw[np.diff(likes.indptr) > 0].mean(0) if len(liked.user) else raw.sum(0)
        theirs = np.where(np.diff(likes.indptr)[:, None] > 0, raw - centre, 0).astype(np.float32)
        popularity = np.log(counts + 0.5).astype(np.float32)
        order = np.lexsort((log.time, log.user))
        span = float(np.ptp(np.quantile(log.time, (0.05, 0.95)))) or 1.0
        moments, recent = _recent(liked, span)
        known = np.bincount(log.item, minlength=items) > 0
        columns = _common(content.kinds[known], KINDS)
        words = _common(content.tokens[known], TOLD, at_most=0.5)
        targets = np.concatenate(
            [popularity[:, None], recent.T, _vectors(liked, theirs, counts)], axis=1
        )
        features = crossed(content, columns, words)
        weights = np.concatenate(
            [_ridge(features[known], targets[known]), _rated(log, features)], axis=1
        )
        left = np.where(known, popularity - features @ weights[:, 0], 0).astype(np.float32)
        return cls(
            likes=likes,
            scale=scale,
            popularity=popularity,
            theirs=theirs,
            centre=centre.astype(np.float32),
            length=max(float(np.linalg.norm(theirs, axis=1).mean()), 1e-6) if users else 1.0,
            basis=basis,
            sizes=np.bincount(log.user, minlength=users).astype(np.float32),
            starts=np.searchsorted(log.user[order], np.arange(users + 1)),
            times=log.time[order],
            company=popularity[log.item[order]] - popularity[log.item].mean()
            if len(order)
            else popularity[:0],
            span=span,
            moments=moments,
            columns=columns,
            words=words,
            weights=weights,
            left=left,
            relative=_relative(content),
        )

    def rows(self, liked: sparse.csr_matrix) -> sparse.csr_matrix:
        """Rows like those of `likes`, of others' likes [histories, items]."""
        return _unit(liked @ sparse.diags(self.scale))

    def vectors(self, rows: sparse.csr_matrix) -> Floats:
        """Users' vectors from such rows; zero where nothing was liked."""
        there = np.diff(rows.indptr)[:, None] > 0
        vectors: Floats = np.where(there, rows @ self.basis - self.centre, 0).astype(np.float32)
        return vectors

    def company_of(self, user: int, time: float, nearest: int = 5) -> float:
        """How popular that is what a user took about then, above the mean of what is taken."""
        first, last = int(self.starts[user]), int(self.starts[user + 1])
        if first == last:
            return 0.0
        place = first + int(np.searchsorted(self.times[first:last], time))
        low, high = max(first, place - nearest), min(last, place + nearest)
        near = low + np.argsort(np.abs(self.times[low:high] - time), kind="stable")[:nearest]
        return float(self.company[near].mean())


class Foreseen(NamedTuple):
    """What their features say of new items.

    Attributes:
        popularity: logarithm of likes [c].
        recent: likewise, at each moment [moments, c].
        deviation: of ratings from their mean [c].
        vectors: of those who will like them [c, WIDTH].
        words: popularity, beyond kinds and numbers, of known items with words alike [c].
        relative: how far an item's numbers are above those of the others [c, numbers].
    """

    popularity: Floats
    recent: Floats
    deviation: Floats
    vectors: Floats
    words: Floats
    relative: Floats

    @classmethod
    def of(cls, elsewhere: Elsewhere, catalogue: Content, new: Content) -> "Foreseen":
        """What is foreseen for new items, whose features are coded as the catalogue's."""
        said = crossed(new, elsewhere.columns, elsewhere.words) @ elsewhere.weights
        m = len(elsewhere.moments)
        return cls(
            popularity=said[:, 0],
            recent=said[:, 1 : 1 + m].T,
            vectors=said[:, 1 + m : -1],
            deviation=said[:, -1],
            words=_words(elsewhere, catalogue, new),
            relative=_standard(new.levels),
        )


def foreseen_factors(
    content: Content, factors: Floats, counts: Floats
) -> Callable[[Content], Floats]:
    """What features foresee of items' factors: a function of the features of other items.

    Args:
        content: of known items.
        factors: of these [items, width].
        counts: likes of each [items]; those without any say nothing.
    """
    known = counts > 0
    columns, words = _common(content.kinds[known], KINDS), _common(content.tokens[known], TOLD)
    weights = _ridge(crossed(content, columns, words)[known], factors[known])
    return lambda new: crossed(new, columns, words) @ weights


def crossed(content: Content, columns: NDArray[np.int64], words: NDArray[np.int64]) -> Floats:
    """One, kinds, numbers, words, and products of kinds with numbers [items, features]."""
    kinds = content.kinds[:, columns].toarray()
    told = content.tokens[:, words].toarray()
    blocks = [np.ones((len(kinds), 1), np.float32), kinds, content.numbers, told]
    if 0 < kinds.shape[1] * content.numbers.shape[1] <= CROSSED:
        products = 0.5 * kinds[:, :, None] * content.numbers[:, None]
        blocks.append(products.reshape(len(kinds), -1))
    joined: Floats = np.concatenate(blocks, axis=1, dtype=np.float32)
    return joined


def _common(block: sparse.csr_matrix, most: int, *, at_most: float = 1.0) -> NDArray[np.int64]:
    """Its most common columns, in order, but for those of more than this share of rows."""
    count = np.diff(sparse.csc_matrix(block).indptr)
    count[count > at_most * block.shape[0]] = 0
    common = np.argsort(-count, kind="stable")[:most]
    return np.sort(common[count[common] > 1])


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(lengths, 1e-9)) @ rows, dtype=np.float32)


def _basis(likes: sparse.csr_matrix) -> Floats:
    """The leading right singular vectors [items, WIDTH]; zeros beyond the rank."""
    basis = np.zeros((likes.shape[1], WIDTH), np.float32)
    width = min(WIDTH, *likes.shape)
    if likes.nnz:
        from sklearn.utils.extmath import randomized_svd  # slow to import, and only training asks

        basis[:, :width] = randomized_svd(likes, width, n_iter=4, random_state=0)[2].T
    return basis


def _recent(liked: Log, span: float) -> tuple[NDArray[np.float64], Floats]:
    items = len(liked.items)
    if not len(liked.time):
        return np.zeros(1), np.full((1, items), np.log(0.5), np.float32)
    moments = np.unique(np.quantile(liked.time, np.linspace(0, 1, MOMENTS)))
    recent = np.empty((len(moments), items), np.float32)
    for place, moment in enumerate(moments):
        weights = np.exp(-np.abs(liked.time - moment) / (FADING * span))
        total = np.bincount(liked.item, weights, items) * len(weights) / weights.sum()
        recent[place] = np.log(total + 0.5)
    return moments, recent


def _rated(log: Log, features: Floats) -> Floats:
    """Weights of features for how far items are rated above the mean, users' biases taken off."""
    mean = float(log.value.mean()) if len(log.value) else 0.0
    each = np.bincount(log.user, minlength=len(log.users))
    bias = np.bincount(log.user, log.value - mean, len(log.users)) / (each + USER_SHRINKAGE)
    counts = np.bincount(log.item, minlength=len(log.items))
    off = np.bincount(log.item, log.value - mean - bias[log.user], len(log.items))
    root = np.sqrt(counts).astype(np.float32)[:, None]
    targets = (off[:, None] / np.maximum(root, 1)).astype(np.float32)
    return _ridge(features * root, targets)


def _vectors(liked: Log, theirs: Floats, counts: Floats) -> Floats:
    """The mean vector of those who liked each item, shrunk [items, WIDTH]."""
    ones = np.ones(len(liked.item), np.float32)
    by = sparse.csr_matrix((ones, (liked.item, liked.user)), (len(liked.items), len(theirs)))
    return np.asarray((by @ theirs) / (counts[:, None] + SHRINKAGE), np.float32)


def _ridge(features: Floats, targets: Floats) -> Floats:
    """Weights of a ridge regression; the first feature is one and is not shrunk."""
    gram = features.T @ features + PENALTY * np.eye(features.shape[1], dtype=np.float32)
    gram[0, 0] += 1e-3 - PENALTY
    weights: Floats = np.linalg.solve(gram, features.T @ targets).astype(np.float32)
    return weights


def _words(elsewhere: Elsewhere, catalogue: Content, new: Content) -> Floats:
    there = np.asarray((catalogue.tokens != 0).sum(0)).ravel()
    telling = np.flatnonzero((there > 0) & (there <= COMMON))
    if not len(telling):
        return np.zeros(len(new.names), np.float32)
    alike = sparse.csr_matrix(new.tokens[:, telling] @ catalogue.tokens[:, telling].T)
    alike.data **= 2
    total = np.asarray(alike.sum(1)).ravel()
    return np.asarray((alike @ elsewhere.left) / (total + 0.5), np.float32)


def _relative(content: Content) -> Floats:
    """Numbers less the mean of items of the same kind, by the column that tells most of them."""
    levels = content.levels
    relative = _standard(levels)
    for number in range(levels.shape[1]):
        column = np.nan_to_num(relative[:, number])
        least = float((column**2).sum())
        for where in content.coding.tag_columns.values():
            kinds = sparse.csr_matrix(content.kinds[:, where] != 0, dtype=np.float32)
            each = np.asarray(kinds.sum(0)).ravel() + SHRINKAGE
            usual = (kinds @ ((kinds.T @ column) / each)) / np.maximum(np.diff(kinds.indptr), 1)
            left = float(((column - usual) ** 2).sum())
            if left < least:
                least, relative[:, number] = left, column - usual
    return _standard(np.where(np.isfinite(levels), relative, np.nan))


def _standard(levels: Floats) -> Floats:
    """Columns of mean zero and spread one; zero where not known."""
    known = np.isfinite(levels)
    count = np.maximum(known.sum(0), 1)
    centred = np.where(known, levels - np.where(known, levels, 0).sum(0) / count, 0)
    spread = np.sqrt((centred**2).sum(0) / count)
    standard: Floats = (centred / np.maximum(spread, 1e-6)).astype(np.float32)
    return standard

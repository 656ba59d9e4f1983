"""What past interactions say of items, in closed form: the evidence that a history is read with."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from quickstudy.apps.recommend.factors import Factors
from quickstudy.apps.recommend.log import Log

Floats = NDArray[np.float32]

NEIGHBOURS = 200
"""Neighbours kept of an item."""
LIKES_COUNTED = 500
"""Of one user, in co-occurrences, so that one who rates everything costs no more than others."""
EASE_ITEMS = 2048
"""The most liked items are those with enough support for a regression among themselves."""
EASE_PENALTY = 200.0
MOMENTS = 32
"""Points in time at which recent popularity is known."""
RECENT = (0.015, 0.05, 0.15)
"""How fast popularity fades, in spans of the log's time."""
BINS = 64
"""Times are rounded to this part of the fastest fading."""
SHRINKAGE = 5.0
"""Ratings that an item's mean is mixed with, all of the overall mean."""
ALIKE_SHRINKAGE = 20.0
"""Likes that those of users alike, and those expected, are mixed with."""
HELD = 2**24
"""Co-occurrences that are held at once."""


class History(NamedTuple):
    """One user's interactions in a catalogue.

    Attributes:
        items: places in the catalogue, int64 [k].
        values: ratings, float32 [k].
        time: the moment of recommendation, in the log's units.
        about: features of the user, float32 [f], as `people.Traits` reads them; None where nothing
            is known.
    """

    items: NDArray[np.int64]
    values: Floats
    time: float
    about: Floats | None = None


class Statistics(NamedTuple):
    """Popularity, recent popularity, neighbours, a regression among items, and rating factors.

    Attributes:
        items: how many there are.
        scale: of ratings; None where feedback is implicit.
        liked_from: the lowest rating of what was liked.
        mean: of all ratings.
        counts: interactions of each item [items].
        likes: users who liked it [items].
        deviation: of its mean rating from that of all, shrunk [items].
        born: when it was first wanted [items]; infinite where never.
        span: of the log's time.
        now: the log's last moment.
        moments: points in time [m].
        recent: log-popularity near each, by rates of fading [m, len(RECENT), items].
        neighbours: cosines of likes [items, items], of each item's nearest.
        eased: the items of the regression [e].
        ease: its weights [e, e].
        factors: of ratings, where wanted.
        tastes: how much more users of each feature like each item than all users do, logarithms
            [features, items]; None where nothing is known of users.
    """

    items: int
    scale: tuple[float, float] | None
    liked_from: float
    mean: float
    counts: Floats
    likes: Floats
    deviation: Floats
    born: NDArray[np.float64]
    span: float
    now: float
    moments: NDArray[np.float64]
    recent: Floats
    neighbours: sparse.csr_matrix
    eased: NDArray[np.int64]
    ease: Floats
    factors: Factors | None
    tastes: Floats | None = None

    @classmethod
    def of(cls, log: Log, *, factors: bool = True, about: Floats | None = None) -> "Statistics":
        """Statistics of all that a log holds.

        Args:
            log: the interactions.
            factors: whether ratings' are wanted too.
            about: features of the log's users [users, features]; None where nothing is known.
        """
        items = len(log.items)
        liked = log.rows(log.liked)
        counts = np.bincount(log.item, minlength=items).astype(np.float32)
        likes = np.bincount(liked.item, minlength=items).astype(np.float32)
        mean = float(log.value.mean()) if len(log.value) else 0.0
        deviations = np.bincount(log.item, log.value - mean, items)
        deviation = (deviations / (counts + SHRINKAGE)).astype(np.float32)
        span = float(np.ptp(np.quantile(log.time, (0.05, 0.95)))) or 1.0
        moments, recent = _recent_popularity(liked, span, len(np.unique(log.user)))
        matrix = _matrix(liked)
        eased, ease = _ease(matrix, likes)
        return cls(
            items=items,
            scale=log.scale,
            liked_from=log.liked_from,
            mean=mean,
            counts=counts,
            likes=likes,
            deviation=deviation,
            born=_first_times(log, items),
            span=span,
            now=float(log.time.max(initial=0)),
            moments=moments,
            recent=recent,
            neighbours=_neighbours(matrix, likes),
            eased=eased,
            ease=ease,
            factors=Factors.of(log) if factors else None,
            tastes=None if about is None else _tastes(matrix, about[np.unique(liked.user)]),
        )

    def recently_liked(self, times: NDArray[np.float64]) -> Floats:
        """Log-popularity near each moment: [moments, rates of fading, items]."""
        nearest = np.abs(times[:, None] - self.moments[None]).argmin(1)
        recent: Floats = self.recent[nearest]
        return recent

    def age(self, times: NDArray[np.float64], items: NDArray[np.int64]) -> Floats:
        """How long ago these items were first seen, in spans of time, -1..1: [moments, items].

        Those that nobody has wanted yet are new.
        """
        past = (times[:, None] - self.born[items][None]) / (RECENT[-1] * self.span)
        return np.tanh(np.nan_to_num(past, nan=0.0, neginf=0.0)).astype(np.float32)

    def eased_scores(self, profile: sparse.csr_matrix) -> Floats:
        """Scores of the regression among items (EASE, Steck 2019, eq. 8): [histories, items]."""
        scores = np.zeros((profile.shape[0], self.items), np.float32)
        scores[:, self.eased] = profile[:, self.eased] @ self.ease
        return scores


def _first_times(log: Log, items: int) -> NDArray[np.float64]:
    born = np.full(items, np.inf)
    np.minimum.at(born, log.item, log.time)
    return born


def _recent_popularity(liked: Log, span: float, users: int) -> tuple[NDArray[np.float64], Floats]:
    items = len(liked.items)
    if not len(liked.time):
        return np.zeros(1), np.zeros((1, len(RECENT), items), np.float32)
    moments = np.unique(np.quantile(liked.time, np.linspace(0, 1, MOMENTS)))
    recent = np.empty((len(moments), len(RECENT), items), np.float32)
    times, counts = _in_bins(liked, RECENT[0] * span / BINS)
    totals = np.asarray(counts.sum(1)).ravel()
    for place, moment in enumerate(moments):
        distance = np.abs(times - moment) / span
        weights = np.exp(-distance / np.array(RECENT)[:, None])
        total = (counts.T @ weights.T).T
        # As shares of a user's likes near then; nobody's taste is half a user's.
        scale = len(liked.time) / np.maximum(weights @ totals, 1e-9) / users
        recent[place] = np.log(total * scale[:, None] + 0.5 / users)
    return moments, recent


def _in_bins(liked: Log, width: float) -> tuple[NDArray[np.float64], sparse.csr_matrix]:
    """Likes counted by short times: the mean moment of each [bins], counts [bins, items]."""
    _, bins = np.unique((liked.time // width).astype(np.int64), return_inverse=True)
    sizes = np.bincount(bins)
    ones = np.ones(len(bins), np.float32)
    counts = sparse.csr_matrix((ones, (bins, liked.item)), (len(sizes), len(liked.items)))
    return np.bincount(bins, liked.time) / sizes, counts


def _matrix(liked: Log) -> sparse.csr_matrix:
    """Who liked what [users, items]; of one user's likes the latest ones."""
    users, rows = np.unique(liked.user, return_inverse=True)
    order = np.lexsort((-liked.time, rows))
    starts = np.searchsorted(rows[order], np.arange(len(users)))
    place = np.arange(len(order)) - starts[rows[order]]
    kept = order[place < LIKES_COUNTED]
    ones = np.ones(len(kept), np.float32)
    shape = (len(users), len(liked.items))
    return sparse.csr_matrix((ones, (rows[kept], liked.item[kept])), shape)


def _tastes(matrix: sparse.csr_matrix, about: Floats) -> Floats:
    """Logarithms of likes by users of each feature over those expected [features, items].

    Expected is the feature's part of all likes times the item's. Both are mixed with a few likes,
    which is the posterior mean of their ratio under a gamma prior of mean one (DuMouchel 1999,
    Bayesian data mining in large frequency tables, with one component of the prior).
    """
    observed = np.asarray(matrix.T @ about, np.float32).T
    likes = np.asarray(matrix.sum(0), np.float32).ravel()
    expected = observed.sum(1, keepdims=True) * (likes / max(likes.sum(), 1.0))
    ratio: Floats = np.log((observed + ALIKE_SHRINKAGE) / (expected + ALIKE_SHRINKAGE))
    return ratio.astype(np.float32)


def _neighbours(matrix: sparse.csr_matrix, likes: Floats) -> sparse.csr_matrix:
    """The cosines of each item's likes with those of its nearest neighbours [items, items]."""
    scale = 1 / np.sqrt(np.maximum(likes, 1))
    scaled = sparse.csr_matrix(matrix @ sparse.diags(scale.astype(np.float32)))
    return sparse.csr_matrix(
        sparse.vstack([_nearest(block) for block in _cosines(scaled)]), dtype=np.float32
    )


def _cosines(scaled: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
    turned = sparse.csr_matrix(scaled.T)
    some = max(HELD // turned.shape[0], 1)
    for start in range(0, turned.shape[0], some):
        block = sparse.csr_matrix(turned[start : start + some] @ scaled)
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        block.data[block.indices == rows + start] = 0  # an item is no neighbour of itself
        yield block


def _nearest(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """The largest entries of each row."""
    kept = []
    for start, end in pairwise(block.indptr.tolist()):
        row = block.data[start:end]
        if len(row) > NEIGHBOURS:
            kept.append(start + np.argpartition(-row, NEIGHBOURS)[:NEIGHBOURS])
        else:
            kept.append(np.arange(start, end))
    places = np.concatenate(kept)
    rows = np.repeat(np.arange(block.shape[0]), [len(row) for row in kept])
    there = block.data[places] > 0
    pairs = (rows[there], block.indices[places[there]])
    return sparse.csr_matrix((block.data[places[there]], pairs), block.shape)


def _ease(matrix: sparse.csr_matrix, likes: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The weights of a ridge regression of each item on all others, among the most liked."""
    chosen = np.sort(np.argsort(-likes, kind="stable")[:EASE_ITEMS])
    chosen = chosen[likes[chosen] > 0]
    if not len(chosen):
        return chosen, np.zeros((0, 0), np.float32)
    among = matrix[:, chosen]
    gram = np.asarray((among.T @ among).todense(), np.float32)
    gram[np.diag_indices_from(gram)] += EASE_PENALTY
    inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
    weights = -inverse / np.diag(inverse)[None]
    np.fill_diagonal(weights, 0)
    return chosen, np.ascontiguousarray(weights, np.float32)

"""What speaks for an item of a new category, for one user, as numbers that a head weighs."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.content import Content, alike
from quickstudy.apps.recommend.elsewhere import Elsewhere, Foreseen
from quickstudy.apps.recommend.evidence import profiles
from quickstudy.apps.recommend.launches import Asked, Launch, Support

Floats = NDArray[np.float32]

PRIOR_LIKES = 5.0
"""Likes that a category is foreseen to have, in the shares that its items are foreseen to have."""
LATELY = 0.1
"""How fast likes in the category fade, in spans of the log's time."""
EVIDENCE = (
    "popularity",
    "log likes",
    "log interactions",
    "likes of the choosy",
    "interactions of the choosy",
    "likes lately",
    "company of likes",
    "likes of similar items",
    "popularity foreseen",
    "popularity foreseen for the moment",
    "popularity of similar words",
    "rating foreseen",
    "ratings",
    "neighbours who liked it",
    "taste of those who liked it",
    "taste of those foreseen",
    "tags of liked",
    "tags of others",
    "words of liked",
    "numbers of history",
    "numbers beside those of its kind",
    "log support size",
    "log history size",
)
"""What the first columns are; more follow, one for each column of tags that items have."""
TAG_COLUMNS = 8
"""Columns of tags whose evidence is told apart, at most."""


class Newcomers:
    """New items, what their features say, and what their first interactions say.

    Args:
        elsewhere: what interactions with other items say.
        catalogue: features of those others.
        content: features of the new items [c].
        foreseen: what is foreseen from these.
        support: the first interactions.
        liked_from: the lowest rating of what was liked.
    """

    def __init__(
        self,
        elsewhere: Elsewhere,
        catalogue: Content,
        content: Content,
        foreseen: Foreseen,
        support: Support,
        liked_from: float,
    ) -> None:
        self.elsewhere, self.catalogue = elsewhere, catalogue
        self.content, self.foreseen = content, foreseen
        self.support, self.liked_from = support, liked_from

    def evidence(self, asked: Sequence[Asked]) -> Floats:
        """Evidence for every new item [asked, c, len(names)]."""
        known, new, items = self.catalogue, self.content, len(self.content.names)
        histories = [one.history for one in asked]
        liked, others, both = profiles(histories, len(self.catalogue.names), self.liked_from)
        times = np.array([history.time for history in histories])
        rows = self.elsewhere.rows(liked)
        own = _taken([one.liked for one in asked], items)
        others_own = _taken([np.setdiff1d(one.seen, one.liked) for one in asked], items)
        columns = [
            *(column[None] for column in self._counted),
            self._lately(times),
            *(column[None] for column in self._read),
            self._foreseen_at(times),
            self.foreseen.words[None],
            self.foreseen.deviation[None],
            self._ratings[None],
            *self._tastes(rows, asked),
            alike(liked @ known.kinds + own @ new.kinds, new.kinds),
            alike(others @ known.kinds + others_own @ new.kinds, new.kinds),
            alike(liked @ known.tokens + own @ new.tokens, new.tokens),
            (both @ known.numbers + (own + others_own) @ new.numbers) @ new.numbers.T,
            self._beside(both, own + others_own),
            np.full((1, 1), np.log1p(len(self.support.item))),
            np.log1p([[len(history.items)] for history in histories]),
            *(alike(liked @ there + own @ here, here) for there, here in self._told_apart.values()),
        ]
        evidence = np.empty((len(asked), items, len(columns)), np.float32)
        for place, column in enumerate(columns):
            evidence[:, :, place] = column
        return evidence

    @property
    def names(self) -> list[str]:
        """What each column of the evidence is."""
        return [*EVIDENCE, *(f"{name}, as of liked" for name in self._told_apart)]

    @cached_property
    def _told_apart(self) -> dict[str, tuple[sparse.csr_matrix, sparse.csr_matrix]]:
        """Columns of tags, where there are several: known items' and new ones'."""
        columns = self.catalogue.coding.tag_columns
        few = list(columns)[:TAG_COLUMNS]
        blocks = self.catalogue.kinds, self.content.kinds
        apart = {name: tuple(block[:, columns[name]] for block in blocks) for name in few}
        return apart if len(few) > 1 else {}

    def _beside(self, both: sparse.csr_matrix, own: sparse.csr_matrix) -> Floats:
        """Whether numbers are above those of their kind, where the user's were [asked, c]."""
        sizes = np.diff(both.indptr)[:, None]
        taken = both @ self.elsewhere.relative * np.sqrt(np.maximum(sizes, 1))  # sums
        taken = (taken + 5 * own @ self.foreseen.relative) / (sizes + PRIOR_LIKES)
        beside: Floats = (taken @ self.foreseen.relative.T).astype(np.float32)
        return beside

    @property
    def liked(self) -> NDArray[np.bool_]:
        """Which interactions of the support set are likes [n]."""
        return np.asarray(self.support.value >= self.liked_from)

    def _count(self, weights: NDArray[np.floating] | None = None, *, likes: bool = True) -> Floats:
        """Likes or interactions of each item, weighted [c]."""
        weights = np.ones(len(self.support.item)) if weights is None else weights
        chosen = self.liked if likes else np.ones(len(self.support.item), bool)
        counted = np.bincount(self.support.item[chosen], weights[chosen], len(self.content.names))
        return counted.astype(np.float32)

    @cached_property
    def _counted(self) -> list[Floats]:
        """Popularity that is foreseen and counted; the choosy, who take little, take the best."""
        share = np.exp(self.foreseen.popularity - self.foreseen.popularity.max())
        share /= share.sum()
        known = self.support.user >= 0
        sizes = self.elsewhere.sizes[self.support.user * known] * known
        choosy = 2 / np.log(4 + sizes)
        return [
            np.log(self._count() + PRIOR_LIKES * share),
            np.log1p(self._count()),
            np.log1p(self._count(likes=False)),
            np.log1p(self._count(choosy)),
            np.log1p(self._count(choosy, likes=False)),
        ]

    def _lately(self, times: NDArray[np.float64]) -> Floats:
        """Logarithm of likes, the sooner before a moment the more [asked, c]."""
        support = self.support
        age = np.abs(times[:, None] - support.time[None]) / (LATELY * self.elsewhere.span)
        weights = np.exp(-np.nan_to_num(age)) * self.liked[None]  # of unknown times, just now
        at = _at(support.item, len(self.content.names))
        lately: Floats = np.log1p(weights @ at).astype(np.float32)
        return lately

    @cached_property
    def _read(self) -> list[Floats]:
        """What those who took an item took then, likes of similar items, what is foreseen."""
        support = self.support
        company = np.array(
            [
                self.elsewhere.company_of(user, time) if user >= 0 and np.isfinite(time) else 0.0
                for user, time in zip(support.user.tolist(), support.time.tolist(), strict=True)
            ]
        )
        near = self._count(company, likes=False) / (self._count(likes=False) + 1)
        return [near, self._smoothed(), self.foreseen.popularity]

    def _smoothed(self) -> Floats:
        """Logarithm of the mean likes of items, the more alike the heavier [c]."""
        likes = self._count()
        above = np.zeros(len(likes), np.float32)
        below = np.full(len(likes), 1e-6, np.float32)
        for block in (self.content.kinds, self.content.numbers):
            if block.shape[1]:
                above += block @ (block.T @ likes)
                below += block @ (block.T @ np.ones_like(likes))
        smoothed: Floats = np.log(above / below + 0.1).astype(np.float32)
        return smoothed

    def _foreseen_at(self, times: NDArray[np.float64]) -> Floats:
        nearest = np.abs(times[:, None] - self.elsewhere.moments[None]).argmin(1)
        at: Floats = self.foreseen.recent[nearest]
        return at

    @cached_property
    def _ratings(self) -> Floats:
        """How far an item's ratings are from the mean of the support's, shrunk [c]."""
        if not len(self.support.value):
            return np.zeros(len(self.content.names), np.float32)
        off = self._count(self.support.value - self.support.value.mean(), likes=False)
        rated: Floats = (off / (self._count(likes=False) + PRIOR_LIKES)).astype(np.float32)
        return rated

    def _tastes(self, rows: sparse.csr_matrix, asked: Sequence[Asked]) -> list[Floats]:
        """Likeness of a user to those who liked an item, and to those who are foreseen to."""
        here, support, items = self.elsewhere, self.support, len(self.content.names)
        known = self.liked & (support.user >= 0)
        by, of = support.user[known], support.item[known]
        users = np.array([one.user for one in asked])
        near = np.maximum((rows @ here.likes[by].T).toarray(), 0)
        near[users[:, None] == by[None]] = 0  # nobody is a neighbour of their own
        at = _at(of, items)
        theirs = here.vectors(rows) / here.length
        return [
            np.sqrt(near @ at).astype(np.float32),
            theirs @ self._folded.T,
            theirs @ self.foreseen.vectors.T / here.length,
        ]

    @cached_property
    def _folded(self) -> Floats:
        """Mean vectors of those who liked each item, mixed with those foreseen [c, width]."""
        known = self.liked & (self.support.user >= 0)
        at = _at(self.support.item[known], len(self.content.names))
        summed = at.T @ self.elsewhere.theirs[self.support.user[known]]
        summed = summed + PRIOR_LIKES * self.foreseen.vectors
        counts = np.asarray(at.sum(0)).ravel()[:, None] + PRIOR_LIKES
        folded: Floats = (summed / counts / self.elsewhere.length).astype(np.float32)
        return folded


def _taken(places: Sequence[NDArray[np.int64]], items: int) -> sparse.csr_matrix:
    """What users took of the new items themselves [asked, c]; a fifth of their taste each."""
    row = np.repeat(np.arange(len(places)), [len(of) for of in places])
    column = np.concatenate([*places, np.empty(0, np.int64)])
    data = np.full(len(row), 0.2, np.float32)
    return sparse.csr_matrix((data, (row, column)), (len(places), items))


def _at(items: NDArray[np.int64], count: int) -> sparse.csr_matrix:
    """Ones at each interaction's item [interactions, items]."""
    ones = np.ones(len(items), np.float32)
    return sparse.csr_matrix((ones, (np.arange(len(items)), items)), (len(items), count))


def newcomers(
    elsewhere: Elsewhere,
    catalogue: Content,
    launch: Launch,
    liked_from: float,
    foreseen: Foreseen | None = None,
) -> Newcomers:
    """The items of a launch, which are in the catalogue and of which the log knows nothing."""
    content = catalogue.at(launch.items)
    foreseen = Foreseen.of(elsewhere, catalogue, content) if foreseen is None else foreseen
    return Newcomers(elsewhere, catalogue, content, foreseen, launch.support, liked_from)

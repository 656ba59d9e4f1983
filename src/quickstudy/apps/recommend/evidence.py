"""What speaks for an item after a history, as numbers that a head weighs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.content import Content, alike
from quickstudy.apps.recommend.statistics import History, Statistics

Floats = NDArray[np.float32]

RANKING = (
    "log likes",
    "log interactions",
    "liked just now",
    "liked lately",
    "liked of late",
    "mean rating",
    "neighbours of liked",
    "neighbours of others",
    "regression on liked",
    "tags of liked",
    "tags of others",
    "words of liked",
    "numbers of history",
    "age",
    "support size",
)
"""What each column of the evidence for ranking is, where nothing is known of users."""
ALIKE = len(RANKING)
"""The place of one more column, where something is."""
FIRST_RATE = RANKING.index("liked just now")
LATELY = RANKING.index("liked lately")
NEIGHBOURS = RANKING.index("neighbours of liked")

RATING = (
    "item level",
    "log interactions",
    "user bias",
    "spread of history",
    "factors",
    "neighbours",
    "content",
    "support size",
)
"""What each column of the evidence for ratings is."""
FACTORS = RATING.index("factors")


def ranking_names(known: Statistics) -> tuple[str, ...]:
    """What each column of the evidence for ranking is."""
    return RANKING if known.tastes is None else (*RANKING, "liked by users alike")


def profiles(
    histories: Sequence[History], items: int, liked_from: float
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, sparse.csr_matrix]:
    """What was liked, what was not, and all of it [histories, items]; rows of length one."""
    built = []
    for wanted in (True, False, None):
        chosen = [
            h.items if wanted is None else h.items[(h.values >= liked_from) == wanted]
            for h in histories
        ]
        sizes = np.array([len(c) for c in chosen])
        rows = np.repeat(np.arange(len(chosen)), sizes)
        columns = np.concatenate([*chosen, np.empty(0, np.int64)])
        data = (1 / np.sqrt(np.maximum(sizes, 1)))[rows].astype(np.float32)
        built.append(sparse.csr_matrix((data, (rows, columns)), (len(chosen), items)))
    return built[0], built[1], built[2]


def for_ranking(
    known: Statistics,
    content: Content,
    histories: Sequence[History],
    items: NDArray[np.int64] | None = None,
) -> Floats:
    """Evidence for every item of the catalogue, or for these, [histories, items, columns].

    `ranking_names` says what the columns are.
    """
    at = np.arange(known.items) if items is None else items
    liked, others, both = profiles(histories, known.items, known.liked_from)
    times = np.array([history.time for history in histories])
    recent = known.recently_liked(times)
    sizes = np.log1p(np.array([len(h.items) for h in histories], np.float32))
    blocks = content.kinds, content.tokens
    kinds, tokens = blocks if items is None else (block[items] for block in blocks)
    columns = [
        np.log1p(known.likes[at])[None],
        np.log1p(known.counts[at])[None],
        recent[:, 0, at],
        recent[:, 1, at],
        recent[:, 2, at],
        known.deviation[at][None],
        np.sqrt((liked @ known.neighbours).toarray()[:, at]),
        np.sqrt((others @ known.neighbours).toarray()[:, at]),
        np.clip(known.eased_scores(liked)[:, at], -0.1, 1.0),
        alike(liked @ content.kinds, kinds),
        alike(others @ content.kinds, kinds),
        alike(liked @ content.tokens, tokens),
        (both @ content.numbers) @ content.numbers[at].T,
        known.age(times, at),
        sizes[:, None],
    ]
    if known.tastes is not None:
        columns.append(_abouts(histories, len(known.tastes)) @ known.tastes[:, at])
    evidence = np.empty((len(histories), len(at), len(columns)), np.float32)
    for place, column in enumerate(columns):
        evidence[:, :, place] = column
    return evidence


def _abouts(histories: Sequence[History], width: int) -> Floats:
    """Features of users [histories, width]; zeros where nothing is known."""
    abouts = np.zeros((len(histories), width), np.float32)
    for row, history in enumerate(histories):
        if history.about is not None:
            abouts[row] = history.about
    return abouts


def expected(known: Statistics, history: History, prior: dict[int, float]) -> Floats:
    """What a prior on recent popularity, neighbours and users alike says of every item [items]."""
    liked = history.items[history.values >= known.liked_from]
    near = np.asarray(known.neighbours[liked].sum(0)).ravel() / np.sqrt(max(len(liked), 1))
    popular = known.recently_liked(np.array([history.time]))[0, LATELY - FIRST_RATE]
    score: Floats = prior[LATELY] * popular + prior[NEIGHBOURS] * np.sqrt(near)
    if known.tastes is not None and history.about is not None:
        told = np.flatnonzero(history.about)  # a few of perhaps many
        score = score + prior.get(ALIKE, 0.0) * (history.about[told] @ known.tastes[told])
    return score


def likely(
    known: Statistics, content: Content, history: History, prior: dict[int, float], count: int
) -> NDArray[np.int64]:
    """The items that may come first: by the prior, and by likeness to the history's features.

    Args:
        known: statistics.
        content: features.
        history: one user's.
        prior: weights of recent popularity, of neighbours and of users alike.
        count: of items by the prior; a quarter of that many come by their features.
    """
    liked, _, both = profiles([history], known.items, known.liked_from)
    score = expected(known, history, prior)
    alike = content.numbers @ (both @ content.numbers)[0]
    for features in (content.kinds, content.tokens):
        if features.shape[1]:
            alike = alike + features @ (liked @ features).toarray()[0]
    chosen = [_first(score, count), _first(alike, count // 4)]
    return np.unique(np.concatenate(chosen))


def _first(scores: Floats, count: int) -> NDArray[np.int64]:
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, count)[:count]


def for_rating(
    known: Statistics, content: Content, history: History, items: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Evidence for ratings of some items [m, len(RATING)], and what bias and means say [m]."""
    factors = known.factors
    assert factors is not None, "statistics of ratings"
    left = history.values - factors.level[history.items]
    bias = factors.bias(left)
    residual = left - bias
    support = len(history.items)
    mine = factors.user(history.items, residual)
    near = known.neighbours[items][:, history.items]
    alike = _similarity(content, items, history.items)
    with np.errstate(invalid="ignore"):  # BLAS now and then says so of numbers that are all finite
        taste, likeness = factors.items[items] @ mine, alike @ residual
    columns = [
        factors.level[items] - known.mean,
        np.log1p(known.counts[items]),
        np.full(len(items), bias),
        np.full(len(items), residual.std() if support else 0.0),
        taste,
        (near @ residual) / (np.asarray(near.sum(1)).ravel() + 0.2),
        likeness / (alike.sum(1) + 2.0),
        np.full(len(items), np.log1p(support)),
    ]
    plain = factors.level[items] + bias
    return np.stack(columns, axis=1).astype(np.float32), plain.astype(np.float32)


def _similarity(content: Content, items: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
    """Similarity of features, between 0 and 1 [items, others]."""
    blocks = [
        (block[items] @ block[others].T).toarray()
        for block in (content.kinds, content.tokens)
        if block.shape[1]
    ]
    if content.numbers.shape[1]:
        blocks.append(content.numbers[items] @ content.numbers[others].T)
    if not blocks:
        return np.zeros((len(items), len(others)), np.float32)
    mean: Floats = np.mean(blocks, axis=0)
    return mean

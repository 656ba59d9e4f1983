"""Which items to ask a user about: those they are likely to know, and whose answer says most."""

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.factors import Factors
from quickstudy.apps.recommend.reader import SHORTLIST, Reader
from quickstudy.apps.recommend.statistics import History


def questions(
    reader: Reader, history: History, count: int
) -> tuple[NDArray[np.int64], list[float]]:
    """Items to ask about, the first first, and what an answer is expected to say, in nats.

    A user can only answer about what they know. The expected information of a question is the
    chance that the item is known times the information of its rating. For the chance stands that
    of coming next in the ranking, so only ratios of what is expected mean anything. The information
    is that of one observation in the ridge regression that finds a user's factors: with the items
    of the history (and those asked before, as if all had been answered) in the rows of V,
    .5 log(1 + v' (V'V + lambda I)^-1 v). Where feedback is implicit there are no factors, and the
    chance alone decides.

    Rashid et al. 2002, Getting to know you: learning new user preferences in recommender systems,
    weigh popularity by the entropy of ratings. Differs: the chance is that of this user, and what
    was answered before makes what is alike less worth asking.

    Args:
        reader: what was learned.
        history: one user's; it may be empty.
        count: how many at most; none of the history comes.
    """
    if len(reader.content.names) > SHORTLIST:
        places, scores = reader.shortlist(history)
    else:
        places, scores = np.arange(reader.known.items), reader.rank([history])[0]
    unseen = ~np.isin(places, history.items)
    places = places[unseen]
    chance = _shares(scores[unseen].astype(np.float64))
    if reader.known.factors is None:
        order = np.argsort(-chance, kind="stable")[:count]
        return places[order], chance[order].tolist()
    return _most_informative(reader.known.factors, history, places, chance, count)


def _most_informative(
    factors: Factors,
    history: History,
    places: NDArray[np.int64],
    chance: NDArray[np.float64],
    count: int,
) -> tuple[NDArray[np.int64], list[float]]:
    """One by one the items of the highest expected information, given those before."""
    vectors = factors.items[places].astype(np.float64)
    covariance = _covariance(factors, history)
    left = np.ones(len(places), bool)
    chosen: list[int] = []
    expected: list[float] = []
    for _ in range(min(count, len(places))):
        variance = np.einsum("id,de,ie->i", vectors, covariance, vectors, optimize=True)
        gain = np.where(left, 0.5 * chance * np.log1p(variance), -np.inf)
        best = int(gain.argmax())
        left[best] = False
        chosen.append(best)
        expected.append(float(gain[best]))
        towards = covariance @ vectors[best]
        covariance -= np.outer(towards, towards) / (1 + vectors[best] @ towards)
    return places[chosen], expected


def _covariance(factors: Factors, history: History) -> NDArray[np.float64]:
    """Of a user's factors after the ratings of a history, in units of a rating's variance."""
    chosen = factors.items[history.items].astype(np.float64)
    gram = chosen.T @ chosen
    gram[np.diag_indices_from(gram)] += factors.penalty * max(len(chosen), 1)
    return np.asarray(np.linalg.inv(gram), np.float64)


def _shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive and of sum one: softmax."""
    weights = np.exp(scores - scores.max(initial=-np.inf))
    shares: NDArray[np.float64] = weights / max(weights.sum(), 1e-300)
    return shares

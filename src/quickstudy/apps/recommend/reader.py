"""Reading a history: closed-form evidence, weighed by heads that are meta-learned across users.

Whatever is learned from a training user's tasks must not have been counted from the same user:
training users are divided into folds, and each fold is judged by the statistics of the others.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.evidence import (
    ALIKE,
    FACTORS,
    LATELY,
    NEIGHBOURS,
    expected,
    for_ranking,
    for_rating,
    likely,
)
from quickstudy.apps.recommend.heads import Head, RankingTask, train_ranking, train_rating
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import top as best
from quickstudy.apps.recommend.people import People, Traits
from quickstudy.apps.recommend.statistics import History, Statistics
from quickstudy.apps.recommend.tasks import Timelines, UserTask, folds, of_users
from quickstudy.errors import DataError

Floats = NDArray[np.float32]
Thing = TypeVar("Thing")

SHOTS = (1, 2, 3, 5, 7, 10)
"""Support sizes that heads are meta-trained with."""
INNER_FOLDS = 5
TASK_USERS = 5000
"""Users that heads learn from, at most: heads are small, and more would teach them no more."""
MANY_USERS = 4 * TASK_USERS
"""From here on those are held out once, at little loss; fewer users are divided into folds."""
LIKELY = 200
"""Candidates of a training task that the prior puts first; the others are drawn."""
DRAWN = 100
RELEVANT = 150
"""Relevant items of a training task, at most."""
PRIOR = {LATELY: 1.0, NEIGHBOURS: 2.1}
"""Weights that a ranking head begins with: recent popularity and neighbours."""
ALIKE_PRIOR = 1.0
"""Likewise of what users alike like, where something is known of users."""
RATING_PRIOR = {FACTORS: 1.0}
"""Likewise of a rating head: what factors say."""
SHORTLIST = 1000
"""Items that recent popularity and neighbours put first, of which the best are served."""
TOGETHER = 64
"""Histories whose evidence is held at once."""
QUERIES = 50
"""Ratings of one training task, at most."""


class Reader(NamedTuple):
    """What is known of a catalogue, and the heads that weigh it for a history.

    Attributes:
        known: statistics of the training users.
        content: features of the catalogue.
        ranking: scores of evidence.
        rating: corrections of ratings; None where feedback is implicit.
        traits: how features of users are read; None where nothing is known of them.
    """

    known: Statistics
    content: Content
    ranking: Head
    rating: Head | None
    traits: Traits | None = None

    @torch.no_grad()
    def rank(self, histories: Sequence[History]) -> Floats:
        """Scores of the whole catalogue [histories, items]; the higher the sooner."""
        scores = [
            self.ranking(torch.from_numpy(for_ranking(self.known, self.content, part))).numpy()
            for part in _parts(histories)
        ]
        return np.concatenate(scores) if scores else np.zeros((0, self.known.items), np.float32)

    @torch.no_grad()
    def shortlist(self, history: History) -> tuple[NDArray[np.int64], Floats]:
        """The items that may come first for a history [m], and their scores [m], as of `rank`."""
        chosen = likely(self.known, self.content, history, _prior(self.known), SHORTLIST)
        evidence = for_ranking(self.known, self.content, [history], chosen)
        scores: Floats = self.ranking(torch.from_numpy(evidence))[0].numpy()
        return chosen, scores

    @torch.no_grad()
    def rate(self, history: History, items: NDArray[np.int64]) -> Floats:
        """The ratings that a user would give to some items [m].

        Raises:
            DataError: feedback is implicit; there are no ratings.
        """
        if self.rating is None:
            raise DataError("feedback is implicit here, so there are no ratings to predict")
        evidence, plain = for_rating(self.known, self.content, history, items)
        rated: Floats = plain + self.rating(torch.from_numpy(evidence)).numpy()
        return rated


def meta_train(
    log: Log,
    content: Content,
    *,
    people: People | None = None,
    seed: int = 0,
    shots: Sequence[int] = SHOTS,
    looked: Callable[[int, int], None] | None = None,
) -> Reader:
    """Meta-learn heads from the users of a log, each a task of every size.

    Statistics are of all users; of more than 5,000, so many are drawn to learn heads from.

    Args:
        log: interactions of the training users, in the catalogue of `content`.
        content: features of the items; `nothing` where none are known.
        people: features of the log's users; where there are any, heads also learn from users with
            no interaction yet.
        seed: of folds, ties, candidates and heads.
        shots: support sizes.
        looked: called with the number of folds of users that were read, and of all.

    Raises:
        DataError: too few users, or none whose later interactions can be asked for.
    """
    generator = np.random.default_rng(seed)
    about = None if people is None else people.rows
    shots = shots if people is None else sorted({0, *shots})
    timelines = Timelines(log, seed, about)
    ranking: list[RankingTask] = []
    rating: list[tuple[Floats, Floats]] = []
    parts = _held_out(log, seed)
    for fold, (others, users) in enumerate(parts):
        known = Statistics.of(of_users(log, others), factors=log.scale is not None, about=about)
        for size in shots:
            tasks = timelines.tasks(users.tolist(), size)
            ranking.extend(_ranking_tasks(known, content, tasks, generator))
            if log.scale is not None:
                rating.extend(_rating_rows(known, content, task, generator) for task in tasks)
        if looked is not None:
            looked(fold + 1, len(parts))
    if not ranking:
        raise DataError(
            f"no user likes anything after the first {min(shots)} interactions, so there is "
            "nothing to learn a ranking from"
        )
    known = Statistics.of(log, factors=log.scale is not None, about=about)
    rater = None
    if rating:
        evidence, residual = (
            torch.from_numpy(np.concatenate(part)) for part in zip(*rating, strict=True)
        )
        rater = train_rating(evidence, residual, RATING_PRIOR, seed)
    ranker = train_ranking(ranking, _prior(known), seed)
    return Reader(known, content, ranker, rater, None if people is None else people.traits)


def _prior(known: Statistics) -> dict[int, float]:
    """Weights that a ranking head begins with, for the evidence that there is."""
    return PRIOR if known.tastes is None else {**PRIOR, ALIKE: ALIKE_PRIOR}


def _held_out(log: Log, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each part of the users: the others, to count statistics from, and whom to ask about."""
    parts = list(folds(log, INNER_FOLDS, seed))
    others, users = parts[0]
    everyone = np.concatenate([others, users])
    if len(everyone) >= MANY_USERS:
        drawn = np.random.default_rng(seed).permutation(everyone)
        return [(drawn[TASK_USERS:], drawn[:TASK_USERS])]
    most = TASK_USERS // INNER_FOLDS
    generator = np.random.default_rng(seed)
    return [
        (others, users if len(users) <= most else generator.choice(users, most, replace=False))
        for others, users in parts
    ]


def _ranking_tasks(
    known: Statistics,
    content: Content,
    tasks: Sequence[UserTask],
    generator: np.random.Generator,
) -> Iterator[RankingTask]:
    spread = np.sqrt(known.counts + 0.2)
    spread = 0.5 * spread / spread.sum() + 0.5 / known.items
    for task in tasks:
        if len(task.relevant(known.liked_from)):
            prior = expected(known, task.history, _prior(known))
            chosen, wanted, weight = _candidates(task, prior, spread, known.liked_from, generator)
            evidence = for_ranking(known, content, [task.history], chosen)[0]
            yield RankingTask(evidence, wanted, weight)


def _candidates(
    task: UserTask,
    prior: Floats,
    spread: NDArray[np.float64],
    liked_from: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], Floats]:
    """The likeliest items, the relevant ones, and a sample that stands for all others.

    Returns:
        Items [c], whether each is relevant, and the logarithm of how many it stands for.
    """
    relevant = task.relevant(liked_from)
    some = generator.permutation(relevant)[:RELEVANT]
    unseen = np.ones(len(prior), bool)
    unseen[task.history.items] = False
    likely = best(np.where(unseen, prior, -np.inf), LIKELY)
    chosen = np.unique(np.concatenate([likely, some]))
    chance = np.where(unseen, spread, 0.0)
    chance[chosen] = 0
    chance[relevant] = 0
    weight = np.zeros(len(chosen))
    if chance.sum() > 0:
        chance /= chance.sum()
        drawn, times = np.unique(generator.choice(len(prior), DRAWN, p=chance), return_counts=True)
        weight = np.concatenate([weight, np.log(times / (DRAWN * chance[drawn]))])
        chosen = np.concatenate([chosen, drawn])
    return chosen, np.isin(chosen, some), weight.astype(np.float32)


def _rating_rows(
    known: Statistics, content: Content, task: UserTask, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    asked = generator.permutation(len(task.later))[:QUERIES]
    evidence, plain = for_rating(known, content, task.history, task.later[asked])
    return evidence, task.values[asked] - plain


def _parts(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), TOGETHER):
        yield things[start : start + TOGETHER]

"""A head for new categories: meta-learned from known ones, each of which was new once.

Every tag of the catalogue is held out in turn, as if its items had not been there yet, and opened
anew with a few interactions; so are sets of items that are drawn at random. What a head learns to
weigh has not seen the interactions that it is asked about.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.elsewhere import Elsewhere, Foreseen
from quickstudy.apps.recommend.heads import Head, RankingTask, train_ranking
from quickstudy.apps.recommend.launches import Asked, Launches
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.newcomers import newcomers
from quickstudy.apps.recommend.tasks import Timelines
from quickstudy.errors import DataError

SIZES = (0, 5, 10, 20, 50, 100, 200)
"""Support sizes that a head is meta-trained with."""
TAGS = 20
"""Tags that are held out, those with the most interactions."""
DRAWN = 4
"""Sets of items that are drawn at random and held out."""
SHARE = 0.2
"""Of all items in such a set."""
USERS = 32
"""Users who are asked in one opening."""
FEWEST, LARGEST = 100, 0.7
"""Interactions of a tag that is worth holding out, and their share of all, at most."""
MOST = 300_000
"""Interactions that are learned from; of a larger log, those of users who are drawn."""
LIKELY, OTHERS, RELEVANT = 100, 100, 100
"""Candidates of one task: those that the prior puts first, others, and relevant ones, at most."""
PRIOR = {0: 1.0}

Floats = NDArray[np.float32]


def meta_train_openings(
    log: Log,
    content: Content,
    groups: Sequence[NDArray[np.int64]],
    *,
    seed: int = 0,
    looked: Callable[[int, int], None] | None = None,
) -> Head:
    """A head that ranks the items of a new category, for users with histories elsewhere.

    Args:
        log: interactions, in the catalogue of `content`.
        content: features of the items.
        groups: sets of items that are opened anew, as `held_out` finds them.
        seed: of what is drawn.
        looked: called with the number of sets that were opened, and of all.

    Raises:
        DataError: nobody likes anything in any of these sets after its opening.
    """
    generator = np.random.default_rng([seed, 4])
    log = _of_some(log, generator)
    tasks: list[RankingTask] = []
    for place, items in enumerate(groups):
        tasks.extend(_opened(Launches(log, generator.permutation(items)), content, generator))
        if looked is not None:
            looked(place + 1, len(groups))
    if not tasks:
        raise DataError("there are too few interactions to learn how new categories open")
    return train_ranking(tasks, PRIOR, seed)


def _of_some(log: Log, generator: np.random.Generator) -> Log:
    """The log, or as many users' part of it as hold `MOST` interactions."""
    if len(log.user) <= MOST:
        return log
    order = generator.permutation(len(log.users))
    held = np.bincount(log.user, minlength=len(log.users))[order].cumsum()
    return log.rows(np.isin(log.user, order[: np.searchsorted(held, MOST)]))


def held_out(log: Log, content: Content, seed: int) -> list[NDArray[np.int64]]:
    """Sets of items to open anew: those of the most wanted tags, and some drawn at random.

    None where there are too few interactions for any.
    """
    generator = np.random.default_rng([seed, 5])
    counts = np.bincount(log.item, minlength=len(log.items))
    wanted = np.flatnonzero(counts > 0)
    totals = np.asarray((content.kinds != 0).T @ counts).ravel() if content.tags else np.empty(0)
    groups = []
    for tag in np.argsort(-totals, kind="stable")[:TAGS].tolist():
        items = np.intersect1d(content.kinds[:, [tag]].nonzero()[0], wanted)
        enough = FEWEST <= totals[tag] <= LARGEST * counts.sum()
        if enough and 2 <= len(items) < len(wanted):
            groups.append(items)
    if SHARE * len(log.user) >= FEWEST:
        size = max(int(SHARE * len(wanted)), 2)
        groups += [generator.permutation(wanted)[:size] for _ in range(DRAWN)]
    return groups


def _opened(
    category: Launches, content: Content, generator: np.random.Generator
) -> Iterator[RankingTask]:
    log = category.log
    before = category.elsewhere()
    elsewhere = Elsewhere.of(before, content)
    foreseen = Foreseen.of(elsewhere, content, content.at(category.items))
    histories = Timelines(before, 0)
    for size in SIZES:
        launch = category.draw(size, generator)
        if launch is None:
            continue
        opened = newcomers(elsewhere, content, launch, log.liked_from, foreseen)
        asked = category.asked(launch, histories, most=USERS, generator=generator)
        for one, evidence in zip(asked, opened.evidence(asked), strict=True):
            yield _candidates(one, evidence, generator)


def _candidates(asked: Asked, evidence: Floats, generator: np.random.Generator) -> RankingTask:
    """Relevant items, those that the prior puts first, and a sample that stands for the others."""
    prior = evidence[:, 0].copy()
    prior[asked.seen] = -np.inf
    first = np.argsort(-prior, kind="stable")[:LIKELY]
    some = generator.permutation(asked.relevant)[:RELEVANT]
    unwanted = np.setdiff1d(first[prior[first] > -np.inf], asked.relevant)
    chosen = np.concatenate([unwanted, some])
    known = np.concatenate([chosen, asked.seen, asked.relevant])
    rest = np.setdiff1d(np.arange(len(evidence)), known)
    drawn = generator.permutation(rest)[:OTHERS]
    weight = np.zeros(len(chosen) + len(drawn), np.float32)
    if len(drawn):
        weight[len(chosen) :] = np.log(len(rest) / len(drawn))
    picked = np.concatenate([chosen, drawn])
    return RankingTask(evidence[picked], np.isin(picked, asked.relevant), weight)

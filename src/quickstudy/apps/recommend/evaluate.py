"""New users, folded in by every model: the protocol, the figures, and differences in pairs."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.controls import Controls, Settings, tune
from quickstudy.apps.recommend.figures import (
    OURS,
    Figures,
    count_errors,
    count_ranking,
    pairs,
    rows,
)
from quickstudy.apps.recommend.learned import learner_named, meta_train_learned
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import ranked
from quickstudy.apps.recommend.outside import Outside
from quickstudy.apps.recommend.people import People
from quickstudy.apps.recommend.reader import INNER_FOLDS, meta_train
from quickstudy.apps.recommend.statistics import Statistics
from quickstudy.apps.recommend.tasks import Timelines, folds, of_users
from quickstudy.errors import DataError

FOLDS = 5
TUNED_AT = 5
"""The support size that controls are tuned at."""
TOGETHER = 64


class Split(NamedTuple):
    """Who is known, and who is asked about.

    Attributes:
        known: interactions of training users.
        asked: interactions of the others.
        users: the test users.
        seed: of ties, folds and heads.
    """

    known: Log
    asked: Log
    users: NDArray[np.int64]
    seed: int


def by_folds(log: Log, seeds: int) -> Iterator[Split]:
    """Five folds of users for each seed; a fold's users are asked about, all others are known."""
    for seed in range(seeds):
        for train, test in folds(log, FOLDS, seed):
            yield Split(of_users(log, train), log, test, seed)


def by_time(log: Log, share: float, seeds: int) -> Iterator[Split]:
    """One cut in time, for each seed: nothing later is known, only users who come later are asked.

    Args:
        log: the interactions.
        share: of users, by their first interaction, who come before the cut.
        seeds: how many.

    Raises:
        DataError: the share is not between 0 and 1, or too few users come after the cut.
    """
    if not 0 < share < 1:
        raise DataError(f"the time cut must be a share of users between 0 and 1, got {share:g}")
    first = np.full(len(log.users), np.inf)
    np.minimum.at(first, log.user, log.time)
    cut = float(np.quantile(first[np.isfinite(first)], share, method="lower"))
    new = np.flatnonzero(np.isfinite(first) & (first > cut))
    if len(new) < 2:
        raise DataError(f"a time cut needs two users who come after it, got {len(new)}")
    for seed in range(seeds):
        yield Split(log.rows(log.time <= cut), log, new, seed)


def evaluate(
    splits: Sequence[Split],
    content: Content,
    shots: Sequence[int],
    *,
    people: People | None = None,
    learners: Sequence[str] = (),
    outside: bool = False,
    looked: Callable[[int, int], None] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Figures of ours, of every control and of learned readers, and the differences of pairs.

    Each user's figures are averaged over seeds; means, and intervals of 95 %, are over users.
    Ranking is of the whole catalogue but for the support; relevant is what was liked later.

    Args:
        splits: who is known and who is asked about.
        content: features of the catalogue.
        shots: support sizes.
        people: features of the users, which only ours reads; None where none are known.
        learners: of the catalogue, that are meta-trained and ranked with beside ours.
        outside: whether models of the library `implicit` are judged too.
        looked: called with the number of splits done, and of all.

    Raises:
        DataError: no user has anything to ask after a support set of some size; no such learner; or
            `implicit` is wanted and not installed.
    """
    names = list(dict.fromkeys(learner_named(name).__name__ for name in learners))
    most = max(
        (int(np.bincount(split.asked.user)[split.users].max()) for split in splits), default=0
    )
    for size in shots:
        if size >= most:
            raise DataError(
                f"no user has more than {size} interactions, so {size} shots leave nothing to ask"
            )
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for place, split in enumerate(splits):
        _judge(split, content, people, shots, figures, names, outside)
        if looked is not None:
            looked(place + 1, len(splits))
    return {"rows": rows(figures, shots, names), "paired": pairs(figures, shots, names)}


def _judge(
    split: Split,
    content: Content,
    people: People | None,
    shots: Sequence[int],
    figures: Figures,
    learners: Sequence[str],
    outside: bool,
) -> None:
    settings = _tuned(split, content)
    other = Outside(split.known, settings) if outside else None
    reader = meta_train(split.known, content, people=people, seed=split.seed)
    learned = {
        name: meta_train_learned(name, split.known, content, seed=split.seed) for name in learners
    }
    known = reader.known
    controls = Controls(
        known, content, split.known, factors=settings.factors, implicit=settings.implicit
    )
    timelines = Timelines(split.asked, split.seed, None if people is None else people.rows)
    for size in shots:
        tasks = timelines.tasks(split.users.tolist(), size)
        for start in range(0, len(tasks), TOGETHER):
            part = tasks[start : start + TOGETHER]
            histories = [task.history for task in part]
            scores = controls.scores(histories, settings.weights)
            scores[OURS] = reader.rank(histories)
            scores |= {name: model.rank(histories) for name, model in learned.items()}
            if other is not None:
                scores |= other.scores(histories)
            for row, task in enumerate(part):
                for model, all_scores in scores.items():
                    found = ranked(
                        all_scores[row], task.history.items, task.relevant(known.liked_from)
                    )
                    count_ranking(figures, model, size, task.user, found)
                if reader.rating is not None:
                    said = controls.ratings(task.history, task.later)
                    said[OURS] = reader.rate(task.history, task.later)
                    for model, ratings in said.items():
                        count_errors(figures, model, size, task.user, ratings, task.values)


def _tuned(split: Split, content: Content) -> Settings:
    """Settings of the controls, chosen on the first fold of training users with anything to ask."""
    timelines = Timelines(split.known, split.seed)
    for train, validation in folds(split.known, INNER_FOLDS, split.seed):
        users = validation.tolist()
        tasks = timelines.tasks(users, TUNED_AT) or timelines.tasks(users, 1)
        if tasks:
            log = of_users(split.known, train)
            return tune(Statistics.of(log, factors=False), content, log, tasks)
    raise DataError(
        "no user to learn from has two interactions, so there is nothing to tune controls on"
    )

"""New categories as tasks: their first interactions are the support set, later ones the query."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.statistics import History
from quickstudy.apps.recommend.tasks import Timelines

FEWEST_LATER = 20
"""Interactions after the support set, without which there is nothing to ask."""


class Support(NamedTuple):
    """The first interactions in a category.

    Attributes:
        user: places in the log's names, below zero for those it does not know [n].
        item: places in the category [n].
        value: ratings [n].
        time: [n]; NaN where it is not known.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    value: NDArray[np.float32]
    time: NDArray[np.float64]


class Asked(NamedTuple):
    """A user who likes something in the category later.

    Attributes:
        user: its place in the log's names.
        history: what it did elsewhere; the moment is that of the first of what is asked.
        seen: places in the category that are in its support [s].
        seen_values: the ratings of these [s].
        later: places in the category, not among these, of its interactions in the query [m].
        values: the ratings of these [m].
        liked_from: the lowest rating of what was liked.
    """

    user: int
    history: History
    seen: NDArray[np.int64]
    seen_values: NDArray[np.float32]
    later: NDArray[np.int64]
    values: NDArray[np.float32]
    liked_from: float

    @property
    def liked(self) -> NDArray[np.int64]:
        """Places in the category that it liked in the support set."""
        return self.seen[self.seen_values >= self.liked_from]

    @property
    def relevant(self) -> NDArray[np.int64]:
        """Places in the category that it liked later [r]."""
        return self.later[self.values >= self.liked_from]


class Launch(NamedTuple):
    """A category that is new.

    Attributes:
        items: places of its items in the catalogue [c].
        support: its first interactions.
        query: the log's rows that come after these.
        moment: of the last interaction in the support set, or of the launch.
    """

    items: NDArray[np.int64]
    support: Support
    query: NDArray[np.int64]
    moment: float


class Launches:
    """All interactions in some items, in the order of time.

    Args:
        log: all interactions.
        items: places of the category's items in the catalogue.
    """

    def __init__(self, log: Log, items: NDArray[np.int64]) -> None:
        self.log, self.items = log, np.asarray(items, np.int64)
        self.place = np.full(len(log.items), -1, np.int64)
        self.place[self.items] = np.arange(len(self.items))
        self.rows = np.flatnonzero(self.place[log.item] >= 0)

    def elsewhere(self) -> Log:
        """The interactions with all other items."""
        return self.log.rows(self.place[self.log.item] < 0)

    def draw(
        self, size: int, generator: np.random.Generator, *, share: float | None = None
    ) -> Launch | None:
        """The category as new at a moment; None where too little comes after the support set.

        Args:
            size: interactions of the support set.
            generator: of the moment, in the first half of the category's interactions, and of
                the order of ties.
            share: of the category's interactions that come before the moment, where it is not
                drawn. Interactions before the moment do not exist.
        """
        ties = generator.random(len(self.rows))
        rows = self.rows[np.lexsort((ties, self.log.time[self.rows]))]
        latest = min(len(rows) // 2, len(rows) - size - FEWEST_LATER)
        start = int(generator.integers(0, max(latest, 0) + 1))
        if share is not None:
            start = int(share * len(rows))
        if len(rows) - start - size < FEWEST_LATER:
            return None
        first, query = rows[start : start + size], rows[start + size :]
        log = self.log
        support = Support(
            log.user[first], self.place[log.item[first]], log.value[first], log.time[first]
        )
        return Launch(self.items, support, query, float(log.time[rows[max(start + size - 1, 0)]]))

    def asked(
        self,
        launch: Launch,
        histories: Timelines,
        *,
        past_only: bool = False,
        most: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[Asked]:
        """The users who like something in the query.

        Args:
            launch: the category when it was new.
            histories: interactions elsewhere.
            past_only: whether only what a user did before the moment of recommendation is known.
            most: how many of them, at most, which the generator draws; all where None.
            generator: see there.
        """
        log, query = self.log, launch.query
        query = query[np.argsort(log.user[query], kind="stable")]
        users, starts = np.unique(log.user[query], return_index=True)
        parts = np.split(query, starts[1:])
        order = np.arange(len(users)) if generator is None else generator.permutation(len(users))
        asked: list[Asked] = []
        for place in order.tolist():
            if most is not None and len(asked) == most:
                break
            user, rows = int(users[place]), parts[place]
            seen = launch.support.item[launch.support.user == user]
            said = launch.support.value[launch.support.user == user]
            moment = float(log.time[rows].min())
            rows = rows[~np.isin(self.place[log.item[rows]], seen)]
            if (log.value[rows] >= log.liked_from).any():
                history = histories.history(user, moment, past_only=past_only)
                later = self.place[log.item[rows]]
                asked.append(
                    Asked(user, history, seen, said, later, log.value[rows], log.liked_from)
                )
        return asked

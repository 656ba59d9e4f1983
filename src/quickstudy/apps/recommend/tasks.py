"""New users as tasks: their first interactions are the support set, all later ones the query."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.statistics import History
from quickstudy.errors import DataError


class UserTask(NamedTuple):
    """One new user.

    Attributes:
        user: its place in the log's names.
        history: the support set.
        later: items of the query, int64 [m].
        values: their ratings, float32 [m].
    """

    user: int
    history: History
    later: NDArray[np.int64]
    values: NDArray[np.float32]

    def relevant(self, liked_from: float) -> NDArray[np.int64]:
        """The items of the query that were liked."""
        return self.later[self.values >= liked_from]


class Timelines:
    """Every user's interactions in the order of time, ties broken at random.

    Args:
        log: the interactions.
        seed: of the ties.
        about: features of the log's users [users, features]; None where nothing is known.
    """

    def __init__(self, log: Log, seed: int, about: NDArray[np.float32] | None = None) -> None:
        self.log, self.about = log, about
        ties = np.random.default_rng(seed).random(len(log.user))
        self._order = np.lexsort((ties, log.time, log.user))
        self._starts = np.searchsorted(log.user[self._order], np.arange(len(log.users) + 1))

    def count(self, user: int) -> int:
        """How many interactions a user has."""
        return int(self._starts[user + 1] - self._starts[user])

    def task(self, user: int, shots: int) -> UserTask:
        """A user whose first interactions are known; without any, they are asked when they come."""
        rows = self._order[self._starts[user] : self._starts[user + 1]]
        known, later = rows[:shots], rows[shots:]
        history = history_of(self.log, known)
        if not shots and len(rows):
            history = history._replace(time=float(self.log.time[rows[0]]))
        if self.about is not None and self.about[user].any():
            history = history._replace(about=self.about[user])
        return UserTask(user, history, self.log.item[later], self.log.value[later])

    def history(self, user: int, moment: float, *, past_only: bool = False) -> History:
        """All of a user's interactions, or those before a moment, read at that moment."""
        rows = self._order[self._starts[user] : self._starts[user + 1]]
        if past_only:
            rows = rows[self.log.time[rows] < moment]
        return History(self.log.item[rows], self.log.value[rows], moment)

    def tasks(self, users: Sequence[int], shots: int) -> list[UserTask]:
        """All of these users with something to ask after the support set."""
        return [self.task(user, shots) for user in users if self.count(user) > shots]


def history_of(log: Log, rows: NDArray[np.int64]) -> History:
    """Some of a log's interactions as one user's; the moment is that of the last."""
    time = float(log.time[rows].max()) if len(rows) else float(log.time.max(initial=0))
    return History(log.item[rows], log.value[rows], time)


def folds(log: Log, count: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Users to train on and users to test on, for each fold; every user is tested once.

    Raises:
        DataError: fewer users than folds.
    """
    users = np.unique(log.user)
    if len(users) < 2 * count:
        raise DataError(f"{count} folds of users need {2 * count} users at least, got {len(users)}")
    place = np.random.default_rng(seed).permutation(len(users)) % count
    for fold in range(count):
        yield users[place != fold], users[place == fold]


def of_users(log: Log, users: NDArray[np.int64]) -> Log:
    """The interactions of these users only."""
    return log.rows(np.isin(log.user, users))

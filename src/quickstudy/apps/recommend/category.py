"""A new category of the catalogue, read from a few interactions by anybody."""

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.apps.recommend.content import Content, like
from quickstudy.apps.recommend.elsewhere import Elsewhere, Foreseen
from quickstudy.apps.recommend.heads import Head
from quickstudy.apps.recommend.launches import Asked, Support
from quickstudy.apps.recommend.log import TIME, VALUE, Log, column
from quickstudy.apps.recommend.log import interactions as read_log
from quickstudy.apps.recommend.metrics import top as best
from quickstudy.apps.recommend.newcomers import Newcomers
from quickstudy.apps.recommend.opening_ratings import OURS, OpeningRatings
from quickstudy.apps.recommend.state import Reason, Recommended, State, check_count, to_history
from quickstudy.data.frames import read_frame
from quickstudy.errors import DataError


class Columns(TypedDict):
    """Of a table of interactions; looked for where None."""

    user: str | None
    item: str | None
    value: str | None
    time: str | None


NOBODY = -1
"""The place of a user who is in no table."""


class Opener(NamedTuple):
    """What a recommender knows about opening categories.

    Attributes:
        elsewhere: what its interactions say of users and features.
        head: weighs the evidence for new items.
        users: names of those who interacted.
        rated: what their ratings say; None where feedback is implicit.
    """

    elsewhere: Elsewhere
    head: Head
    users: Sequence[str]
    rated: OpeningRatings | None


class Category:
    """The items of a new category, ranked for users of the recommender that opened it.

    `Recommender.adapt_category` makes one.

    Args:
        opener: of the recommender.
        opened: the items and what is known of them.
        catalogue: places of those that are in the catalogue, by name.
        strangers: places in the support set of users that the recommender does not know, by name.
        scale: of ratings; None where feedback is implicit.
        report: what was noticed on reading.
    """

    def __init__(
        self,
        opener: Opener,
        opened: Newcomers,
        catalogue: dict[str, int],
        strangers: dict[str, int],
        scale: tuple[float, float] | None,
        report: Sequence[str],
    ) -> None:
        self.items = list(opened.content.names)
        self.interactions = len(opened.support.item)
        self.report = list(report)
        self._opener, self._opened, self._scale = opener, opened, scale
        self._places = {name: place for place, name in enumerate(self.items)}
        known = {name: place for place, name in enumerate(opener.users)}
        self._users = {**known, **strangers}
        self._here = {catalogue[n]: p for n, p in self._places.items() if n in catalogue}

    def top(
        self, state: State, k: int = 20, *, user: str | None = None, exclude_seen: bool = True
    ) -> list[Recommended]:
        """The category's best items for a user, the best first.

        Args:
            state: of the user, as the recommender adapted it.
            k: how many.
            user: their name, where they are one of those who interacted with the category: what
                they took there is then known, and left out.
            exclude_seen: whether items that the user has taken are left out.

        Raises:
            DataError: k is less than one.
        """
        check_count(k)
        asked = self._asked(state, user)
        scores = self._scores(asked).astype(np.float64)
        if exclude_seen:
            scores[asked.seen] = -np.inf
        return [Recommended(self.items[place], float(scores[place])) for place in best(scores, k)]

    def score(
        self, state: State, items: Sequence[str], *, user: str | None = None
    ) -> NDArray[np.float32]:
        """What a user would rate some of the category's items [m].

        Where feedback is implicit, their ranking scores.

        Raises:
            DataError: the category has no such item.
        """
        places, asked = self._find(items), self._asked(state, user)
        rated = self._opener.rated
        if rated is None or self._scale is None:
            return self._scores(asked)[places]
        ratings: NDArray[np.float32] = rated.ratings(self._opened, [asked])[OURS][0, places]
        return ratings.clip(*self._scale)

    def explain(self, state: State, item: str, *, user: str | None = None) -> list[Reason]:
        """What speaks for or against an item, the strongest first; see `Recommender.explain`.

        Raises:
            DataError: the category has no such item.
        """
        (place,) = self._find([item]).tolist()
        head = self._opener.head
        asked = self._asked(state, user)
        own = torch.from_numpy(self._opened.evidence([asked])[0, place])
        names = self._opened.names
        without = own.repeat(len(names), 1)
        without[range(len(names)), range(len(names))] = head.centre
        with torch.no_grad():
            effects = (head(own) - head(without)).tolist()
        reasons = [Reason(name, effect) for name, effect in zip(names, effects, strict=True)]
        return sorted(reasons, key=lambda reason: -abs(reason.effect))

    def _scores(self, asked: Asked) -> NDArray[np.float32]:
        evidence = torch.from_numpy(self._opened.evidence([asked]))
        with torch.no_grad():
            scores: NDArray[np.float32] = self._opener.head(evidence)[0].numpy()
        return scores

    def knows(self, user: str) -> bool:
        """Whether a user is known, from training or from the first interactions."""
        return user in self._users

    def _find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Where these items are in the category."""
        unknown = [str(name) for name in names if str(name) not in self._places]
        if unknown:
            raise DataError(f"the category has no item {unknown[0]!r}; {self.items[0]!r} is one")
        return np.array([self._places[str(name)] for name in names], np.int64)

    def _asked(self, state: State, user: str | None) -> Asked:
        """The user at the moment of recommendation: after the state's and the category's last."""
        history, support = (
            to_history(state, len(self._opened.catalogue.names)),
            self._opened.support,
        )
        last = np.nanmax(support.time, initial=history.time)
        place = NOBODY if user is None else self._users.get(user, NOBODY)
        rows = support.user == place
        taken = dict(zip(support.item[rows].tolist(), support.value[rows].tolist(), strict=True))
        for item, value in zip(history.items.tolist(), history.values.tolist(), strict=True):
            if item in self._here:
                taken.setdefault(self._here[item], value)
        return Asked(
            user=place,
            history=history._replace(time=float(last)),
            seen=np.array(list(taken), np.int64),
            seen_values=np.array(list(taken.values()), np.float32),
            later=np.empty(0, np.int64),
            values=np.empty(0, np.float32),
            liked_from=self._opened.liked_from,
        )


def open_category(
    opener: Opener,
    catalogue: Content,
    interactions: Any,
    items: Any,
    scale: tuple[float, float] | None,
    liked_from: float,
    columns: Columns,
    leave_out_bad: bool,
) -> Category:
    """A category from its first interactions; see `Recommender.adapt_category`."""
    log = _read(interactions, scale, columns, leave_out_bad)
    places = {name: place for place, name in enumerate(catalogue.names)}
    content = _content(catalogue, places, items, log, columns["item"])
    held = {name: place for place, name in enumerate(content.names)}
    names = [] if log is None else log.items
    foreign = [name for name in names if name not in held]
    if foreign:
        raise DataError(
            f"interactions of a category must be with its items ({len(held)} items, "
            f"{content.names[0]!r} for one), got {', '.join(map(repr, foreign[:5]))}"
            f"{f' and {len(foreign) - 5} more' if len(foreign) > 5 else ''}"
        )
    support, strangers, report = _support(opener, log, held)
    opened = Newcomers(
        opener.elsewhere,
        catalogue,
        content,
        Foreseen.of(opener.elsewhere, catalogue, content),
        support,
        liked_from,
    )
    return Category(opener, opened, places, strangers, scale, report)


def _read(
    interactions: Any, scale: tuple[float, float] | None, columns: Columns, leave_out_bad: bool
) -> Log | None:
    if interactions is None:
        return None
    if isinstance(interactions, Log):
        log = interactions
        if None not in (log.scale, scale) and log.scale != scale:
            raise DataError(f"ratings must be on the scale {scale}, got a log on {log.scale}")
    else:
        frame = read_frame(interactions)
        rated = column(frame, "value", columns["value"], VALUE, needed=False)
        within = None if rated is None else scale
        log = read_log(interactions, scale=within, fewest=1, leave_out_bad=leave_out_bad, **columns)
        if column(frame, "time", columns["time"], TIME, needed=False) is None:
            log = log._replace(time=np.full_like(log.time, np.nan))
    if scale is None and log.scale is not None:
        return log._replace(value=np.ones_like(log.value))  # whatever was touched was liked
    if scale is not None and log.scale is None:
        return log._replace(value=np.full_like(log.value, scale[1]))
    return log


def _content(
    catalogue: Content, places: dict[str, int], items: Any, log: Log | None, key: str | None
) -> Content:
    """Features of the category's items: of the catalogue, or of a table like its own."""
    if isinstance(items, str) and items in catalogue.tags:
        tagged = catalogue.kinds[:, [list(catalogue.tags).index(items)]]
        content = catalogue.at(np.unique(tagged.nonzero()[0]))
    elif isinstance(items, str) and "=" in items:
        near = ", ".join(difflib.get_close_matches(items, catalogue.tags, n=3))
        raise DataError(
            f"the catalogue has no tag {items!r}{f'; near it are {near}' if near else ''}"
        )
    elif items is None or isinstance(items, list | tuple):
        names = list(dict.fromkeys(map(str, items or ([] if log is None else log.items))))
        unknown = [name for name in names if name not in places]
        if unknown:
            raise DataError(
                f"{unknown[0]!r} is not in the catalogue; give a table of what is known of the "
                "category's items"
            )
        content = catalogue.at(np.array([places[name] for name in names], np.int64))
    else:
        content = like(catalogue, items, item=key)
    if len(content.names) < 2:
        raise DataError(f"a category must have two items at least, got {len(content.names)}")
    return content


def _support(
    opener: Opener, log: Log | None, held: dict[str, int]
) -> tuple[Support, dict[str, int], list[str]]:
    """The support set; the places of strangers in it, below that of nobody; what is to be said."""
    if log is None:
        none = np.empty(0, np.int64)
        return Support(none, none, none.astype(np.float32), none.astype(np.float64)), {}, []
    known = {name: place for place, name in enumerate(opener.users)}
    unknown = [name for name in log.users if name not in known]
    strangers = {name: NOBODY - 1 - place for place, name in enumerate(unknown)}
    places = {**known, **strangers}
    user = np.array([places[name] for name in log.users], np.int64)
    item = np.array([held[name] for name in log.items], np.int64)
    report = list(log.report)
    if strangers:
        report.append(f"{len(strangers)} of {len(user)} users were not there in training")
    return Support(user[log.user], item[log.item], log.value, log.time), strangers, report

"""A recommender that is meta-learned from many users and reads a new one's few interactions."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.apps.recommend.asking import questions
from quickstudy.apps.recommend.category import Category, Columns, Opener, open_category
from quickstudy.apps.recommend.evidence import for_ranking, ranking_names
from quickstudy.apps.recommend.metrics import top as best
from quickstudy.apps.recommend.reader import SHORTLIST, Reader
from quickstudy.apps.recommend.state import (
    Reason,
    Recommended,
    State,
    check_count,
    checked_time,
    read_history,
    to_history,
    to_state,
)
from quickstudy.apps.recommend.statistics import History
from quickstudy.apps.recommend.storage import from_tree, opener_of, to_tree
from quickstudy.artefacts.atomic import make_folder, reported
from quickstudy.artefacts.sealed import read_sealed, write_sealed
from quickstudy.errors import ArtefactError, DataError

FILE = "recommender.safetensors"
KIND = "recommender"
STATE = "recommendation state"


class Recommender:
    """Adapts to a user's history in closed form and ranks the whole catalogue.

    `train` makes one. Nothing about it changes when it adapts: what it knows of a user is a value.

    Args:
        reader: what was learned.
        items: names of the catalogue.
        opener: what is known about new categories; None where nothing was learned of them.
    """

    def __init__(self, reader: Reader, items: Sequence[str], opener: Opener | None = None) -> None:
        self.reader, self.opener = reader, opener
        self.items = list(items)
        self._places = {name: place for place, name in enumerate(self.items)}

    def adapt(
        self,
        history: Any = None,
        *,
        about: Any = None,
        item: str | None = None,
        value: str | None = None,
        time: str | None = None,
    ) -> State:
        """A user's state, from a few interactions, from what they tell of themselves, or both.

        Args:
            history: names of items that were liked; or a table of items and, if wanted, ratings
                and times: whatever `interactions` reads, without users. None, or no names, where
                only `about` is told.
            about: features of the user, where the recommender was trained with users': a mapping
                of columns to values, or a table of one row. Columns may be left out; kinds that
                nobody had, and words of text, say nothing. Ranking reads them; expected ratings
                and new categories do not.
            item: its column of items; looked for if not given.
            value: its column of ratings, likewise; without one everything was liked.
            time: its column of times, likewise. The last is the moment of recommendation; without
                one, the end of what the recommender was trained on.

        Raises:
            DataError: the history is empty and nothing else is told, or it names what the
                catalogue does not hold, or its ratings lie outside of the scale; or `about` tells
                of other columns than there were, or holds something else.

        Examples:
            >>> from quickstudy.apps.recommend import train
            >>> rows = {"user": [n // 4 for n in range(80)], "item": list("vwxyvxwzyzwv" * 7)[:80]}
            >>> rec = train(rows)
            >>> state = rec.adapt(["x", "y"])
            >>> state["items"].tolist()
            [2, 3]
            >>> len(rec.top(state, k=2))
            2
        """
        features = None if about is None else self._features(about)
        if history is None or isinstance(history, list | tuple):
            history = history or []
            if not history and features is None:
                raise DataError("a history must hold at least one interaction, got none")
            names, values, moment = [str(name) for name in history], None, None
        else:
            names, values, moment = read_history(history, item, value, time)
        unknown = [name for name in names if name not in self._places]
        if unknown:
            said = ", ".join(repr(name) for name in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(
                f"a history must hold items of the catalogue ({len(self.items)} items, "
                f"{self.items[0]!r} for one), got {said}{more}"
            )
        places = np.array([self._places[name] for name in names], np.int64)
        known = self.reader.known
        return to_state(
            places,
            self._on_scale(values, len(places)),
            known.now if moment is None else moment,
            features,
        )

    def _features(self, about: Any) -> NDArray[np.float32]:
        if self.reader.traits is None:
            raise DataError(
                "this recommender was trained without features of users, so it can read nothing "
                "about one; train(..., users=TABLE)"
            )
        return self.reader.traits.row(about)

    def extend(
        self, state: State, item: str, *, value: float | None = None, time: float | None = None
    ) -> State:
        """The state after one more interaction; an item that was there is taken at its new value.

        Raises:
            DataError: the item is unknown, the value off the scale, or the time no number.
        """
        more = self.adapt({"item": [item], **({} if value is None else {"value": [value]})})
        joined = [torch.cat([state[name], more[name]]).numpy() for name in ("items", "values")]
        moment = float(state["time"]) if time is None else checked_time(time)
        return to_state(joined[0], joined[1], moment, self._read(state).about)

    def top(self, state: State, k: int = 20, *, exclude_seen: bool = True) -> list[Recommended]:
        """The best items of the whole catalogue for a user, the best first.

        Of large catalogues only the thousand items that recent popularity and neighbours put first
        are scored, and those that are most like the history, unless k is large.

        Raises:
            DataError: k is less than one.
        """
        check_count(k)
        history = self._read(state)
        scores = np.full(len(self.items), -np.inf)
        if k * 10 <= SHORTLIST < len(self.items):
            places, found = self.reader.shortlist(history)
            scores[places] = found
        else:
            scores[:] = self.reader.rank([history])[0]
        if exclude_seen:
            scores[history.items] = -np.inf
        return [Recommended(self.items[place], float(scores[place])) for place in best(scores, k)]

    def ask(self, state: State | None = None, k: int = 1) -> list[Recommended]:
        """The items to ask a user about next, the first first; none that was seen.

        They are those whose answer is expected to say most of the user's taste; the score is what
        it says, weighed by the chance that they know the item. `extend` takes an answer.

        Args:
            state: what is known of the user; None of one who is new.
            k: how many.

        Raises:
            DataError: k is less than one.
        """
        check_count(k)
        nobody = History(np.empty(0, np.int64), np.empty(0, np.float32), self.reader.known.now)
        places, expected = questions(self.reader, nobody if state is None else self._read(state), k)
        names = (self.items[place] for place in places)
        return [Recommended(name, score) for name, score in zip(names, expected, strict=True)]

    def score(self, state: State, items: Sequence[str]) -> NDArray[np.float32]:
        """What a user would rate some items [m]; where feedback is implicit, their ranking scores.

        Raises:
            DataError: an item is unknown.
        """
        if isinstance(items, str):
            raise DataError(f"items must be a list of names, got the text {items!r}")
        unknown = [str(name) for name in items if str(name) not in self._places]
        if unknown:
            raise DataError(f"the catalogue has no item {unknown[0]!r}")
        places = np.array([self._places[str(name)] for name in items], np.int64)
        if self.reader.rating is not None:
            rated = self.reader.rate(self._read(state), places)
            low, high = self.reader.known.scale or (-np.inf, np.inf)
            return np.clip(rated, low, high)
        ranked: NDArray[np.float32] = self.reader.rank([self._read(state)])[0][places]
        return ranked

    @torch.no_grad()
    def explain(self, state: State, item: str) -> list[Reason]:
        """What speaks for or against an item, the strongest first.

        The effect of each kind of evidence is the difference that it makes to have it as it is
        instead of as it is on average.

        Raises:
            DataError: the item is unknown.
        """
        if item not in self._places:
            raise DataError(f"the catalogue has no item {item!r}")
        reader = self.reader
        evidence = for_ranking(reader.known, reader.content, [self._read(state)])[0]
        own = torch.from_numpy(evidence[self._places[item]])
        names = ranking_names(reader.known)
        without = own.repeat(len(names), 1)
        without[range(len(names)), range(len(names))] = reader.ranking.centre
        effects = (reader.ranking(own) - reader.ranking(without)).tolist()
        reasons = [Reason(name, effect) for name, effect in zip(names, effects, strict=True)]
        return sorted(reasons, key=lambda reason: -abs(reason.effect))

    def adapt_category(
        self,
        interactions: Any = None,
        items: Any = None,
        *,
        user: str | None = None,
        item: str | None = None,
        value: str | None = None,
        time: str | None = None,
        leave_out_bad: bool = False,
    ) -> Category:
        """Open a category that is new, from the first interactions of anybody in it.

        What is known: features of its items, users' histories elsewhere, and these interactions.
        The head that weighs it was meta-learned by opening known categories anew.

        Interactions with these items that the recommender was trained with say nothing here: it is
        for items that were not there yet.

        Args:
            interactions: a table that `interactions` reads, of users who may be known or not; None
                where there are none yet. Without times, all of it has just happened.
            items: the category's items: a table with the columns that the recommender was trained
                with; or, where they are in the catalogue, their names, or a tag of
                `reader.content.tags`. Those of the interactions if not given.
            user: the interactions' column of users; looked for if not given.
            item: the column of items, in both tables, likewise.
            value: the column of ratings, likewise; without one everything was liked.
            time: the column of times, likewise.
            leave_out_bad: leave out rows that cannot be read; `report` says how many, and why.

        Raises:
            DataError: nothing was learned about categories; there are fewer than two items, or
                interactions with others; or a table cannot be read.

        Examples:
            >>> from quickstudy.apps.recommend import shop, train
            >>> made = shop(users=60, items=90, interactions=1500)
            >>> rec = train(made.interactions, made.items)
            >>> mugs = {"item": ["m1", "m2", "m3"], "category": ["mug"] * 3, "brand": [""] * 3,
            ...         "price": [5.0, 9.0, 12.0], "tags": ["cosy", "bold", ""], "title": [""] * 3}
            >>> opened = rec.adapt_category({"user": ["u07", "ann"], "item": ["m2", "m2"]}, mugs)
            >>> opened.report
            ['1 of 2 users were not there in training']
            >>> sorted(row.item for row in opened.top(rec.adapt(made.interactions["item"][:3])))
            ['m1', 'm2', 'm3']
        """
        if self.opener is None:
            raise DataError(
                "this recommender has learned nothing about new categories: it was trained without "
                "them (categories=False), or on too little to open anything anew: kinds of items, "
                "and 100 interactions with some of these but not all"
            )
        known = self.reader.known
        return open_category(
            self.opener,
            self.reader.content._replace(names=self.items),
            interactions,
            items,
            known.scale,
            known.liked_from,
            Columns(user=user, item=item, value=value, time=time),
            leave_out_bad,
        )

    def save(self, folder: Path | str) -> None:
        """Store all of it in a folder, atomically; one that is there is replaced.

        Raises:
            ArtefactError: it cannot be written.
        """
        fields = {"items": self.items, "users": list(self.opener.users) if self.opener else []}
        with reported("write", folder):
            make_folder(Path(folder))
        write_sealed(Path(folder) / FILE, KIND, to_tree(self.reader, self.opener), fields)

    @classmethod
    def load(cls, folder: Path | str) -> "Recommender":
        """What `save` stored.

        Raises:
            ArtefactError: there is none, or it is damaged, or newer than this library.
        """
        path = Path(folder) / FILE
        if not path.exists():
            raise ArtefactError(f"there is no recommender in {folder}: no file {FILE}")
        sealed = read_sealed(path, KIND)
        try:
            names, tree = sealed.header["items"], sealed.tree()
            reader = from_tree(tree, names)
            return cls(reader, names, opener_of(tree, sealed.header["users"], reader))
        except KeyError as error:
            raise ArtefactError(
                f"{path} was written by another version of quickstudy, without {error}: "
                "train it again"
            ) from None

    def save_state(self, state: State, path: Path | str) -> None:
        """Store what is known of a user."""
        write_sealed(path, STATE, state, {"catalogue": self._digest})

    def load_state(self, path: Path | str) -> State:
        """What `save_state` stored.

        Raises:
            ArtefactError: it is not there, damaged, or of another catalogue or other features of
                users.
        """
        sealed = read_sealed(path, STATE)
        if sealed.header["catalogue"] != self._digest:
            raise ArtefactError(f"{path} belongs to a recommender with another catalogue or users")
        state: State = sealed.tree()
        return state

    @property
    def _digest(self) -> str:
        traits = self.reader.traits
        labels = self.items if traits is None else [*self.items, *traits.labels]
        return hashlib.sha256("\n".join(labels).encode()).hexdigest()

    def _read(self, state: State) -> History:
        return to_history(state, len(self.items))

    def _on_scale(self, values: NDArray[np.float32] | None, count: int) -> NDArray[np.float32]:
        scale = self.reader.known.scale
        if values is None or scale is None:
            return np.full(count, scale[1] if scale else 1.0, np.float32)
        outside = values[(values < scale[0]) | (values > scale[1])]
        if len(outside):
            raise DataError(
                f"values must lie on the scale {scale[0]:g} to {scale[1]:g}, got {outside[0]:g}"
            )
        return values

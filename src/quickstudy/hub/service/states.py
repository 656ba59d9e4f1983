"""What was adapted, in memory: until its time is over, or others are used more."""

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.served import Known, Learned
from quickstudy.hub.wire import Adapted

LISTED = 1000
"""What was adapted that is told in one answer, at most."""
ID_BYTES = 18
"""Of an id: 144 bits, which nobody guesses."""


class Kept(NamedTuple):
    """What was adapted, as far as it outlives a restart: the examples, from which to learn again.

    Attributes:
        id: hard to guess.
        owner: the key it belongs to.
        model: the name of the model.
        digest: of the model.
        known: the examples.
        created: seconds since 1970; when it was adapted or last extended.
        expires: likewise.
    """

    id: str
    owner: str
    model: str
    digest: str
    known: Known
    created: float
    expires: float

    def told(self) -> Adapted:
        """What its owner is told."""
        known = self.known
        return told(self.id, self.model, known.labels, known.counts, self.created, self.expires)


def told(
    id: str,
    model: str,
    labels: Sequence[str | int] | None,
    counts: list[int],
    created: float,
    expires: float,
) -> Adapted:
    """What is told of something that was adapted; times in seconds since 1970."""
    return Adapted(
        adapted_id=id,
        model=model,
        labels=None if labels is None else list(labels),
        counts=counts,
        created_at=datetime.fromtimestamp(created, UTC),
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


class Held:
    """What was adapted, ready to answer.

    Args:
        kept: whose it is, and the examples.
        learned: what the model learned from them.

    Attributes:
        kept: as given.
        learned: as given.
        bytes: what it takes, about.
    """

    def __init__(self, kept: Kept, learned: Learned) -> None:
        self.kept = kept
        self.learned = learned
        self.bytes = learned.bytes

    @property
    def id(self) -> str:
        """Its name."""
        return self.kept.id


def new_id() -> str:
    """A name for what was adapted.

    Examples:
        >>> len(new_id())
        24
    """
    return secrets.token_urlsafe(ID_BYTES)


class States:
    """What is held, those that were used last at the end. Not for several threads.

    Args:
        limits: how many a key may have, how many bytes all together, how long each lives.
        clock: seconds since 1970.

    Attributes:
        bytes: that all take together.
        forgotten: how many were given up, by reason.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits
        self.clock = clock
        self.bytes = 0
        self.forgotten = {"expired": 0, "quota": 0, "memory": 0}
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._soonest = math.inf  # none expires before
        self._owners: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def put(self, held: Held) -> list[Held]:
        """Hold something, in place of what has its id; what had to go for it."""
        self.drop(held.id)
        self._held[held.id] = held
        self.bytes += held.bytes
        self._soonest = min(self._soonest, held.kept.expires)
        mine = self._owners.setdefault(held.kept.owner, OrderedDict())
        mine[held.id] = None
        gone = []
        if len(mine) > self.limits.adapted:
            gone += self.purge()
        while len(mine) > self.limits.adapted:
            gone.append(self._forget(next(iter(mine)), "quota"))
        while self.bytes > self.limits.memory and len(self._held) > 1:
            gone.append(self._forget(next(iter(self._held)), "memory"))
        return gone

    def get(self, id: str) -> Held | None:
        """What has that id, used now; None where there is nothing, or its time is over."""
        held = self._held.get(id)
        if held is None:
            return None
        if held.kept.expires <= self.clock():
            self._forget(id, "expired")
            return None
        self._held.move_to_end(id)
        self._owners[held.kept.owner].move_to_end(id)
        return held

    def drop(self, id: str) -> None:
        """Hold it no longer."""
        held = self._held.pop(id, None)
        if held is None:
            return
        self.bytes -= held.bytes
        mine = self._owners[held.kept.owner]
        del mine[id]
        if not mine:
            del self._owners[held.kept.owner]

    def of(self, owner: str | None) -> list[Held]:
        """An owner's, or everybody's, those used last first."""
        self.purge()
        ids = self._held if owner is None else self._owners.get(owner, ())
        return [self._held[id] for id in reversed(ids)]

    def purge(self) -> list[Held]:
        """Forget those whose time is over."""
        now = self.clock()
        if now < self._soonest:
            return []
        over = [id for id, held in self._held.items() if held.kept.expires <= now]
        gone = [self._forget(id, "expired") for id in over]
        self._soonest = min((held.kept.expires for held in self), default=math.inf)
        return gone

    def _forget(self, id: str, why: str) -> Held:
        held = self._held[id]
        self.drop(id)
        self.forgotten[why] += 1
        return held

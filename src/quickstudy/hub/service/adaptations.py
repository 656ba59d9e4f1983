"""What the service does: adapts, answers, extends and forgets, for whoever may."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from quickstudy.errors import QuickstudyError
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.problems import Refused
from quickstudy.hub.service.served import Known, Question, Served
from quickstudy.hub.service.states import LISTED, Held, Kept, States, new_id
from quickstudy.hub.service.work import Steps, Work
from quickstudy.hub.wire import Adapted, Predictions

PURGE_SECONDS = 10.0
"""Between two looks for what has expired."""
TRIES = 5
"""Times that one extends what others extend at once, before it is told to come again."""
_Lock = asyncio.Lock
_logger = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where what was adapted is kept beyond the memory of one process; may be slow."""

    def put(self, kept: Kept, most: int, before: float | None = None) -> bool:
        """Keep it; of its owner's no more than `most`.

        Args:
            kept: what to keep.
            most: how many its owner may have; those made first give way.
            before: when what it takes the place of was made; None for something new.

        Returns:
            False where that is no longer there, and nothing was kept.
        """

    def get(self, id: str) -> Kept | None:
        """What has that id; None where there is nothing."""

    def made(self, id: str) -> float | None:
        """When what has that id was made; None where there is nothing."""

    def drop(self, id: str) -> None:
        """Keep it no longer."""

    def of(self, owner: str | None, now: float, digests: Collection[str]) -> list[Adapted]:
        """An owner's, or everybody's, of these models and not expired; `LISTED`, newest first."""

    def purge(self, now: float) -> None:
        """Keep what has expired no longer."""


class Adaptations:
    """Models, and what was adapted from them.

    Args:
        models: by name.
        limits: how much is allowed.
        work: runs the models.
        shelf: keeps what was adapted beyond this process; None for memory alone.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        models: Mapping[str, Served],
        limits: Limits,
        work: Work,
        shelf: Shelf | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.models = dict(models)
        self.limits = limits
        self.work = work
        self.shelf = shelf
        self.states = States(limits, clock)
        self.clock = clock
        self._turns: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
        self._in_turn = 0

    def model(self, name: str) -> Served:
        """The model of that name.

        Raises:
            Refused: 404 where there is none.
        """
        if name not in self.models:
            raise Refused(404, f"there is no model {name[:80]!r}; see /v1/models")
        return self.models[name]

    async def adapt(self, name: str, owner: str, read: Callable[[Served], Known]) -> Held:
        """Adapt a model to examples.

        Args:
            name: of the model.
            owner: whose it is to be.
            read: makes the examples; it may take its time.

        Raises:
            QuickstudyError: the examples are not what the model takes.
            Refused: there is no such model, they are too many, or the service is too busy.
        """
        served = self.model(name)

        def learn() -> Steps[Held]:
            known = read(served)
            learned = yield from served.adapt(known)
            held = Held(self._kept(new_id(), owner, served, known), learned)
            if self.shelf is not None:
                self.shelf.put(held.kept, self.limits.adapted)
            return held

        held = await self.work.do_steps(learn, served.shares)
        self.states.put(held)
        return held

    async def predict(self, held: Held, read: Callable[[Served], Question]) -> Predictions:
        """Answer inputs with what was adapted.

        Args:
            held: what was adapted.
            read: makes the question; it may take its time.

        Raises:
            QuickstudyError: they are not what the model takes.
            Refused: they are too many, or the service is too busy.
        """
        served = self.models[held.kept.model]

        def answer() -> Steps[Predictions]:
            return (yield from served.predict(held.learned, *read(served)))

        return await self.work.do_steps(answer, served.shares)

    async def extend(self, held: Held, read: Callable[[Served], Known]) -> Held:
        """Adapt again, to more examples as well; of several that extend at once none is lost.

        Raises:
            QuickstudyError: the examples are not what the model takes.
            Refused: they are too many, it is gone meanwhile, or the service is too busy.
        """
        served, owner = self.models[held.kept.model], held.kept.owner

        def learn(before: Kept) -> Steps[Held | None]:
            known = served.more(before.known, read(served))
            learned = yield from served.adapt(known)
            after = Held(self._kept(before.id, owner, served, known), learned)
            if self.shelf is None:
                return after
            kept = self.shelf.put(after.kept, self.limits.adapted, before.created)
            return after if kept else None

        async with self._turn(held.id):
            for _ in range(TRIES):
                # Another may have extended it while this one waited.
                before = await self.find(held.id, owner)
                call = partial(learn, before.kept)
                after = await self.work.do_steps(call, served.shares)
                if self.shelf is None and self.states.get(held.id) is not before:
                    raise _gone(held.id)
                if after is not None:
                    self.states.put(after)
                    return after
        raise Refused(503, "others extend this at the same time; come again", {"Retry-After": "1"})

    async def find(self, id: str, owner: str | None) -> Held:
        """What has that id.

        Args:
            id: of what was adapted.
            owner: who asks; None for somebody who may see everybody's.

        Raises:
            Refused: 404 where there is none, or it is somebody else's.
        """
        before = held = self.states.get(id)
        if self.shelf is not None:
            look = partial(self._current, self.shelf, id, held)
            held = await self.work.do_steps(look, together=False)
            if self.states.get(id) is before and held is not before:  # else it is newer than this
                self.states.drop(id)
                if held is not None:
                    self.states.put(held)
        if held is None or owner not in (None, held.kept.owner):
            raise _gone(id)
        return held

    async def forget(self, held: Held) -> None:
        """Forget what was adapted."""
        if self.shelf is not None:
            await self.work.do(partial(self.shelf.drop, held.id))
        self.states.drop(held.id)

    async def of(self, owner: str | None) -> list[Adapted]:
        """What an owner, or where None everybody, has adapted; made or used last first."""
        if self.shelf is None:
            return [held.kept.told() for held in self.states.of(owner)[:LISTED]]
        digests = {served.info.digest for served in self.models.values()}
        return await self.work.do(partial(self.shelf.of, owner, self.clock(), digests))

    async def purge(self) -> None:
        """Forget, from time to time, what has expired; until cancelled."""
        while True:
            await asyncio.sleep(PURGE_SECONDS)
            self.states.purge()
            if self.shelf is None:
                continue
            try:
                await self.work.do(partial(self.shelf.purge, self.clock()))
            except (Refused, QuickstudyError) as error:  # there is another time
                _logger.warning("what has expired was not removed: %s", error)

    @asynccontextmanager
    async def _turn(self, id: str) -> AsyncIterator[None]:
        """Alone with what has that id. Whoever waits for that is one of those that may wait.

        Raises:
            Refused: 429 where they are too many.
        """
        if self._in_turn >= self.limits.queue:
            raise self.work.busy()
        self._in_turn += 1
        try:
            async with self._turns.setdefault(id, _Lock()):
                yield
        finally:
            self._in_turn -= 1

    def _current(self, shelf: Shelf, id: str, held: Held | None) -> Steps[Held | None]:
        """What is held, or learned again where another process made or changed it."""
        if held is not None and shelf.made(id) == held.kept.created:
            return held
        kept = shelf.get(id)
        if kept is None or kept.expires <= self.clock():
            return None
        served = self.models.get(kept.model)
        if served is None or served.info.digest != kept.digest:
            return None  # it was of another model, which would answer otherwise
        return Held(kept, (yield from served.adapt(kept.known)))

    def _kept(self, id: str, owner: str, served: Served, known: Known) -> Kept:
        now = self.clock()
        digest = served.info.digest
        return Kept(id, owner, served.name, digest, known, now, now + self.limits.live)


def _gone(id: str) -> Refused:
    return Refused(404, f"there is no adapted model {id[:40]!r}, or no longer")

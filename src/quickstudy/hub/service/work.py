"""Model work, off the event loop: some threads, and a queue that is never longer than was said.

A small net costs little more for many inputs than for a few. So what waits for embeddings of the
same model gets them together: a job that is a generator yields what it wants embedded and is sent
the embeddings, and a thread that is free takes several such jobs at once. Only what waits already
is taken, and of that no more than leaves each of the other threads as much. A job that fails fails
alone.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from quickstudy.hub.service.problems import Refused

T = TypeVar("T")
TOGETHER = 16
"""Jobs that a thread takes at once."""


class Embedder(Protocol):
    """What embeds inputs, each as if it were alone."""

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings [n, d] of inputs [n, ...]."""


class Wish(NamedTuple):
    """Inputs [n, ...] that a job wants embedded."""

    by: Embedder
    x: Tensor


Steps = Generator[Wish, Tensor, T]
"""A job that wants embeddings: it yields wishes, is sent [n, d], and returns what it is for."""


class _Job:
    """A job, and who waits for it: threads tell the loop once, when it is over."""

    def __init__(
        self, call: Callable[[], Steps[Any]], together: bool, over: Callable[[], None]
    ) -> None:
        self.call = call
        self.together = together
        self.over = over
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self.loop.create_future()
        self.begun = self.left = False

    def begin(self) -> bool:
        """Whether it is still wanted; from a thread, which is to call it then."""
        self.begun = True  # before the look: whoever gives up looks the other way round
        return not self.answer.done()

    def leave(self) -> None:
        """It runs and waits no longer; in the loop's thread."""
        if not self.left:
            self.left = True
            self.over()

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """It has returned, or raised; from any thread."""
        with suppress(RuntimeError):  # nobody waits: the loop is closed
            self.loop.call_soon_threadsafe(self._end, result, error)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.leave()
        if self.answer.done():
            return  # whoever wanted it has given up
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class Work:
    """Runs jobs in threads, the first that came first.

    Args:
        threads: that work at the same time; each computes with one.
        queue: how many jobs may wait.

    Attributes:
        pending: how many run or wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.queue = queue
        self.pending = 0
        self._waiting: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._idle: list[threading.Condition] = []
        self._open = True
        for number in range(threads):
            name = f"quickstudy-work-{number}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self.pending >= self.threads + self.queue

    def busy(self) -> Refused:
        """What whoever comes then is told."""
        said = f"{self.queue} requests are waiting, which is as many as may; come again"
        return Refused(429, said, {"Retry-After": "1"})

    async def do(self, call: Callable[[], T]) -> T:
        """What a function returns, or raises, called in one of the threads.

        Whoever gives up waiting takes it from the queue; if it runs by then, it runs on, and its
        answer is lost.

        Raises:
            Refused: 429 where the queue is full.
        """
        return await self.do_steps(partial(_only, call), together=False)

    async def do_steps(self, call: Callable[[], Steps[T]], together: bool = True) -> T:
        """The same of a job that may want embeddings, which the function returns.

        Args:
            call: the function.
            together: whether it may share a thread with others; what costs much beside its
                embeddings should not, as they would wait for it.

        Raises:
            Refused: as for `do`.
        """
        if self.full:
            raise self.busy()
        self.pending += 1
        job = _Job(call, together, self._less)
        with self._lock:
            self._waiting.append(job)
            if self._idle:
                self._idle.pop().notify()  # the one that worked last: its caches are warm
        try:
            result: T = await job.answer
        except asyncio.CancelledError:
            # What it holds, a request's body, is not to lie here until a thread comes by.
            with self._lock, suppress(ValueError):
                self._waiting.remove(job)
            if not job.begun:
                job.leave()
            raise
        return result

    def close(self) -> None:
        """Let what runs finish, and nothing begin."""
        with self._lock:
            self._open = False
            for job in self._waiting:
                job.end(error=asyncio.CancelledError())
            self._waiting.clear()
            for news in self._idle:
                news.notify()

    def _less(self) -> None:
        self.pending -= 1

    def _run(self) -> None:
        # The threads are the parallelism: more in each would only wait for each other.
        torch.set_num_threads(1)
        news = threading.Condition(self._lock)
        while jobs := self._taken(news):
            _run_together(jobs)

    def _taken(self, news: threading.Condition) -> list[_Job]:
        """The job that is next, and its share of those like it behind it; none once all is over."""
        with self._lock:
            while self._open and not self._waiting:
                self._idle.append(news)
                news.wait()
            if not self._open:
                return []
            # No more than leaves as many to each of the others, which may be free at once.
            share = min(TOGETHER, len(self._waiting) // self.threads)
            jobs = [self._waiting.popleft()]
            while len(jobs) < share and self._waiting and jobs[0].together:
                if not self._waiting[0].together:
                    break
                jobs.append(self._waiting.popleft())
            return jobs


def _only(call: Callable[[], T]) -> Steps[T]:
    """A function as a job that wants no embeddings."""
    yield from ()
    return call()


def _run_together(jobs: Sequence[_Job]) -> None:
    """Run jobs until all have returned, or raised; each on its own but for embeddings."""
    wishes: list[tuple[_Job, Steps[Any], Wish]] = []
    for job in jobs:
        if not job.begin():  # whoever wanted it has given up, while those before it began
            job.end()
            continue
        try:
            steps = job.call()
        except BaseException as error:
            job.end(error=error)
            continue
        wishes += _advanced(job, steps, None)
    while wishes:
        alike: dict[Any, list[tuple[_Job, Steps[Any], Wish]]] = {}
        for one in wishes:
            by, x = one[2]
            # Bytes and numbers would become one kind, and bytes have a scale of their own.
            alike.setdefault((id(by), x.dtype, x.shape[1:]), []).append(one)
        wishes = [again for same in alike.values() for again in _granted(same)]


def _granted(
    same: Sequence[tuple[_Job, Steps[Any], Wish]],
) -> list[tuple[_Job, Steps[Any], Wish]]:
    """Embed what several wish of one model, and go on with each."""
    try:
        xs = [wish.x for _, _, wish in same]
        whole = same[0][2].by.embed(torch.cat(xs) if len(xs) > 1 else xs[0])
        # Each its own: who keeps a part of the whole keeps the whole.
        parts = [part.clone() for part in whole.split([len(x) for x in xs])]
    except BaseException as error:
        if len(same) > 1:  # whoever is to blame is to fail alone
            return [again for one in same for again in _granted([one])]
        same[0][0].end(error=error)
        return []
    pairs = zip(same, parts, strict=True)
    return [again for (job, steps, _), z in pairs for again in _advanced(job, steps, z)]


def _advanced(
    job: _Job, steps: Steps[Any], z: Tensor | None
) -> list[tuple[_Job, Steps[Any], Wish]]:
    """Go on with a job; what it wishes next, if anything."""
    try:
        wish = next(steps) if z is None else steps.send(z)
    except StopIteration as over:
        job.end(over.value)
        return []
    except BaseException as error:
        job.end(error=error)
        return []
    return [(job, steps, wish)]

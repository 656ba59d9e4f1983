"""Model work, off the event loop: some threads, and a queue that is never longer than was said.

A small net costs little more for many inputs than for a few. So what waits for embeddings of the
same model gets them together: a job that is a generator yields what it wants embedded and is sent
the embeddings, and a thread that is free takes several such jobs at once. Nobody waits for that:
only what waits already is taken. A job that fails fails alone.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
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


class _Job(NamedTuple):
    call: Callable[[], Any]
    future: "Future[Any]"
    together: bool


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
        self._news = threading.Condition()
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
        result: T = await self._done(call, together=False)
        return result

    async def do_steps(self, call: Callable[[], Steps[T]]) -> T:
        """The same of a job that wants embeddings, which the function returns.

        Raises:
            Refused: as for `do`.
        """
        result: T = await self._done(call, together=True)
        return result

    def close(self) -> None:
        """Let what runs finish, and nothing begin."""
        with self._news:
            self._open = False
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._news.notify_all()

    async def _done(self, call: Callable[[], Any], together: bool) -> Any:
        if self.full:
            raise self.busy()
        self.pending += 1
        job = _Job(call, Future(), together)
        loop = asyncio.get_running_loop()
        job.future.add_done_callback(lambda _: _in(loop, self._less))
        with self._news:
            self._waiting.append(job)
            self._news.notify()
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            # What it holds, a request's body, is not to lie here until a thread comes by.
            with self._news, suppress(ValueError):
                self._waiting.remove(job)
            raise

    def _less(self) -> None:
        self.pending -= 1

    def _run(self) -> None:
        # The threads are the parallelism: more in each would only wait for each other.
        torch.set_num_threads(1)
        while jobs := self._taken():
            live = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if not jobs[0].together:
                for job in live:
                    _settle(job.future, job.call)
            else:
                _run_together(live)

    def _taken(self) -> list[_Job]:
        """The job that is next, and those like it behind it; none once all is over."""
        with self._news:
            while self._open and not self._waiting:
                self._news.wait()
            if not self._open:
                return []
            jobs = [self._waiting.popleft()]
            # Some are left for the threads that are free as well.
            most = min(TOGETHER, -(-len(self._waiting) // self.threads)) if jobs[0].together else 0
            while len(jobs) <= most and self._waiting and self._waiting[0].together:
                jobs.append(self._waiting.popleft())
            return jobs


def _settle(future: "Future[Any]", call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _run_together(jobs: Sequence[_Job]) -> None:
    """Run jobs until all have returned, or raised; each on its own but for embeddings."""
    wishes: list[tuple[_Job, Steps[Any], Wish]] = []
    for job in jobs:
        try:
            steps = job.call()
        except BaseException as error:
            job.future.set_exception(error)
            continue
        wishes += _advanced(job, steps, None)
    while wishes:
        by: dict[int, list[tuple[_Job, Steps[Any], Wish]]] = {}
        for one in wishes:
            by.setdefault(id(one[2].by), []).append(one)
        wishes = [again for same in by.values() for again in _granted(same)]


def _granted(
    same: Sequence[tuple[_Job, Steps[Any], Wish]],
) -> list[tuple[_Job, Steps[Any], Wish]]:
    """Embed what several wish of one model, and go on with each."""
    try:
        xs = [wish.x for _, _, wish in same]
        whole = same[0][2].by.embed(torch.cat(xs) if len(xs) > 1 else xs[0])
        parts = whole.split([len(x) for x in xs])
    except BaseException as error:
        if len(same) > 1:  # whoever is to blame is to fail alone
            return [again for one in same for again in _granted([one])]
        same[0][0].future.set_exception(error)
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
        job.future.set_result(over.value)
        return []
    except BaseException as error:
        job.future.set_exception(error)
        return []
    return [(job, steps, wish)]


def _in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)

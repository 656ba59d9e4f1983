"""Model work, off the event loop: some threads, and a queue that is never longer than was said."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch

from quickstudy.hub.service.problems import Refused

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """Runs functions in threads, the first that came first.

    Args:
        threads: that work at the same time; each computes with one.
        queue: how many may wait.

    Attributes:
        pending: how many run or wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.queue = queue
        self.pending = 0
        self._pool = ThreadPoolExecutor(threads, "quickstudy-work", _settle)

    async def do(
        self, deadline: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a function returns, or raises, called in one of the threads.

        Args:
            deadline: seconds to wait for it, its time in the queue included. One that runs by then
                runs on, and its answer is lost.
            function: what to call.
            *args: what with.
            **kwargs: likewise.

        Raises:
            Refused: 429 where the queue is full, 503 where it took too long.
        """
        if self.pending >= self.threads + self.queue:
            raise Refused(
                429,
                f"{self.queue} requests are waiting, which is as many as may; come again",
                {"Retry-After": "1"},
            )
        self.pending += 1
        job = self._pool.submit(function, *args, **kwargs)
        loop = asyncio.get_running_loop()
        job.add_done_callback(lambda _: _in(loop, self._less))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), deadline)
        except TimeoutError:
            raise Refused(
                503,
                f"this took longer than the {deadline:g} seconds it may",
                {"Retry-After": "5"},
            ) from None

    def close(self) -> None:
        """Let what runs finish, and nothing begin."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _less(self) -> None:
        self.pending -= 1


def _settle() -> None:
    # The threads are the parallelism: more in each would only wait for each other.
    torch.set_num_threads(1)


def _in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)

"""Told to stop: what would not end by itself is to hear of it before the server waits for it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def when_told_to_stop(do: Callable[[], object]) -> Iterator[None]:
    """Have something done when this process is told to stop, and then what is done anyway.

    In another thread than the main one, which alone hears of signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, frame: FrameType | None) -> None:
        do()
        handler = usual[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in usual:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)

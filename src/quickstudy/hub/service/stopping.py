"""Told to stop: what runs is answered first, and what would not end by itself hears of it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last comes from a terminal that is closed."""


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Have signals call this, where they would end the process at once."""
    with _handled({number: lambda *_: stop() for number in SIGNALS}):
        yield


@contextmanager
def when_told_to_stop(do: Callable[[], object]) -> Iterator[None]:
    """Have something done when this process is told to stop, before what is done anyway.

    In another thread than the main one, which alone hears of signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}

    def told(number: int, frame: FrameType | None) -> None:
        do()
        handler = usual[signal.Signals(number)]
        assert callable(handler)  # only those are replaced
        handler(number, frame)

    with _handled({number: told for number, handler in usual.items() if callable(handler)}):
        yield


@contextmanager
def _handled(
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], object]],
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

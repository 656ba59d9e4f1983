"""A service of several processes at one address; they share what is adapted through the store."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from quickstudy.errors import RunError
from quickstudy.hub.service.metrics import FOLDER
from quickstudy.hub.service.serving import (
    Serving,
    address,
    app_of,
    check_reach,
    config_of,
    listening,
    load,
)

START_SECONDS = 120
"""How long a process may take to be ready, or to answer at all."""


def serve_many(serving: Serving, told: Callable[[str], None]) -> None:
    """Serve by `serving.workers` processes until told to stop.

    One that dies is replaced; on SIGHUP each is replaced by a new one, one after the other, and no
    request is lost.

    Args:
        serving: what, and how.
        told: called with the address once all processes are ready.

    Raises:
        QuickstudyError: as for `serve`, or a process cannot start.
    """
    if not serving.keep:
        raise RunError(
            f"{serving.workers} workers share what is adapted through the store, which is asked "
            "for with --keep; or let one process use all cores by its threads"
        )
    check_reach(serving)
    load(serving)  # what is wrong with a model is said once, here
    with (
        listening(serving.host, serving.port) as heard,
        TemporaryDirectory(prefix="quickstudy-metrics-") as folder,
    ):
        os.environ[FOLDER] = folder
        config = config_of(partial(_app, serving))
        config.factory, config.workers = True, serving.workers
        config.timeout_worker_healthcheck = START_SECONDS
        workers = _Workers(config, [heard])
        workers.all_ready = partial(told, address(heard))
        try:
            workers.run()
        finally:
            del os.environ[FOLDER]
    if workers.failed:
        raise RunError("a process of the service could not start; what it said is above")


class _Workers(Multiprocess):
    """Processes that are counted no more once they are gone."""

    all_ready: Callable[[], None]
    failed = False

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(START_SECONDS) for process in self.processes):
            self.all_ready()

    def keep_subprocess_alive(self) -> None:
        before, told_to_stop = list(self.processes), self.should_exit.is_set()
        super().keep_subprocess_alive()
        self.failed = self.should_exit.is_set() and not told_to_stop
        for process in before:
            if process not in self.processes and process.pid is not None:
                mark_process_dead(process.pid, os.environ[FOLDER])  # type: ignore[no-untyped-call]


def _app(serving: Serving) -> FastAPI:
    """The application of one of the processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return app_of(serving, load(serving))


def _end_with_parent() -> None:
    """Stop as if told to, where whoever would tell is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

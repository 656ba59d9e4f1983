"""A service of several processes at one address; they share what is adapted through the store."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from weakref import WeakKeyDictionary, WeakSet

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from quickstudy.errors import QuickstudyError, RunError
from quickstudy.hub.service.metrics import FOLDER
from quickstudy.hub.service.serving import (
    Serving,
    Source,
    address,
    app_of,
    check_reach,
    config_of,
    listening,
    load,
)
from quickstudy.hub.service.shelf import StoreShelf

_logger = logging.getLogger(__name__)
AGAIN_SECONDS = 10
"""Between two tries to replace one while what takes its place cannot start."""
HUNG_SECONDS = 60
"""How long a process may take to be ready, and later to answer at all."""


def serve_many(serving: Serving, told: Callable[[str], None], again: Callable[[], Serving]) -> None:
    """Serve by `serving.workers` processes until told to stop.

    All serve the models that are there now. One that dies is replaced. On SIGHUP each is replaced
    by a new one, one after the other while the others answer, that serves what is there then.

    Args:
        serving: what, and how.
        told: called with the address once all processes are ready.
        again: looks once more what is to be served.

    Raises:
        QuickstudyError: as for `serve`, or a process cannot start.
    """
    if not serving.keep:
        raise RunError(
            f"{serving.workers} workers share what is adapted through the store, which is asked "
            "for with --keep; or let one process use all cores by its threads"
        )
    with listening(serving.host, serving.port) as heard, _counting_together():
        check_reach(serving)
        StoreShelf(serving.store).close()  # what is wrong with it is said once, here
        workers = _Workers(_config(serving), [heard])
        workers.again, workers.all_ready = again, partial(told, address(heard))
        workers.run()
    if workers.failed:
        raise RunError(f"a process of the service could not start: {workers.failed}")


def _config(serving: Serving) -> uvicorn.Config:
    """How each process serves these very models: one that starts later finds the same or none.

    Raises:
        QuickstudyError: one of them cannot be loaded.
    """
    models = load(serving)
    pinned = {n: Source(models[n].folder, models[n].manifest.digest) for n in models}
    config = config_of(partial(_app, serving.model_copy(update={"models": pinned})))
    config.factory, config.workers = True, serving.workers
    config.timeout_worker_healthcheck = HUNG_SECONDS
    return config


@contextmanager
def _counting_together() -> Iterator[None]:
    """A folder where processes count together, named to them for as long as it is there."""
    before = os.environ.get(FOLDER)
    with TemporaryDirectory(prefix="quickstudy-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]
            if before is not None:
                os.environ[FOLDER] = before


class _Workers(Multiprocess):
    """Processes that are replaced when they die or hang, and are counted no more once gone.

    Never waits for one of them to answer: one that is killed while it is asked never does.
    """

    again: Callable[[], Serving]
    all_ready: Callable[[], None]
    said = False
    failed = ""

    def init_processes(self) -> None:
        self.heard: WeakKeyDictionary[Process, float] = WeakKeyDictionary()
        self.ready: WeakSet[Process] = WeakSet()
        self.tried: dict[int, float] = {}
        super().init_processes()

    def keep_subprocess_alive(self) -> None:
        for place, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            alive = process.process.is_alive()
            if not (alive and self._answers(process)):
                self._replace(place, process, alive)
        self._count_no_more()
        if not self.said and all(process in self.ready for process in self.processes):
            self.said = True
            self.all_ready()

    def _replace(self, place: int, process: Process, alive: bool) -> None:
        """Start another one; if this never was ready not at once, and not where all are gone."""
        process.kill()
        process.join()
        why, hopeless = ("it does not answer" if alive else "it is gone"), False
        if process not in self.ready and alive:
            why, hopeless = f"it was not ready within {HUNG_SECONDS} seconds", True
        elif process not in self.ready and (process.exitcode or 0) > 0:
            why, hopeless = "what it said is above", True
        if hopeless:
            if not any(other in self.ready for other in self.processes if other.process.is_alive()):
                self.failed = why
                self.should_exit.set()
                return
            if time.monotonic() - self.tried.get(place, 0.0) < AGAIN_SECONDS:
                return
        _logger.warning("process %s of the service is replaced: %s", process.pid, why)
        self.tried[place] = time.monotonic()
        self.processes[place] = Process(self.config, self.sockets)
        self.processes[place].start()

    def handle_hup(self) -> None:
        before, old = self.config, list(self.processes)
        try:
            self.config = _config(self.again())
        except QuickstudyError as error:
            _logger.error("nothing is replaced: %s", error)
            return
        self.restart_all()
        self._count_no_more()
        if self.processes == old:
            self.config = before

    def _answers(self, process: Process) -> bool:
        """Whether it does, if not to this question then to one of the last."""
        now = time.monotonic()
        last = self.heard.setdefault(process, now)
        if process.is_ready(timeout=0):
            self.ready.add(process)
            self.heard[process] = now
        return now - last < HUNG_SECONDS

    def _count_no_more(self) -> None:
        """Forget what processes that are gone held last."""
        live = {str(process.pid) for process in self.processes}
        for file in Path(os.environ[FOLDER]).glob("gauge_live*.db"):
            pid = file.stem.rpartition("_")[2]
            if pid not in live:
                mark_process_dead(pid, os.environ[FOLDER])  # type: ignore[no-untyped-call]


def _app(serving: Serving) -> FastAPI:
    """The application of one of the processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal's is for the parent to hear
    try:
        return app_of(serving, load(serving))
    except QuickstudyError as error:
        sys.exit(f"a process of the service cannot start: {error}")


def _end_with_parent() -> None:
    """Stop as if told to, where whoever would tell is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

"""A service that listens: models, keys and limits put together."""

import gc
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from quickstudy.errors import RunError
from quickstudy.hub.service.access import is_loopback
from quickstudy.hub.service.adaptations import Adaptations
from quickstudy.hub.service.app import make_app
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.served import Served
from quickstudy.hub.service.shelf import StoreShelf
from quickstudy.hub.service.stopping import stopped_by_signals
from quickstudy.hub.service.work import Work
from quickstudy.hub.store.keys import ACTIVE, KeyRing, utc_now

GRACE_SECONDS = 20
"""How long requests that run may take when the service is told to stop."""
IDLE_SECONDS = 75
"""How long a connection may lie idle: longer than proxies keep theirs, so that they close first."""
BACKLOG = 2048


class Source(NamedTuple):
    """Where a model is.

    Attributes:
        folder: of a run or a stored model.
        digest: that it must have; any where None.
    """

    folder: Path
    digest: str | None = None


class Serving(BaseModel):
    """What is served, and how.

    Attributes:
        models: name to where it is.
        host: where it listens.
        port: 0 for one that is free.
        limits: how much is allowed.
        keys: whether API keys are asked for.
        keep: whether what is adapted outlives the process, in the store.
        store: the database, as `store_url` takes it.
        threads: that run models, in each process; one a core of the machine in all where None.
        workers: processes that serve.
        device: where they compute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Source]
    host: str = "127.0.0.1"
    port: int = 8008
    limits: Limits = Limits()
    keys: bool = False
    keep: bool = False
    store: str | None = None
    threads: int | None = None
    workers: int = 1
    device: str = "auto"

    @property
    def asks_keys(self) -> bool:
        """Whether a key is asked for: always, where others could reach it."""
        return self.keys or not is_loopback(self.host)


def serve(serving: Serving, told: Callable[[str], None]) -> None:
    """Serve until told to stop.

    Args:
        serving: what, and how.
        told: called with the address once it listens.

    Raises:
        QuickstudyError: a model that cannot be loaded, an address that cannot be used, or no keys
            where others could reach it.
    """
    with listening(serving.host, serving.port) as heard:
        check_reach(serving)
        models = load(serving)
        server = uvicorn.Server(config_of(app_of(serving, models)))
        with stopped_by_signals(partial(setattr, server, "should_exit", True)):
            told(address(heard))
            server.run(sockets=[heard])


def config_of(app: FastAPI | Callable[[], FastAPI]) -> uvicorn.Config:
    """How a server has an application, or what makes one, answer what comes in at a socket."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
    )


def load(serving: Serving) -> dict[str, Served]:
    """The models, by name.

    Raises:
        QuickstudyError: one of them cannot be loaded.
    """
    models = {}
    for name, (folder, digest) in serving.models.items():
        models[name] = Served(name, folder, serving.limits, serving.device)
        if digest not in (None, models[name].manifest.digest):
            raise RunError(f"{folder} holds another model than the version of {name} in production")
    return models


def app_of(serving: Serving, models: Mapping[str, Served]) -> FastAPI:
    """The application that serves these models."""
    work = Work(serving.threads or max(1, _cores() // serving.workers), serving.limits.queue)
    shelf = StoreShelf(serving.store) if serving.keep else None
    ring = KeyRing(serving.store) if serving.asks_keys else None
    app = make_app(Adaptations(models, serving.limits, work, shelf), ring, serving.store)
    # What is here now stays. To look through it all for garbage stops everything for 0.2 s.
    gc.collect()
    gc.freeze()
    return app


def check_reach(serving: Serving) -> None:
    """Refuse to be reached from elsewhere by whoever likes.

    Raises:
        RunError: it would be.
    """
    if not serving.asks_keys:
        return
    with closing(KeyRing(serving.store)) as ring:
        usable = any(key.state(utc_now()) == ACTIVE for key in ring.all())
    if not usable:
        where = "a service with --require-keys" if serving.keys else f"listening on {serving.host}"
        raise RunError(
            f"{where} needs an API key, and there is none; "
            "make one: quickstudy keys create --name me --scope admin"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        RunError: it cannot be.
    """
    if not host:
        raise RunError("wanted an address to listen on, got an empty one; 0.0.0.0 is all of them")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    heard = socket.socket(family)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        heard.bind((host, port))
        heard.listen(BACKLOG)  # whoever is told the address may come at once
    except (OSError, OverflowError) as error:
        heard.close()
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(f"cannot listen on {host}, port {port}: {said}") from None
    return heard


def address(heard: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = heard.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    may = getattr(os, "sched_getaffinity", None)
    return len(may(0)) if may else os.cpu_count() or 1

"""A service of the tests' own: real sockets, in a thread of this process."""

import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import torch
import uvicorn

from quickstudy.hub.service.adaptations import Adaptations, Shelf
from quickstudy.hub.service.app import make_app
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.served import Served
from quickstudy.hub.service.serving import address, config_of, listening
from quickstudy.hub.service.work import Work


class Clock:
    """Time that tests move on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Service(NamedTuple):
    """One that runs."""

    url: str
    http: httpx.Client
    adaptations: Adaptations
    clock: Clock


@contextmanager
def serving(
    models: Mapping[str, Path],
    *,
    limits: Limits | None = None,
    keys: object = None,
    shelf: Shelf | None = None,
    store: str | None = None,
    threads: int = 2,
) -> Iterator[Service]:
    """Serves these models until the block ends."""
    limits, clock = limits or Limits(), Clock()
    made = {name: Served(name, folder, limits, "cpu") for name, folder in models.items()}
    adaptations = Adaptations(made, limits, Work(threads, limits.queue), shelf, clock)
    app = make_app(adaptations, keys, store)
    with nothing_unpickled(), listening("127.0.0.1", 0) as heard:
        server = uvicorn.Server(config_of(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [heard]})
        thread.start()
        url = address(heard)
        try:
            with httpx.Client(base_url=url, timeout=60) as http:
                _wait(http)
                yield Service(url, http, adaptations, clock)
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def process(model: Path, store: str, *told: str) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
    """`quickstudy serve` itself, which has the model as `m`, until the block ends."""
    command = [sys.executable, "-m", "quickstudy", "serve", "--model", f"m={model}", "--port", "0",
               "--store", store, *told]  # fmt: skip
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as running:
        try:
            url = re.search(r"http://\S+", running.stdout.readline())[0]
            with httpx.Client(base_url=url, timeout=60) as http:
                yield running, http
        finally:
            running.kill()


@contextmanager
def nothing_unpickled() -> Iterator[None]:
    """Whoever unpickles anything while a service runs fails."""

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("something was unpickled")

    class Refusing(pickle.Unpickler):
        """One that others may inherit from, as modules do that are imported meanwhile."""

        __init__ = refuse

    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "loads"):
            patch.setattr(pickle, name, refuse)
        patch.setattr(pickle, "Unpickler", Refusing)
        patch.setattr(torch, "load", refuse)
        yield


def _wait(http: httpx.Client) -> None:
    for _ in range(600):
        try:
            http.get("/health")
            return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("the service does not answer")

"""What Prometheus is told."""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy.hub.service.adaptations import Adaptations

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder where processes of one service count together."""
LOOK_SECONDS = 1.0


class Metrics:
    """Counts of one application; where it is one of several processes, of all of them.

    Args:
        served: whose queue and states are counted.
    """

    def __init__(self, served: Adaptations) -> None:
        self._registry = CollectorRegistry()
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self.requests = Counter(
            "quickstudy_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "quickstudy_request_seconds",
            "From a request's arrival to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._gauge("pending", "Model work that runs or waits.", lambda: served.work.pending)
        self._gauge("adapted", "States in memory.", lambda: len(served.states))
        self._gauge("adapted_bytes", "What they take.", lambda: served.states.bytes)
        for why in served.states.forgotten:
            count = partial(served.states.forgotten.__getitem__, why)
            self._gauge(f"forgotten_{why}", f"States given up: {why}.", count, of="sum")

    def text(self) -> bytes:
        """All counts, as Prometheus reads them."""
        self._look()
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)

    async def watch(self) -> None:
        """Keep what is read off, not counted, true to the second for other processes."""
        while True:
            self._look()
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        for gauge, value in self._gauges:
            gauge.set(value())

    def _gauge(
        self,
        name: str,
        about: str,
        value: Callable[[], float],
        of: Literal["sum", "livesum"] = "livesum",
    ) -> None:
        gauge = Gauge(f"quickstudy_{name}", about, registry=self._registry, multiprocess_mode=of)
        self._gauges.append((gauge, value))


class Counted:
    """Counts the requests of an application by route, not by address: those are without end."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, scope["method"], status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)

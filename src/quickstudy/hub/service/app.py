"""The service as one ASGI application."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy import __version__
from quickstudy.hub.service import inference, metrics, pages, routes, runs
from quickstudy.hub.service.access import Access, Caller, Keys, allow
from quickstudy.hub.service.adaptations import Adaptations
from quickstudy.hub.service.bodies import Deadline, LimitBody
from quickstudy.hub.service.inference import InferRequest
from quickstudy.hub.service.metrics import Counted, Metrics
from quickstudy.hub.service.problems import answer_problems, problem, refusals
from quickstudy.hub.service.stopping import when_told_to_stop
from quickstudy.hub.service.work import Work
from quickstudy.hub.wire import Problem, Query, Support

HEALTH = frozenset({"/health", "/v2/health/live", "/v2/health/ready"})
PUBLIC = pages.PUBLIC | HEALTH | {"/openapi.json"}
"""Routes that ask for no key."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_ABOUT = """Adapt a meta-trained model to your own classes from a few examples, then ask it.

`POST /v1/models/{model}/adapt` learns from labelled examples and returns an `adapted_id`;
`POST /v1/adapted/{adapted_id}/predict` answers with it."""


def make_app(
    adaptations: Adaptations, keys: Keys | None = None, store: str | None = None
) -> FastAPI:
    """An application that serves models.

    Args:
        adaptations: what is served, and what it has learned.
        keys: tells good API keys; None where everybody on this machine may do all.
        store: the database of the runs, as `store_url` takes it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(again) for again in (adaptations.purge(), counts.watch())]
        loop, stopping = asyncio.get_running_loop(), app.state.stopping
        try:
            with when_told_to_stop(lambda: loop.call_soon_threadsafe(stopping.set)):
                yield
        finally:
            adaptations.work.close()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    app = FastAPI(
        title="quickstudy",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    counts = Metrics(adaptations)
    app.state.adaptations = adaptations
    app.state.access = Access(keys)
    app.state.store = store
    app.state.streams = set()
    app.state.stopping = asyncio.Event()
    app.include_router(routes.router, tags=["adaptation"])
    app.include_router(inference.router, tags=["open inference protocol"])
    app.include_router(runs.router, tags=["runs"])
    app.include_router(pages.router(pages.read_files()))
    answer_problems(app)

    @app.get("/health", tags=["health"])
    async def health() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "ok"}

    @app.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses=refusals(401, 403) | {200: {"content": {"text/plain": {}}}},
    )
    async def metrics_(caller: Annotated[Caller, Depends(allow("read"))]) -> Response:
        """Counts, as Prometheus reads them."""
        return Response(counts.text(), media_type=metrics.MEDIA_TYPE)

    for path in HEALTH:  # balancers may ask for no more than that
        app.add_api_route(path, health, methods=["HEAD"], include_in_schema=False)

    app.add_middleware(LimitBody, most=adaptations.limits.body)
    app.add_middleware(Deadline, seconds=adaptations.limits.deadline)
    app.add_middleware(Counted, metrics=counts)
    app.add_middleware(Guarded)
    app.add_middleware(SendAway, work=adaptations.work, metrics=counts)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


class SendAway:
    """Sends away what the model could not take up, before it costs anything.

    Under many times the load that the model takes, this is what the service does most: the answer
    is made once, but for the address.

    Args:
        app: what is behind it.
        work: what may be full.
        metrics: counts them.
    """

    def __init__(self, app: ASGIApp, work: Work, metrics: Metrics) -> None:
        self.app = app
        self.work = work
        self.sent = metrics.requests.labels("none", "POST", 429)
        busy = work.busy()
        answer = problem(busy.status, busy.detail, "", HEADERS | busy.headers)
        self.before, self.after = bytes(answer.body).split(b'""')
        self.status = busy.status
        self.headers = [one for one in answer.raw_headers if one[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not self.work.full:
            await self.app(scope, receive, send)
            return
        self.sent.inc()
        body = self.before + json.dumps(scope["path"][:200]).encode() + self.after
        headers = [*self.headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Guarded:
    """Tells browsers to trust nothing but this server.

    Args:
        app: what is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                came = message["headers"]
                own = {name.lower() for name, _ in came}
                message["headers"] = [*came, *(one for one in _HEADERS if one[0] not in own)]
            await send(message)

        await self.app(scope, receive, headed if scope["type"] == "http" else send)


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that routes read themselves."""
    if app.openapi_schema:
        return app.openapi_schema
    told = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    bodies = [(model, "validation") for model in (Support, Query, InferRequest)]
    said = [(Problem, "serialization")]
    _, schemas = models_json_schema([*bodies, *said], ref_template="#/components/schemas/{model}")  # type: ignore[list-item]
    told["components"]["schemas"] |= schemas["$defs"]
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    told["components"]["securitySchemes"] = schemes
    told["security"] = [{"bearer": []}, {"header": []}, {}]
    for path in told["paths"].values():
        for operation in path.values():
            if _unread(operation):
                del operation["responses"]["422"]
    app.openapi_schema = told
    return told


def _unread(operation: dict[str, Any]) -> bool:
    """Whether FastAPI alone said that a route answers 422: those that read no body do not."""
    content = operation["responses"].get("422", {}).get("content", {})
    return "application/json" in content

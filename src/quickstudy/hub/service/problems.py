"""Refusals as the answers that clients get: RFC 9457 problems."""

import logging
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route

from quickstudy.errors import QuickstudyError, StoreError
from quickstudy.hub.wire import Problem

MEDIA_TYPE = "application/problem+json"
_logger = logging.getLogger(__name__)
GONE = 499
"""What is counted where the client went away before it was answered, as proxies do."""
_SHOWN = 3
"""Faults of a request that are named before they are counted."""


class Refused(Exception):
    """A request that is not served.

    Args:
        status: of the answer.
        detail: what came and what was wanted.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def problem(
    status: int, detail: str, path: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The answer that says why.

    Examples:
        >>> problem(404, "there is no model 'a'", "/v1/models/a").media_type
        'application/problem+json'
    """
    title = HTTPStatus(status).phrase
    said = Problem(
        type="about:blank", title=title, status=status, detail=detail, instance=path[:200]
    )
    return JSONResponse(
        said.model_dump(mode="json"), status, headers=headers, media_type=MEDIA_TYPE
    )


def faults(error: ValidationError | RequestValidationError) -> str:
    """What pydantic found, in one line.

    Examples:
        >>> from quickstudy.hub.wire import Query
        >>> try:
        ...     Query.model_validate({"x": [1], "nearest": "far"})
        ... except ValidationError as error:
        ...     print(faults(error))
        nearest: Input should be a valid boolean, unable to interpret input
    """
    found = listed(error)
    said = []
    for fault in found[:_SHOWN]:
        where = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query"))
        what = fault["msg"].removeprefix("Value error, ")
        said.append(f"{where[:80]}: {what[:300]}" if where else what[:300])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(said) + more


def listed(error: ValidationError | RequestValidationError) -> Sequence[Any]:
    """The faults that pydantic found, without what came: that may be long."""
    if isinstance(error, RequestValidationError):
        return error.errors()
    return error.errors(include_url=False, include_input=False, include_context=False)


def answer_problems(app: FastAPI) -> None:
    """Have an application answer every refusal and every failure as a problem."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return problem(error.status, error.detail, request.url.path, error.headers)

    @app.exception_handler(QuickstudyError)
    async def unfit(request: Request, error: QuickstudyError) -> JSONResponse:
        return problem(422, str(error), request.url.path)

    @app.exception_handler(StoreError)
    async def away(request: Request, error: StoreError) -> JSONResponse:
        _logger.error("%s", error)  # it names the store, which is nobody else's business
        said = "the store cannot be used now; the log of the service says why"
        return problem(503, said, request.url.path, {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, faults(error), request.url.path)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(_methods(app.routes, request.url.path)))
        return problem(error.status_code, str(error.detail), request.url.path, headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)  # nobody gets it; it is counted

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # What went wrong is in the server's log, which this error is raised into as well.
        return problem(500, "the server failed; its log says why", request.url.path)


def _methods(routes: Sequence[BaseRoute], path: str) -> set[str]:
    """All methods that an address has; a router knows those of its first route that fits."""
    found: set[str] = set()
    for route in every(routes):
        if isinstance(route, Route) and route.path_regex.fullmatch(path):
            found |= route.methods or set()
    return found


def every(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """All routes, those of routers that are part of others too."""
    for route in routes:
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner:
            yield from every(inner)
        else:
            yield route


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside success, for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content, "model": None}
        for status in statuses
    }

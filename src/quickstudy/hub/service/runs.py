"""The addresses under /v1/runs: what was trained here, and how it goes, as it goes."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from quickstudy.errors import QuickstudyError, RunError, StoreError
from quickstudy.hub.listing import described, listed
from quickstudy.hub.runs import open_run
from quickstudy.hub.service.access import Caller, allow
from quickstudy.hub.service.problems import Refused, refusals
from quickstudy.hub.store.runs import RUNNING, RunIndex

router = APIRouter(prefix="/v1/runs")
Reader = Annotated[Caller, Depends(allow("read"))]
T = TypeVar("T")
POINTS = 500
"""Of a curve, at most: more than a screen shows."""
EVERY_SECONDS = 1.0
"""Between two looks at a run that goes on."""
STREAMS = 64
"""Runs that are followed at the same time: each takes a look a second."""
ENDED = "event: end\ndata: {}\n\n"
_ID = re.compile(r"[0-9a-f]{4,32}")
_FAILED = refusals(401, 403, 404, 503)


class RunList(BaseModel):
    """Runs, the newest first."""

    runs: list[dict[str, Any]]


class Point(BaseModel):
    """A step of a run.

    Attributes:
        step: its number.
        loss: the mean over the steps since the point before; None where none is finite.
        validation: on meta-validation, where it was looked at.
        interval95: of it.
    """

    step: int
    loss: float | None = None
    validation: float | None = None
    interval95: float | None = None


class Curve(BaseModel):
    """How a run went so far.

    Attributes:
        points: in the order of steps.
        metric: what validation is.
        state: "running", "stopped", "failed", "finished" or "missing".
    """

    points: list[Point]
    metric: str | None
    state: str


@router.get("", responses=refusals(401, 403, 503))
async def list_runs(request: Request, caller: Reader) -> RunList:
    """What was trained, the newest first."""
    return RunList(runs=await _asked(request, listed))


@router.get("/{run_id}", responses=_FAILED)
async def show_run(run_id: str, request: Request, caller: Reader) -> dict[str, Any]:
    """One run in full: its options, where it came from, and how it went."""
    return await _asked(request, lambda index: described(index, _checked(run_id)))


@router.get("/{run_id}/curve", responses=_FAILED | refusals(422))
async def show_curve(
    run_id: str, request: Request, caller: Reader, after: Annotated[int, Query(ge=0)] = 0
) -> Curve:
    """Loss and meta-validation by step, after a step."""
    return await _asked(request, lambda index: _curve(index, _checked(run_id), after))


@router.get(
    "/{run_id}/events",
    responses=_FAILED | refusals(429) | {200: {"content": {"text/event-stream": {}}}},
)
async def follow(run_id: str, request: Request, caller: Reader) -> StreamingResponse:
    """The same as it goes, as server-sent events, until the run ends."""
    streams: set[object] = request.app.state.streams
    if len(streams) >= STREAMS:
        raise Refused(
            429, f"{STREAMS} runs are followed already, as many as may", {"Retry-After": "5"}
        )
    streams.add(request)
    try:
        first = await _asked(request, lambda index: _curve(index, _checked(run_id), 0))
    except BaseException:
        streams.discard(request)
        raise
    return _Stream(_looks(request, run_id, first), request)


class _Stream(StreamingResponse):
    """Events; its place is free again once it is over, even where nobody took the first."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], request: Request) -> None:
        super().__init__(events)
        self.request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.request.app.state.streams.discard(self.request)


async def _looks(request: Request, run_id: str, curve: Curve) -> AsyncIterator[str]:
    """Events until the run or the service ends; they break off where the store or the key does."""
    stopping: asyncio.Event = request.app.state.stopping
    last = 0
    while True:
        last = curve.points[-1].step if curve.points else last
        yield f"id: {last}\ndata: {curve.model_dump_json()}\n\n"
        if curve.state != RUNNING:
            yield ENDED
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), EVERY_SECONDS)
            return
        try:
            await request.app.state.access.caller(request, "read")  # it may have been revoked
            curve = await _asked(request, partial(_curve, run_id=run_id, after=last))
        except StoreError:
            return
        except Refused as refused:  # the answer has begun, so it can only end
            if refused.status == HTTPStatus.NOT_FOUND:
                yield ENDED
            return


def _checked(run_id: str) -> str:
    """An id and nothing else: a name of another kind could be a folder's.

    Raises:
        Refused: 404.
    """
    if not _ID.fullmatch(run_id):
        raise Refused(404, f"there is no run {run_id[:40]!r}")
    return run_id


def _curve(index: RunIndex, run_id: str, after: int) -> Curve:
    row = described(index, run_id)
    rows: list[dict[str, Any]] = []
    if row["state"] != "missing" and Path(row["folder"]).is_dir():
        told = open_run(row["folder"]).metrics()
        rows = [one for one in told if isinstance(one.get("step"), int) and one["step"] > after]
    return Curve(points=_thinned(rows), metric=row["metric"], state=row["state"])


def _thinned(rows: list[dict[str, Any]]) -> list[Point]:
    """So many points as a picture needs: losses averaged, every look at meta-validation kept."""
    each = max(1, -(-len(rows) // POINTS))
    points, losses = [], []
    for number, row in enumerate(rows, start=1):
        if row.get("loss") is not None:
            losses.append(row["loss"])
        look = row.get("validation") or {}
        if look or number % each == 0 or number == len(rows):
            points.append(
                Point(
                    step=row["step"],
                    loss=sum(losses) / len(losses) if losses else None,
                    validation=look.get("mean"),
                    interval95=look.get("interval95"),
                )
            )
            losses = []
    return points


async def _asked(request: Request, question: Callable[[RunIndex], T]) -> T:
    """The answer of the store, which may take its time."""
    store: str | None = request.app.state.store

    def ask() -> T:
        try:
            index = RunIndex(store)
        except QuickstudyError as error:  # whoever asks is not to blame
            raise StoreError(str(error)) from None
        with closing(index):
            try:
                return question(index)
            except StoreError:
                raise
            except RunError as error:
                raise Refused(404, str(error)) from None

    return await run_in_threadpool(ask)

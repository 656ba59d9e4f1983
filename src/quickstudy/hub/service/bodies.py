"""What comes in a request: never more than is allowed, and in one of the forms that are known."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy.hub.service.problems import Refused, faults, listed, problem

A = TypeVar("A")
T = TypeVar("T", bound=BaseModel)
JSON, FORM = "application/json", "multipart/form-data"


class Upload(NamedTuple):
    """A file of a form.

    Attributes:
        name: of its field.
        file: its own name.
        content: what it holds.
    """

    name: str
    file: str
    content: bytes


class LimitBody:
    """Refuses longer bodies, whether or not they say how long they are.

    Args:
        app: what is behind it.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or len(said) > 15 or int(said) > self.most:
            answer = problem(413, self._reason(), scope["path"], {"Connection": "close"})
            await answer(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.most:
                raise Refused(413, self._reason(), {"Connection": "close"})
            return message

        await self.app(scope, counted, send)

    def _reason(self) -> str:
        return f"a request may have {self.most} bytes, this one has more"


class Deadline:
    """Gives up requests that take too long to come or to be answered.

    An answer that has begun, a stream of events say, may go on.

    Args:
        app: what is behind it.
        seconds: from a request's arrival.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds) as until:

                async def noted(message: Message) -> None:
                    until.reschedule(None)
                    await send(message)

                await self.app(scope, receive, noted)
        except TimeoutError:
            if not until.expired():
                raise
            said = f"this took longer than the {self.seconds:g} seconds it may"
            headers = {"Retry-After": "5", "Connection": "close"}
            await problem(503, said, scope["path"], headers)(scope, receive, send)


async def read_json(request: Request) -> bytes:
    """The body, for `parsed`: what waits for the model waits as it came, which is shortest.

    Raises:
        Refused: 415 for another kind of body.
    """
    kind = _kind(request)
    if kind not in (JSON, ""):
        raise Refused(415, f"wanted {JSON} or {FORM}, got {kind[:80]!r}")
    return await request.body()


def parsed(body: bytes, model: type[T]) -> T:
    """A body as what it is to be; it may take its time.

    Raises:
        Refused: 400 where it is no JSON, 422 for another content.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        broken = any(fault["type"] == "json_invalid" for fault in listed(error))
        raise Refused(400 if broken else 422, faults(error)) from None


def is_form(request: Request) -> bool:
    """Whether the body is a form with files."""
    return _kind(request) == FORM


async def read_form(request: Request, most: int) -> list[Upload]:
    """The files of a form.

    Args:
        request: whose.
        most: how many it may have.

    Raises:
        Refused: it has none, or more, or something else than files.
    """
    _, told = parse_options_header(request.headers.get("content-type"))
    if told.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise Refused(415, f"wanted a form in UTF-8, got {told[b'charset'][:40]!r}")
    parser = _InMemory(
        request.headers, request.stream(), max_files=most + 1, max_fields=1, max_part_size=1000
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        many = error.message.startswith("Too many files")
        said = f"at most {most} files are taken" if many else error.message
        raise Refused(422 if many else 400, said) from None
    try:
        uploads = [await _upload(name, part) for name, part in form.multi_items()]
    finally:
        await form.close()
    if not uploads:
        raise Refused(422, "wanted files, got an empty form")
    return uploads


async def _upload(name: str, part: UploadFile | str) -> Upload:
    if not isinstance(part, UploadFile):
        raise Refused(422, f"wanted files, got text as {name[:80]!r}; files are NAME=@FILE")
    return Upload(_unescaped(name), part.filename or "", await part.read())


def _unescaped(name: str) -> str:
    """A field's name before a browser, or curl, wrote it into a form (WHATWG HTML, 4.10.21.8)."""
    for told, meant in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(told, meant)
    return name


class _InMemory(MultiPartParser):
    """Writes no file to the disk: what clients send is theirs, and bodies are short."""

    spool_max_size = sys.maxsize


async def while_there(request: Request, doing: Awaitable[A]) -> A:
    """What is done for a client whose request has been read; given up where it goes away.

    Raises:
        ClientDisconnect: it did.
    """
    me, waits = asyncio.current_task(), True
    assert me is not None  # a server runs each request in one

    def leave(_: "asyncio.Future[Message]") -> None:
        if waits:
            me.cancel()

    gone = asyncio.ensure_future(request.receive())  # nothing comes but that
    gone.add_done_callback(leave)
    try:
        return await doing
    except asyncio.CancelledError:
        if not gone.done() or me.uncancel():  # somebody else gave up
            raise
        raise ClientDisconnect from None
    finally:
        waits = False
        gone.cancel()


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()

"""A web server on this machine that does as it is told: cuts, lies, stalls, and is honest."""

import hashlib
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from quickstudy.data.download import Patience

BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2
QUICK = Patience(timeout=5, attempts=3, pause=0)


class Request(NamedTuple):
    """What a client asked: the path, and headers with names in lower case."""

    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """The byte that it wants the file from."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


Answer = Callable[[socket.socket, Request], None]


class Server:
    """Answers each connection by the next of the answers, and from then on by the last one."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def _serve(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, IndexError):  # a client that goes away
            text = b""
            while b"\r\n\r\n" not in text:
                text += connection.recv(4096) or b"\r\n\r\n"
            first, *lines = text.decode().split("\r\n\r\n")[0].split("\r\n")
            headers = (line.partition(": ") for line in lines)
            request = Request(first.split()[1], {n.lower(): value for n, _, value in headers})
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            answer(connection, request)
            with suppress(OSError):  # a close with unread bytes would reset what was sent
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                while connection.recv(4096):
                    pass

    def stall(self, connection: socket.socket, request: Request) -> None:
        """An answer that says nothing, until the server closes."""
        self.closing.wait(60)


def status(line: str, **headers: object) -> bytes:
    """The head of an answer: "200 OK", and headers whose _ stand for -."""
    said = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {line}\r\n{''.join(said)}\r\n".encode()


def says(line: str, body: bytes = b"", **headers: object) -> Answer:
    """This, whatever was asked."""

    def answer(connection: socket.socket, request: Request) -> None:
        connection.sendall(status(line, Content_Length=len(body), **headers) + body)

    return answer


def raw(content: bytes) -> Answer:
    """These bytes, and the end of the connection."""
    return lambda connection, request: connection.sendall(content)


def serves(body: bytes, etag: str = '"1"', cut: int | None = None) -> Answer:
    """A file, as an honest server does it; of which only `cut` bytes arrive."""

    def answer(connection: socket.socket, request: Request) -> None:
        start = request.start
        if start and request.headers.get("if-range", etag) == etag:
            if start >= len(body):
                connection.sendall(status("416 Range Not Satisfiable", Content_Length=0))
                return
            part = f"bytes {start}-{len(body) - 1}/{len(body)}"
            head = status(
                "206 Partial Content",
                Content_Length=len(body) - start,
                Content_Range=part,
                ETag=etag,
            )
        else:
            start = 0
            head = status("200 OK", Content_Length=len(body), ETag=etag)
        end = len(body) if cut is None else min(len(body), start + cut)
        connection.sendall(head + body[start:end])

    return answer


def files(contents: dict[str, bytes]) -> Answer:
    """Each file under its name, at any depth; 404 for others."""

    def answer(connection: socket.socket, request: Request) -> None:
        body = contents.get(request.path.rpartition("/")[2])
        (says("404 Not Found") if body is None else serves(body))(connection, request)

    return answer

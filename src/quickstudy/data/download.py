"""Fetch a file once: resumed where it broke off, checked, and there whole or not at all.

Whatever a server says, the digest decides: what has it is the file, what has not never appears.
"""

import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from quickstudy._version import __version__
from quickstudy.artefacts.atomic import exclusive
from quickstudy.data.cache import free_bytes
from quickstudy.errors import DataError

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are here."""

CHUNK = 1 << 16
REDIRECTS = 10
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""Statuses of a server that may well answer otherwise in a moment."""


class Patience(NamedTuple):
    """How long a server is given.

    Attributes:
        timeout: seconds for connecting, and for each wait for more bytes.
        attempts: times that a file is asked for before giving up.
        pause: seconds before the second time; each pause is twice the one before.
    """

    timeout: float = 30.0
    attempts: int = 5
    pause: float = 0.5


class Remote(NamedTuple):
    """A file that somebody publishes.

    Attributes:
        url: where.
        size: in bytes.
        sha256: its digest, in hexadecimal.
    """

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address.

        Examples:
            >>> Remote("https://example.org/a/letters.zip", 1, "").name
            'letters.zip'
        """
        return urlsplit(self.url).path.rpartition("/")[2]


class _Trouble(Exception):
    """What may be gone at the next attempt; the message is the reason."""


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str,
    size: int,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Fetch a file over HTTP(S), unless it is there already.

    What has come is kept beside `path` in `.<name>.part`. An interrupted download, be it by a lost
    connection, Ctrl-C or `kill -9`, goes on from there the next time. Several processes that want
    the same file wait for the first. Proxies named in the environment are used.

    Args:
        url: its address, http or https; redirections to such addresses are followed.
        path: where it is to be; missing folders are made, and a file with another digest replaced.
        sha256: its digest, in hexadecimal.
        size: its bytes.
        progress: told as bytes arrive.
        patience: how often and how long to try; `Patience()` where it is None.

    Raises:
        DataError: the server cannot be reached, has no such file or another one; or the disk is
            full or may not be written. `path` is as it was; the part that came stays where the
            next time can go on from it, and is gone where it was wrong.

    Examples:
        >>> fetch("ftp://example.org/a.zip", Path("a.zip"), sha256="", size=1)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: an address must begin with http:// or https://, got ftp://...
    """
    _web_only(url)
    if _is(path, size, sha256):
        return
    partial = path.with_name(f".{path.name}.part")
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.parent):
        if _is(path, size, sha256):  # by the process that this one waited for
            return
        with _written(partial):
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Unbuffered: what a killed process received is in the file.
            with FileIO(descriptor, "r+") as file:
                wanted = Remote(url, size, sha256)
                _Download(wanted, partial, file, progress, patience or Patience()).run()
            with _written(path):
                os.replace(partial, path)
        finally:
            if partial.exists() and not partial.stat().st_size:
                partial.unlink()


def verify(path: Path, *, sha256: str, size: int) -> None:
    """Refuse a file that is not the wanted one.

    Raises:
        DataError: it cannot be read, or has another size or digest.
    """
    try:
        came = path.stat().st_size
        digest = _sha256(path) if came == size else ""
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if came != size:
        raise DataError(f"{path} must have {size} bytes, got {came}")
    if digest != sha256:
        raise DataError(f"{path} must have the sha256 {sha256}, got {digest}")


class _Download:
    """One file on its way.

    Args:
        wanted: what is to come.
        partial: the path of what has come.
        file: the same, open.
        progress: told as bytes arrive.
        patience: how often and how long to try.
    """

    def __init__(
        self,
        wanted: Remote,
        partial: Path,
        file: FileIO,
        progress: Progress | None,
        patience: Patience,
    ) -> None:
        self.url, self.size, self.sha256 = wanted
        self.partial = partial
        self.file = file
        self.progress = progress or (lambda done, total: None)
        self.patience = patience
        self.version: str | None = None  # what the server calls the bytes that have come
        self.pieces = file.seek(0, os.SEEK_END) > 0  # they did not come in one answer
        self.opener = urllib.request.OpenerDirector()  # none that opens files, and no redirections
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self.opener.add_handler(handler)

    def run(self) -> None:
        """All attempts.

        Raises:
            DataError: as for `fetch`.
        """
        pause, reason = self.patience.pause, "no attempt was allowed"
        for attempt in range(self.patience.attempts):
            if attempt:
                time.sleep(pause)
                pause *= 2
            try:
                self._attempt()
                return
            except _Trouble as trouble:
                reason = str(trouble)
        held = self._held()
        kept = f"; {held} of {self.size} bytes are kept for the next time" if held else ""
        raise self._refused(f"{reason} (tried {self.patience.attempts} times{kept})")

    def _attempt(self) -> None:
        """Ask for what is missing, write it and check the whole."""
        held = self._held()
        if held > self.size:
            held = self._start_over()
        self._check_space(held)
        more = False
        if held < self.size:
            with self._ask(held) as answer:
                held = self._begin(answer, held)
                more = self._take(answer, held)
        with _written(self.partial):
            os.fsync(self.file.fileno())
        digest = _sha256(self.partial)
        if digest == self.sha256:
            return
        self._start_over()
        if self.pieces:
            self.pieces = False
            raise _Trouble("the pieces of several downloads do not fit together")
        came = f"more than {self.size} bytes" if more else f"{self.size} bytes of sha256 {digest}"
        raise self._refused(f"wanted {self.size} bytes of sha256 {self.sha256}, got {came}")

    def _ask(self, held: int) -> http.client.HTTPResponse:
        """The server's answer to a request for the bytes from `held` on, after redirections."""
        address = self.url
        headers = {"User-Agent": f"quickstudy/{__version__}", "Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
            if self.version:  # else the whole file, should it have changed
                headers["If-Range"] = self.version
        for _ in range(REDIRECTS):
            try:
                request = urllib.request.Request(address, headers=headers)
                answer: http.client.HTTPResponse = self.opener.open(
                    request, timeout=self.patience.timeout
                )
                return answer
            except urllib.error.HTTPError as error:
                with error:
                    address = self._elsewhere(error, address)
            except (http.client.InvalidURL, ValueError) as error:
                raise DataError(f"{address} is no address of a file: {error}") from error
            except (http.client.HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise self._refused(f"its certificate is not valid: {reason}") from error
                raise _Trouble(_said(reason)) from error
        raise self._refused(f"it redirects more than {REDIRECTS} times")

    def _elsewhere(self, error: urllib.error.HTTPError, address: str) -> str:
        """Where a redirection leads; any other status that is no success is an error."""
        location = error.headers.get("Location")
        if error.code in (301, 302, 303, 307, 308) and location:
            try:
                address = urljoin(address, location)
                _web_only(address)
            except ValueError as wrong:
                raise self._refused(f"it redirects elsewhere: {wrong}") from None
            return address
        status = f"the server says {error.code} {error.reason}"
        if error.code == 416:  # it holds fewer bytes than came before
            self._start_over()
            raise _Trouble(status)
        if error.code in TRANSIENT:
            raise _Trouble(status)
        raise self._refused(status)

    def _begin(self, answer: http.client.HTTPResponse, held: int) -> int:
        """The byte that an answer begins with; what came before is dropped where that is 0."""
        if answer.headers.get_content_type() == "text/html":
            raise self._refused(
                f"wanted a file of {self.size} bytes, got a web page (text/html), "
                "as of a sign-in or a proxy"
            )
        came, start = answer.length, 0
        if answer.status == 206:
            part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers["Content-Range"] or "")
            if not held or not part or int(part[1]) != held:
                self._start_over()
                raise _Trouble(f"the server sent other bytes than those from {held} on")
            came, start = None if part[2] == "*" else int(part[2]), held
        elif answer.status != 200:
            raise self._refused(f"the server says {answer.status} {answer.reason}")
        if came not in (None, self.size):
            raise self._refused(f"wanted a file of {self.size} bytes, got one of {came}")
        if start == 0:
            self._start_over()
        self.pieces = start > 0
        version = answer.headers.get("ETag", "")
        # A weak one promises the same meaning, not the same bytes.
        self.version = version if version.startswith('"') else answer.headers.get("Last-Modified")
        return start

    def _take(self, answer: http.client.HTTPResponse, held: int) -> bool:
        """Write the rest of the file; whether the server would send even more."""
        more = False
        with _written(self.partial):
            self.file.seek(held)
        self.progress(held, self.size)
        while held < self.size:
            try:
                chunk = answer.read1(min(CHUNK, self.size - held + 1))
            except (http.client.HTTPException, OSError) as error:
                raise _Trouble(_said(error)) from error
            if not chunk:
                raise _Trouble(f"the connection ended after {held} of {self.size} bytes")
            more = len(chunk) > self.size - held
            rest = memoryview(chunk)[: self.size - held]
            held += len(rest)
            with _written(self.partial):
                while rest:
                    rest = rest[self.file.write(rest) :]
            self.progress(held, self.size)
        return more

    def _held(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def _start_over(self) -> int:
        with _written(self.partial):
            self.file.truncate(0)
        self.version = None
        return 0

    def _check_space(self, held: int) -> None:
        folder, missing = self.partial.parent, self.size - held
        if free_bytes(folder) < missing:
            raise self._refused(f"{missing} bytes are missing, {free_bytes(folder)} free: {folder}")

    def _refused(self, reason: str) -> DataError:
        return DataError(f"cannot fetch {self.url}: {reason}")


def _web_only(address: str) -> None:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DataError(f"{address} is no address: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise DataError(f"an address must begin with http:// or https://, got {address}")
    if not host:
        raise DataError(f"an address must name a host, got {address}")


def _is(path: Path, size: int, sha256: str) -> bool:
    try:
        verify(path, sha256=sha256, size=size)
    except DataError:
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _said(reason: object) -> str:
    """What the network says, in one line."""
    if isinstance(reason, TimeoutError):
        return "the server does not answer, or sends nothing more"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return " ".join(str(reason).split()) or type(reason).__name__


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """A file system that refuses is one clear line."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error

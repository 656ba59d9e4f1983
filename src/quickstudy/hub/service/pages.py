"""The page at /: its files, read once, and nothing else."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from quickstudy.hub.service.problems import Refused

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
FILES = (
    INDEX,
    "icon.svg",
    "css/tokens.css",
    "css/page.css",
    "css/try.css",
    "css/runs.css",
    "css/models.css",
    "js/main.js",
    "js/api.js",
    "js/cards.js",
    "js/charts.js",
    "js/copying.js",
    "js/dom.js",
    "js/errors.js",
    "js/format.js",
    "js/glyphs.js",
    "js/icons.js",
    "js/keeping.js",
    "js/keys.js",
    "js/lesson.js",
    "js/models.js",
    "js/pad.js",
    "js/pictures.js",
    "js/query.js",
    "js/runs.js",
    "js/runtable.js",
    "js/snippets.js",
    "js/strokes.js",
    "js/theme.js",
    "js/try.js",
    "vendor/uPlot.esm.js",
    "vendor/uPlot.min.css",
    "vendor/uPlot.LICENSE.txt",
)
"""What is served; a file that is not named here is not."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
PUBLIC = frozenset({"/", "/page/{name:path}"})
"""Routes that ask for no key: the page holds no secret, and asks for the key itself."""


class File(NamedTuple):
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: with its charset.
        etag: changes with the content.
    """

    content: bytes
    media_type: str
    etag: str


def read_files() -> dict[str, File]:
    """The page's files by name.

    Examples:
        >>> read_files()["icon.svg"].media_type
        'image/svg+xml'
    """
    return {name: _read(FOLDER / name) for name in FILES}


def router(files: Mapping[str, File]) -> APIRouter:
    """Routes that serve these files, and look for no others."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        """The page."""
        return _answer(request, files[INDEX])

    @routes.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    async def file(name: str, request: Request) -> Response:
        """What the page is made of."""
        if name not in files:
            raise Refused(404, f"the page has no file {name[:80]!r}")
        return _answer(request, files[name])

    return routes


def _read(path: Path) -> File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return File(content, TYPES[path.suffix], f'"{digest[:24]}"')


def _answer(request: Request, file: File) -> Response:
    # Browsers keep the file and ask each time whether it changed: an upgrade shows at once.
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or file.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)

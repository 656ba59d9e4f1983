"""The page's files, and nothing else, are served."""

import os
import re
from contextlib import closing
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from quickstudy.hub.service import pages


class Answer(NamedTuple):
    """What came back, headers by their names in small letters."""

    status: int
    headers: dict[str, str]
    content: bytes


@pytest.fixture(scope="module")
def get(service):
    """Asks for a path exactly as it is written: no client tidies it up."""

    def ask_for(path: str, method: str = "GET", **headers: str) -> Answer:
        connection = HTTPConnection(service.url.removeprefix("http://"), timeout=60)
        with closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())

    return ask_for


class Parts(HTMLParser):
    """What a document loads, and what it holds that the policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.forbidden: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        source = given.get("src") or (given.get("href") if tag == "link" else None)
        if source:
            self.loads.append(source)
        self._script = tag == "script" and "src" not in given
        if tag == "style" or "style" in given or any(name.startswith("on") for name in given):
            self.forbidden.append(self.get_starttag_text() or tag)

    def handle_data(self, data):
        if self._script and data.strip():
            self.forbidden.append(data)


def test_every_file_is_served_as_what_it_is(get):
    there = {str(p.relative_to(pages.FOLDER)) for p in pages.FOLDER.rglob("*") if p.is_file()}
    assert there == set(pages.FILES), "the list names every file of the folder"
    assert len(set(pages.FILES)) == len(pages.FILES)
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    kinds |= {"svg": "image/svg+xml", "txt": "text/plain"}
    for name in pages.FILES:
        answer = get(f"/page/{name}")
        assert answer.status == 200
        assert answer.content == (pages.FOLDER / name).read_bytes()
        assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        etag = answer.headers["etag"]
        again = get(f"/page/{name}", **{"If-None-Match": f'"old", W/{etag}'})
        assert (again.status, again.content, again.headers["etag"]) == (304, b"", etag)
        assert get(f"/page/{name}", **{"If-None-Match": '"old"'}).status == 200
    assert get("/").content == (pages.FOLDER / "index.html").read_bytes()
    head = get("/", "HEAD")
    assert (head.status, head.content) == (200, b"")


def test_the_page_loads_only_what_the_policy_allows(get):
    answer = get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts = Parts(answer.content.decode())
    assert not parts.forbidden
    assert all(get(source).status == 200 for source in parts.loads)
    loaded = {source.removeprefix("/page/") for source in parts.loads}
    for name in pages.FILES:
        text = (pages.FOLDER / name).read_text(encoding="utf-8")
        if name.startswith("js/"):
            assert len(text.splitlines()) < 400
            assert "innerHTML" not in text, "what a user typed is never read as HTML"
            found = re.findall(r'(?:^import .*from |import\()"([^"]+)"', text, re.MULTILINE)
            loaded |= {os.path.normpath(Path("js") / source) for source in found}
        if not name.startswith("vendor/"):
            assert not re.search(r"https?://(?!www.w3.org/2000/svg)", text), (
                "nothing from elsewhere"
            )
    kept = {"index.html", "vendor/uPlot.LICENSE.txt"}
    assert loaded == set(pages.FILES) - kept, (
        "what is served is used, and nothing else is asked for"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/page/../pages.py", "/page/..%2fpages.py", "/page/%2e%2e/pages.py", "/page//etc/passwd",
        "/page/js/..%2f..%2f..%2fpages.py", "/page/%2fetc%2fpasswd", "/page/index.html%00",
        "/page/", "/page/js", "/page/js/", "/page/JS/main.js", "/page/js//main.js",
        "/page/js%5Cmain.js", "/page/js/absent.js", "/index.html", "/page/page/index.html",
    ],
)  # fmt: skip
def test_nothing_else_is_served(get, path):
    answer = get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"

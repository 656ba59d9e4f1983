"""The page in a real browser, against a real server; its files, and nothing else, are served."""

import os
import re
import select
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import quickstudy as qs
from hub.drawing import BAR, LEVELS, RING, card, draw, keep_shot, moved, teach
from quickstudy import learners, nets
from quickstudy.hub.runs import open_run
from quickstudy.hub.service import pages
from quickstudy.hub.store.runs import RunIndex

pytestmark = pytest.mark.xdist_group("page")  # one server and one browser for all of them
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WAIT = 30_000
"""Milliseconds that a browser waits for what a busy machine does."""
HASHES = {"try": "#/try/chars", "runs": "#/runs", "models": "#/models"}


@pytest.fixture(scope="module")
def models(trained, tmp_path_factory):
    """A model that reads drawings, untrained; one of numbers, and a run."""
    folder = tmp_path_factory.mktemp("models")
    ink = {"size": 28, "channels": 1, "polarity": "ink"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        seeing = learners.ProtoNet(nets.Conv4(width=16, norm="group"))
        counting = learners.ProtoNet(nets.MLP(3, [8]))
    qs.save(folder / "chars", seeing, input_shape=[1, 28, 28], preprocessing=ink)
    qs.save(folder / "rows", counting, input_shape=[3])
    return {"chars": folder / "chars", "rows": folder / "rows", "photos": trained}


def heard(address: str) -> None:
    """Wait until somebody listens there: a server says its address a moment before."""
    host, _, port = address.removeprefix("http://").partition(":")
    for _ in range(600):
        with suppress(ConnectionRefusedError), socket.create_connection((host, int(port)), 60):
            return
        time.sleep(0.1)
    pytest.fail(f"nobody listens on {address}")


@pytest.fixture(scope="module")
def address(models, tmp_path_factory):
    """Where a server of these models listens, in a process of its own; it knows one run."""
    store = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    with closing(RunIndex(store)) as index:
        index.read(open_run(models["photos"]))
    named = [part for name, path in models.items() for part in ("--model", f"{name}={path}")]
    command = [sys.executable, "-m", "quickstudy", "serve", *named, "--port", "0"]
    options = ["--threads", "1", "--device", "cpu", "--store", store]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            ready, _, _ = select.select([server.stdout], [], [], 240)
            assert ready, "the server did not start"
            where = server.stdout.readline().split(" on ")[1].strip()
            heard(where)
            yield where
        finally:
            server.terminate()
            server.wait(30)


class Answer(NamedTuple):
    """What came back, headers by their names in small letters."""

    status: int
    headers: dict[str, str]
    content: bytes


@pytest.fixture(scope="module")
def get(address):
    """Asks for a path exactly as it is written: no client tidies it up."""

    def ask_for(path: str, method: str = "GET", **headers: str) -> Answer:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
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


# In a browser.


@pytest.fixture(scope="module")
def browser(need):
    need.package("playwright.sync_api")
    program = need.program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; at the end nothing may have gone wrong in it but what was expected."""
    opened = []

    def open_page(where="", expected=(), **options):
        options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
        context = browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        faults = []
        page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else 0
        )
        page.on(
            "requestfailed",
            lambda r: faults.append(r.url) if "ERR_ABORTED" not in (r.failure or "") else 0,
        )
        opened.append((context, faults, expected))
        page.goto(f"{address}/{where}")
        return page

    yield open_page
    for context, faults, expected in opened:
        context.close()
        assert [f for f in faults if not any(re.search(one, f) for one in expected)] == []


def learned(page, said: str) -> None:
    """Wait until the page says that it has learned."""
    page.locator(".teach .chip.good").filter(has_text=re.compile(said)).wait_for()


def answered(page, name: str) -> None:
    """Wait until the likeliest class is this one."""
    page.locator(".verdict strong").filter(has_text=re.compile(f"^{name}$")).wait_for()


def ask(page, strokes) -> None:
    page.get_by_role("button", name="Clear the question").click() if page.locator(
        ".ask-tools .icon-button:not(:disabled)"
    ).count() else None
    draw(page, page.locator(".ask .pad"), strokes)


def test_draw_label_adapt_classify_and_add_a_class(visit, tmp_path):
    page = visit("#/try/chars")
    teach(page, 0, "bar", BAR)
    teach(page, 1, "ring", RING)
    learned(page, "Learned 2 classes in")
    for strokes, name in ((moved(BAR, 0.06, 0.0), "bar"), (moved(RING, 0.05, -0.04), "ring")):
        ask(page, strokes)
        answered(page, name)
        assert page.locator(".bars li.best .bar-name").inner_text() == name
        assert page.locator(".near img").get_attribute("alt") == f"an example of {name}"
        page.locator(".ask [role=status]").filter(has_text=f"Most likely {name}").wait_for(
            state="attached"
        )
    extended = []
    page.on("request", lambda r: extended.append(r.url) if r.url.endswith("/extend") else None)
    page.get_by_role("button", name="Add a class").click()
    with page.expect_response(re.compile("/extend$")):
        teach(page, 2, "levels", LEVELS[:1])  # one stroke is one example that is only added
    learned(page, "(Added levels in .*; nothing forgotten)|(Learned 3)")
    assert extended
    for strokes, name in ((LEVELS[:1], "levels"), (BAR, "bar"), (RING, "ring")):
        ask(page, strokes)
        answered(page, name)
    keep_shot(page, "taught", tmp_path)
    page.get_by_role("button", name="Remove levels").click()
    learned(page, "Learned 2 classes")
    answered(page, "ring")
    page.goto(page.url.split("#")[0] + "#/models")
    page.get_by_role("heading", name="chars").wait_for()
    page.goto(page.url.split("#")[0] + "#/try/chars")
    answered_cards = page.locator(".card input.card-name")
    answered_cards.nth(1).wait_for()
    assert [box.input_value() for box in answered_cards.all()] == ["bar", "ring"], "it remembers"


def test_a_newcomer_sees_it_work_in_seconds(visit):
    page = visit(
        "#/try/chars", viewport={"width": 390, "height": 844}, reduced_motion="no-preference"
    )
    page.locator(".card").first.wait_for()
    page.get_by_role("button", name="Start with an example").click()
    learned(page, "Learned 3 classes")
    page.locator(".verdict strong").wait_for()
    assert page.locator(".bars li").count() == 3
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for where in HASHES.values():
        page.evaluate(f"location.hash = {where!r}")
        page.locator("h1").wait_for()
        assert page.evaluate(over) <= 0, f"{where} fits a narrow screen"


def test_what_has_expired_is_learned_again(visit, address):
    page = visit("#/try/chars", expected=["404"])
    with page.expect_response(re.compile("/adapt$")) as first:
        page.get_by_role("button", name="Start with an example").click()
    learned(page, "Learned 3 classes")
    page.locator(".verdict strong").wait_for()
    held = first.value.json()["adapted_id"]
    page.request.delete(f"{address}/v1/adapted/{held}")
    with page.expect_response(re.compile("/adapt$")) as second:
        ask(page, RING)
    assert second.value.json()["adapted_id"] != held
    answered(page, "ring")


def test_what_the_server_refuses_is_said(visit, tmp_path):
    blank = tmp_path / "blank.png"
    text = tmp_path / "text.png"
    text.write_text("no picture")
    from PIL import Image

    Image.new("L", (40, 40), 255).save(blank)
    page = visit("#/try/chars", expected=["422"])
    teach(page, 0, "bar", BAR)
    card(page, 1).locator("input[type=file]").set_input_files(blank)
    said = page.locator(".teach .trouble")
    said.filter(has_text="An example of class 2 cannot be used: nothing is drawn on it").wait_for()
    assert "at-fault" in card(page, 1).get_attribute("class")
    card(page, 1).get_by_role("button", name="Remove this example").click()
    teach(page, 1, "bar", RING)
    page.get_by_text("Another class has this name.").first.wait_for()
    said.wait_for(state="detached")
    card(page, 1).get_by_role("textbox").fill("ring")
    learned(page, "Learned 2 classes")
    page.locator(".ask input[type=file]").set_input_files(text)
    page.locator(".ask .trouble").filter(has_text="text.png is no picture").wait_for()
    page.locator(".ask input[type=file]").set_input_files(blank)
    page.locator(".ask .trouble").filter(has_text="nothing is drawn on it").wait_for()
    ask(page, RING)
    answered(page, "ring")
    page.locator(".ask .trouble").wait_for(state="detached")


def test_the_keyboard_is_enough(visit, photos):
    page = visit("#/try/chars")
    page.on("filechooser", lambda chooser: None)  # so that every one is caught, not only some
    page.locator(".card").first.wait_for()
    visited = []
    for _ in range(40):
        page.keyboard.press("Tab")
        label = page.evaluate(
            "() => { const e = document.activeElement;"
            " const seen = getComputedStyle(e).outlineStyle !== 'none';"
            " return (e.getAttribute('aria-label') ?? e.textContent) + (seen ? '' : ' UNSEEN'); }"
        )
        visited.append(label)
        if "Start with an example" in label:
            break
    assert visited[0] == "Skip to the content"
    assert not [label for label in visited if "UNSEEN" in label]
    page.keyboard.press("Enter")
    learned(page, "Learned 3 classes")
    page.locator(".verdict strong").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Start over"
    page.keyboard.press("Enter")
    for number in range(2):
        picking = card(page, number).get_by_role("button", name="Pick pictures")
        picking.focus()
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(sorted((photos / f"class{number:02d}").iterdir())[:3])
    learned(page, "Learned 2 classes")
    page.get_by_role("button", name="Pick a picture").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(photos / "class00" / "0.png")
    answered(page, "class 1")
    page.get_by_role("textbox", name="Name of class 1").focus()
    page.keyboard.type("bars")
    answered(page, "bars")


def test_a_key_is_asked_for_once_and_kept_for_the_tab(visit, address):
    page = visit(expected=["401"])

    def guard(route):
        if route.request.headers.get("authorization") == "Bearer qs_right":
            route.continue_()
            return
        detail = "this key is not known, or no longer: Authorization: Bearer qs_..."
        problem = {"type": "about:blank", "title": "Unauthorized", "status": 401,
                   "detail": detail, "instance": "/"}  # fmt: skip
        route.fulfill(status=401, json=problem, content_type="application/problem+json")

    page.route("**/v1/**", guard)
    page.goto(f"{address}/#/models")
    page.reload()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    dialog.get_by_label("API key").fill("qs_wrong")
    page.keyboard.press("Enter")
    dialog.get_by_text("this key is not known").wait_for()
    dialog.get_by_label("API key").fill("qs_right")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="chars").wait_for()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert "QUICKSTUDY_KEY" in page.locator(".code").first.inner_text()
    page.reload()
    page.get_by_role("heading", name="chars").wait_for()


def test_runs_and_models(visit, trained, tmp_path):
    page = visit("#/runs")
    row = page.locator(".runs tbody tr").filter(has_text=trained.name).first
    row.wait_for()
    assert row.locator(".chip").inner_text() == "finished"
    box = row.get_by_role("checkbox")
    if not box.is_checked():
        box.check()
    for chart in ("Meta-validation", "Loss"):
        image = page.get_by_role(
            "img", name=re.compile(f"^{chart} over steps.*{trained.name}: .* at step 4")
        )
        image.locator("canvas").wait_for()
    assert "control" in page.locator(".chart").first.inner_text()
    page.locator(".differing th").filter(has_text="learner").wait_for()
    page.goto(page.url.split("#")[0] + "#/models")
    model = page.get_by_role("article", name="photos")
    model.wait_for()
    for text in ("ProtoNet", "control (NearestMean)", "Data", "Steps"):
        model.get_by_text(text).first.wait_for()
    copying = model.get_by_role("button", name="Copy curl command for photos")
    copying.click()
    model.locator(".code [role=status]").filter(has_text="Copied").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()").startswith('curl -s -F "alpha=@a.png"')
    page.goto(page.url.split("#")[0] + "#/try/rows")
    page.get_by_role("heading", name="rows does not read drawings").wait_for()
    assert '"labels":["alpha","beta"]' in page.locator(".code").first.inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_that_matters(visit, tmp_path, theme):
    page = visit("#/try/chars", color_scheme=theme, bypass_csp=True)  # axe is added to the page
    page.add_script_tag(path=AXE)
    for view, where in HASHES.items():
        page.evaluate(f"location.hash = {where!r}")
        if view == "try":
            check(page, f"empty try, {theme}")
            page.get_by_role("button", name="Start with an example").click()
            learned(page, "Learned 3 classes")
            page.locator(".verdict strong").wait_for()
        elif view == "runs":
            page.locator(".chart canvas").first.wait_for()
        else:
            page.get_by_role("article").first.wait_for()
        check(page, f"{view}, {theme}")
        keep_shot(page, f"{view}-{theme}", tmp_path)
    was = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != was
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != was, "it is kept"


def check(page, where: str) -> None:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, f"{where}: {bad}"

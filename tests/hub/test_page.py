"""The page in a real browser, against a real server."""

import os
import re
import select
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

import quickstudy as qs
from hub.drawing import (
    BAR,
    LEVELS,
    RING,
    answered,
    ask,
    card,
    check,
    described,
    draw,
    focused,
    guarded,
    keep_shot,
    learned,
    moved,
    refusing,
    step_of,
    stuttering,
    teach,
    touch,
    transfer,
    unfit,
)
from hub.folders import SMALL
from quickstudy import learners, nets
from quickstudy.hub.runs import open_run
from quickstudy.hub.store.runs import RunIndex, row_of_run

pytestmark = pytest.mark.xdist_group("page")  # one server and one browser for all of them
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WAIT = 30_000
"""Milliseconds that a browser waits for what a busy machine does."""
LEAVING = "(it) => addEventListener('pagehide', () => sessionStorage['quickstudy-lesson'] = it)"
"""Leaves a lesson behind that the page did not write."""
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


@pytest.fixture(scope="module")
def store(models, tmp_path_factory):
    """A database that knows one run."""
    url = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    with closing(RunIndex(url)) as index:
        index.read(open_run(models["photos"]))
    return url


@pytest.fixture(scope="module")
def address(models, store):
    """Where a server of these models listens, in a process of its own."""
    named = [part for name, path in models.items() for part in ("--model", f"{name}={path}")]
    command = [sys.executable, "-m", "quickstudy", "serve", *named, "--port", "0"]
    options = ["--threads", "1", "--device", "cpu", "--store", store]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            ready, _, _ = select.select([server.stdout], [], [], 240)
            assert ready, "the server did not start"
            yield server.stdout.readline().split(" on ")[1].strip()
        finally:
            server.terminate()
            server.wait(30)


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
    held = []
    page.route("**/js/models.js", lambda route: held.append(route))
    page.get_by_role("link", name="Models").click()
    page.locator(".views [aria-current]").filter(has_text="Models").wait_for()
    assert page.locator("main[aria-busy=true]").inner_text() == "", "nothing of the view before"
    held[0].continue_()
    page.get_by_role("heading", name="chars").wait_for()
    assert page.locator("main[aria-busy]").count() == 0
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
    page = visit("#/try/chars", expected=["404", "422", "503"])
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
    refusals = [(422, "at most 3 classes are taken, got 4"), (503, "come again")]
    page.route("**/extend", refusing(refusals))
    page.get_by_role("button", name="Add a class").click()
    draw(page, card(page, 3).locator(".pad"), LEVELS[:1])
    trouble = page.locator(".teach .trouble")
    trouble.filter(has_text="got 4").wait_for()
    page.get_by_text("This server takes at most 3 classes.").wait_for()
    assert page.get_by_role("button", name=re.compile("Add a class|Try again")).count() == 0
    card(page, 3).get_by_role("textbox").fill("more")
    trouble.filter(has_text="come again").wait_for()
    page.unroute("**/extend")
    trouble.get_by_role("button", name="Try again").click()
    learned(page, "Added more in")
    for _ in range(2):
        page.locator(".card-head .icon-button").last.click()
    page.get_by_role("button", name="Add a class").wait_for()


def test_what_the_server_refuses_is_left_out_and_said(visit, tmp_path):
    blank, text, empty = unfit(tmp_path)
    page = visit("#/try/chars", expected=["422"])
    sent = []
    teaching = re.compile("/(adapt|extend)$")
    page.on("response", lambda r: sent.append(r.status) if teaching.search(r.url) else None)
    teach(page, 0, "bar", BAR)
    pick = card(page, 1).locator("input[type=file]")
    pick.set_input_files(blank)
    notes = card(page, 1).locator(".card-notes")
    reason = "cannot be used: nothing is drawn on it, it is one colour all over"
    notes.get_by_text(f"Example 1 {reason}. It is left out; remove it.").wait_for()
    page.locator(".chip").filter(has_text="One more class needs an example").wait_for()
    assert "at-fault" in card(page, 1).get_attribute("class")
    thumb = card(page, 1).get_by_role("button", name="Example 1 of class 2")
    assert "refused" in thumb.get_attribute("class")
    assert described(page, thumb) == reason
    card(page, 1).get_by_role("button", name="Draw another example").click()
    teach(page, 1, "bar", RING)
    page.get_by_text("Another class has this name.").first.wait_for()
    card(page, 1).get_by_role("textbox").fill("ring")
    learned(page, "Learned 2 classes")
    pick.set_input_files([blank, text, empty])
    notes.get_by_text(f"Examples 1, 3 {reason}. They are left out; remove them.").wait_for()
    notes.get_by_text("2 of 3 could not be read: text.png, empty.png.").wait_for()
    learned(page, "Learned 2 classes")
    with page.expect_response(teaching):
        card(page, 0).get_by_role("textbox").fill("line")
    ask(page, RING)
    answered(page, "ring")
    assert sent == [422, 201, 422, 201], "nothing is sent again once it was refused"
    notes.get_by_text("2 of 3 could not be read").wait_for()
    assert page.locator(".teach .trouble").count() == 0
    keep_shot(page, "refused", tmp_path)
    spoken = page.locator(".ask [role=status]").filter(has_text="Most likely ring")
    spoken.wait_for(state="attached")
    card(page, 1).get_by_role("button", name="Example 2 of ring").click()
    card(page, 1).get_by_role("button", name="Remove this example").click()
    spoken.wait_for(state="detached")
    assert "could not be read" not in notes.inner_text()
    card(page, 1).get_by_role("button", name="Draw another example").click()
    draw(page, card(page, 1).locator(".pad"), RING)
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
        visited.append(focused(page))
        if "Start with an example" in visited[-1]:
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


def test_what_changes_while_something_is_refused_is_learned(visit):
    page, held = visit("#/try/chars", expected=["422"]), []
    page.route("**/adapt", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(re.compile("/adapt$")):
        page.get_by_role("button", name="Start with an example").click()
    page.locator(".card-head .icon-button").last.click()
    page.wait_for_timeout(700)  # it would learn what is left now, and waits for the answer
    refusing([(422, "at most 2 classes are taken, got 3")])(held[0])
    learned(page, "Learned 2 classes")
    assert page.locator(".teach .trouble").count() == 0


@pytest.mark.parametrize("where", ["#/try/%", "#/toString", "#/__proto__/x"])
def test_an_address_that_leads_nowhere_shows_the_first_view(visit, where):
    page = visit(where)
    page.get_by_role("heading", name="Teach it in one drawing").wait_for()
    page.locator(".card").first.wait_for()


def test_what_was_taught_is_there_when_the_page_is_loaded_again(visit, photos):
    page = visit("#/try/chars")
    teach(page, 0, "bar", BAR)
    teach(page, 1, "ring", RING)
    card(page, 1).locator("input[type=file]").set_input_files(sorted(photos.rglob("*.png"))[:1])
    learned(page, "(Learned 2 classes|Added 1 example) in")
    with page.expect_request(re.compile("/adapted/.*"), timeout=WAIT) as forgotten:
        page.reload()
    assert forgotten.value.method == "DELETE", "the server keeps nothing that nobody knows of"
    learned(page, "Learned 2 classes")
    names = page.locator(".card input.card-name")
    assert [box.input_value() for box in names.all()] == ["bar", "ring"]
    assert [card(page, n).locator(".thumb img").count() for n in (0, 1)] == [1, 2]
    ask(page, moved(BAR, 0.05, 0.0))
    answered(page, "bar")
    page.get_by_role("button", name="Start over").click()
    page.reload()
    page.get_by_text("Draw an example of two classes").wait_for()
    assert page.locator(".card .thumb").count() == 0
    for unknown in ("{", '{"classes": 3}'):
        page.evaluate(LEAVING, unknown)
        page.reload()
        page.get_by_text("Draw an example of two classes").wait_for()


def test_a_key_is_asked_for_once_and_kept_for_the_tab(visit, address):
    page = visit(expected=["401"])
    page.route("**/v1/**", guarded("qs_right"))
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
    for chart in ("Meta-validation: accuracy", "Loss"):
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


def test_a_run_of_the_same_name_that_goes_away_while_it_is_watched(visit, trained, store, tmp_path):
    with closing(RunIndex(store)) as index:
        twin = row_of_run(open_run(trained))
        twin.id, twin.folder, twin.state = "f" * 32, f"/elsewhere/{trained.name}", "running"
        twin.metric, twin.control = "squared_error", 2.5
        twin.origin = {**twin.origin, "host": "elsewhere"}  # so that it cannot be looked at
        index.put(twin)
        try:
            page = visit(expected=["503"])
            page.route("**/events", stuttering())
            page.goto(f"{page.url}#/runs/ffff")
            measured = page.get_by_role("img", name=re.compile(
                "Meta-validation: squared error over steps.*0.25.* at step [4-9]"))  # fmt: skip
            measured.locator("canvas").wait_for()
            rows = page.locator(".runs tbody tr")
            rows.filter(has_text="running").wait_for()
            rows.filter(has_text="finished").get_by_role("checkbox").check()
            charts = page.get_by_role("img", name=re.compile("(Loss|accuracy) over steps"))
            page.get_by_role("img", name=re.compile("^Meta.*accuracy over steps")).wait_for()
            twins = rows.filter(has_text="running").get_by_role("checkbox")
            twins.uncheck()
            measured.wait_for(state="detached")
            page.unroute("**/events")
            page.route("**/events", stuttering())
            twins.check()
            measured.locator("canvas").wait_for()
            assert page.get_by_text("lower is better").count() == 1
            assert page.locator(".chart").count() == 4, "each metric has charts of its own"
            keep_shot(page, "metrics", tmp_path)
            page.locator(".differing th").filter(has_text=f"{trained.name} ffff").wait_for()
        finally:
            index.remove([twin.id])
    rows.filter(has_text="running").wait_for(state="detached")
    page.locator(".differing th").filter(has_text=f"{trained.name} ffff").wait_for(state="detached")
    assert rows.filter(has_text="finished").get_by_role("checkbox").is_checked()
    assert charts.locator("canvas").count() == 2


def test_fingers_drops_and_pastes(visit, photos):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit("#/try/chars", **phone)
    card(page, 0).get_by_role("textbox").fill("bar")
    touch(page, card(page, 0).locator(".pad"), BAR)
    card(page, 0).locator(".thumb img").wait_for()
    card(page, 1).get_by_role("textbox").fill("photo")
    files = sorted((photos / "class00").iterdir())[:3]
    transfer(page, card(page, 1), "drop", files)
    learned(page, "Learned 2 classes")
    assert card(page, 1).locator(".thumb img").count() == 3
    transfer(page, page.locator(".ask"), "drop", files[:2])
    answered(page, "photo")
    page.get_by_text("One picture at a time: this is the first of 2.").wait_for()
    page.get_by_role("button", name="Clear the question").click()
    page.locator(".verdict strong").wait_for(state="detached")
    transfer(page, page.locator("body"), "paste", files[2:])
    answered(page, "photo")
    assert page.get_by_text("One picture at a time").count() == 0


def test_a_run_is_watched_as_it_goes(visit, photos, store, tmp_path):
    command = [sys.executable, "-m", "quickstudy", "train", "--data", str(photos), *SMALL]
    more = ["--steps", "100000", "--out", str(tmp_path / "live")]
    env = os.environ | {"QUICKSTUDY_STORE": store}
    with subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL, env=env) as training:
        try:
            page = visit("#/runs")
            row = page.locator(".runs tbody tr").filter(has_text="live")
            row.filter(has_text="running").wait_for()
            if not row.get_by_role("checkbox").is_checked():
                row.get_by_role("checkbox").check()
            chart = page.get_by_role("img", name=re.compile(r"^Loss over steps.*live: .* at step"))
            chart.locator("canvas").wait_for()
            first = step_of(chart)
            page.wait_for_function(
                "([chart, first]) => +chart.ariaLabel.match(/live: .* step ([0-9]+)/)[1] > first",
                arg=[chart.element_handle(), first],
            )
        finally:
            training.terminate()
            training.wait(60)
    row.filter(has_text="stopped").wait_for()


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

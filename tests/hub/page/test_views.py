"""All views of the page, in a real browser against a real server."""

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hub.drawing import (
    check,
    guarded,
    keep_shot,
    learned,
    step_of,
    stuttering,
)
from hub.folders import SMALL
from quickstudy.hub.runs import open_run
from quickstudy.hub.store.runs import RunIndex, row_of_run

pytestmark = pytest.mark.xdist_group("page")  # one server and one browser for all of them
AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
HASHES = {"try": "#/try/chars", "runs": "#/runs", "models": "#/models"}


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


@pytest.mark.parametrize("where", ["#/try/%", "#/toString", "#/__proto__/x"])
def test_an_address_that_leads_nowhere_shows_the_first_view(visit, where):
    page = visit(where)
    page.get_by_role("heading", name="Teach it in one drawing").wait_for()
    page.locator(".card").first.wait_for()
    assert page.locator(".views [aria-current]").inner_text() == "Try it"


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

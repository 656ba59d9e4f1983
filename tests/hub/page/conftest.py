"""One server and one browser for all that look at the page."""

import re
import select
import subprocess
import sys
from contextlib import closing

import pytest
import torch

import quickstudy as qs
from quickstudy import learners, nets
from quickstudy.hub.runs import open_run
from quickstudy.hub.store.runs import RunIndex

WAIT = 30_000
"""Milliseconds that a browser waits for what a busy machine does."""


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def store(models, tmp_path_factory):
    """A database that knows one run."""
    url = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    with closing(RunIndex(url)) as index:
        index.read(open_run(models["photos"]))
    return url


@pytest.fixture(scope="session")
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
    """Gone with the module: while Playwright runs, no test of its thread may start a loop."""
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

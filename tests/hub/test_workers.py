"""Several processes that serve as one: real ones, real signals."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hub.asking import adapted, some
from hub.servers import process

ADAPTED = 'quickstudy_requests_total{method="POST",route="/v1/models/{model}/adapt",status="201"}'


pytestmark = pytest.mark.xdist_group("workers")  # one service for most of them


@pytest.fixture(scope="module")
def two(plain, tmp_path_factory):
    store = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    with process(plain["proto"], store, "--workers", "2", "--keep") as (parent, http):
        yield parent, http
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 0


def workers_of(parent):
    """The ids of its processes that serve; not of the one that minds what is shared."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return {int(id) for id in children if "spawn_main" in Path(f"/proc/{id}/cmdline").read_text()}


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def adapt_and_ask(url, seed):
    """As a client that keeps no connection, so that either process may get either request."""
    body = {"x": some(4, seed), "labels": ["a", "b", "c", "d"]}
    made = httpx.post(f"{url}/v1/models/m/adapt", json=body, timeout=60)
    assert made.status_code == 201, made.text
    id = made.json()["adapted_id"]
    said = httpx.post(f"{url}/v1/adapted/{id}/predict", json={"x": body["x"]}, timeout=60)
    assert said.status_code == 200, said.text
    return [one["label"] for one in said.json()["predictions"]]


def counted(http, name):
    """What /metrics says; 0 where nothing was counted yet."""
    said = httpx.get(f"{http.base_url}/metrics", timeout=60).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", said, re.MULTILINE)
    return float(found[1]) if found else 0.0


def gauged(workers):
    """The processes whose states are counted."""
    told = Path(f"/proc/{min(workers)}/environ").read_bytes().split(b"\0")
    (folder,) = [
        one.partition(b"=")[2] for one in told if one.startswith(b"PROMETHEUS_MULTIPROC_DIR=")
    ]
    files = Path(folder.decode()).glob("gauge_livesum_*.db")
    return {int(file.stem.rpartition("_")[2]) for file in files}


def test_they_answer_for_each_other_and_count_together(two):
    parent, http = two
    assert len(workers_of(parent)) == 2
    before = counted(http, ADAPTED)
    with ThreadPoolExecutor(8) as clients:
        said = list(clients.map(lambda seed: adapt_and_ask(http.base_url, seed), range(40)))
    assert said == [["a", "b", "c", "d"]] * 40
    assert counted(http, ADAPTED) == before + 40


def test_one_that_is_killed_is_replaced_and_loses_none(two):
    parent, http = two
    before = counted(http, ADAPTED)
    ids = [adapted(http, "m", seed=seed)["adapted_id"] for seed in range(4)]
    os.kill(victim := min(workers_of(parent)), signal.SIGKILL)
    until(lambda: len(workers_of(parent) - {victim}) == 2)
    for id in ids:
        assert httpx.get(f"{http.base_url}/v1/adapted/{id}", timeout=60).status_code == 200
    assert counted(http, ADAPTED) == before + 4


def test_all_are_replaced_one_by_one_and_requests_go_on(two):
    parent, http = two
    counts, before = counted(http, ADAPTED), workers_of(parent)
    parent.send_signal(signal.SIGHUP)
    asked = 0
    while workers_of(parent) & before:
        assert adapt_and_ask(http.base_url, asked) == ["a", "b", "c", "d"]
        asked += 1
    assert asked > 0
    until(lambda: len(workers_of(parent)) == 2)
    until(lambda: gauged(workers_of(parent)) == workers_of(parent))
    assert counted(http, ADAPTED) == counts + asked


def digests(http):
    """Those of the model, as many processes tell them."""
    with ThreadPoolExecutor(8) as clients:
        asks = [f"{http.base_url}/v1/models/m"] * 16
        told = list(clients.map(lambda url: httpx.get(url, timeout=60).json()["digest"], asks))
    return set(told)


def test_all_serve_what_was_there_until_they_are_told_to_look_again(plain, tmp_path):
    model, store = shutil.copytree(plain["proto"], tmp_path / "model"), str(tmp_path / "s.sqlite")
    with process(model, store, "--workers", "2", "--keep") as (parent, http):
        old, before = digests(http), workers_of(parent)
        id = adapted(http, "m")["adapted_id"]
        shutil.rmtree(model)
        shutil.copytree(plain["ridge"], model)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: workers_of(parent) - before, 120)
        until(lambda: not workers_of(parent) - before, 120)  # it cannot load another model
        assert digests(http) == old
        assert httpx.get(f"{http.base_url}/v1/adapted/{id}", timeout=60).status_code == 200
        parent.send_signal(signal.SIGHUP)
        until(lambda: not digests(http) & old, 120)
        assert len(digests(http)) == 1
        (model / "manifest.json").unlink()
        for one in workers_of(parent):
            os.kill(one, signal.SIGKILL)
        assert parent.wait(120) == 2


def test_those_that_do_not_get_ready_are_not_waited_for(plain, tmp_path):
    code = (
        "from quickstudy.hub.service import workers\n"
        "from quickstudy.hub.cli import main\n"
        "workers.HUNG_SECONDS = 0.5\n"
        "main()\n"
    )
    told = ["serve", "--model", f"m={plain['proto']}", "--port", "0", "--workers", "2", "--keep",
            "--store", str(tmp_path / "s.sqlite")]  # fmt: skip
    command = [sys.executable, "-c", code, *told]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.returncode == 2
    assert "a process of the service could not start: it was not ready within 0.5" in said.stderr


def test_none_outlives_the_process_that_minds_them(plain, tmp_path):
    store = str(tmp_path / "store.sqlite")
    with process(plain["proto"], store, "--workers", "2", "--keep") as (parent, _):
        left = workers_of(parent)
        parent.kill()
        parent.wait()
        until(lambda: not any(Path(f"/proc/{id}").exists() for id in left))

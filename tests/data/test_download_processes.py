"""Fetching in processes of their own, which are stopped, compete, or have no room."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.data.loopback import BODY, HALF, SHA256, Server, serves

FETCH = """
import signal
import sys
from pathlib import Path
from quickstudy.data.download import Patience, fetch
from quickstudy.errors import DataError
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
print("ready", flush=True)
try:
    fetch(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], size=int(sys.argv[4]),
          patience=Patience(timeout=30, attempts=1))
except DataError as error:
    sys.exit(str(error))
"""


def process(server, path, **options):
    command = [sys.executable, "-c", FETCH, server.url, str(path), SHA256, str(len(BODY))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_leaves_what_the_next_one_goes_on_from(get, tmp_path, how):
    def halting(connection, request):
        serves(BODY, cut=HALF)(connection, request)
        server.closing.wait(60)

    partial = tmp_path / ".file.part"
    with Server() as server:
        server.answers = [halting, serves(BODY)]
        child = process(server, tmp_path / "file")
        while not (partial.exists() and partial.stat().st_size == HALF):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        child.send_signal(how)
        child.communicate(timeout=30)
        assert child.returncode != 0
        assert partial.read_bytes() == BODY[:HALF]
        get(server)
        assert server.requests[-1].start == HALF


def test_processes_that_want_the_same_file_fetch_it_once(get, tmp_path):
    both = threading.Event()

    def gated(connection, request):
        both.wait(60)
        serves(BODY)(connection, request)

    with Server(gated) as server:
        children = [process(server, tmp_path / "file") for _ in range(2)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        both.set()
        for child in children:
            _, said = child.communicate(timeout=60)
            assert (child.returncode, said) == (0, "")
        assert len(server.requests) == 1
        get(server)


def test_a_disk_that_fills_up(get, tmp_path):
    """As a real process: no file may grow further, as if the disk were full."""
    limit = HALF // 2
    with Server(serves(BODY)) as server:
        child = process(
            server,
            tmp_path / "file",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        _, said = child.communicate(timeout=60)
        assert said == f"cannot write {tmp_path / '.file.part'}: File too large\n"
        assert os.listdir(tmp_path) == [".file.part"]
        get(server)  # once there is room again
        assert server.requests[-1].start == limit


def test_importing_the_package_loads_no_network_library():
    code = (
        "import sys, quickstudy; from quickstudy.hub import cli\n"
        "sys.exit(str({'urllib.request', 'http.client', 'ssl', 'torch'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stderr == "set()\n"

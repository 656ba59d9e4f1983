"""What `quickstudy serve` refuses before it listens: one line, exit code 2; what it holds."""

import gc
import json
import os
import select
import socket
import subprocess
import sys

import pytest

from quickstudy.errors import RunError
from quickstudy.hub.service.serving import Serving, Source, app_of, load


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["--model", "a=no/such/run"], "there is no run no/such/run"),
        (["--model", "nobody"], "there is no model called 'nobody'"),
        (["--model", "a b=runs/a"], "--model wants NAME=RUN"),
        (["--model", "a="], "--model wants NAME=RUN"),
        (["--model", "a=MODEL", "--model", "a=MODEL"], "--model names 'a' twice"),
        (["--model", "a=MODEL", "--limit", "way=3"], "--limit wants NAME=VALUE, NAME one of body"),
        (["--model", "a=MODEL", "--limit", "ways=many"], "--limit ways: Input should be a valid"),
        (["--model", "a=MODEL", "--limit", "deadline=nan"], "--limit deadline"),
        (["--model", "a=MODEL", "--limit", "live=inf"], "--limit live"),
        (["--model", "a=MODEL", "--limit", "ways=3", "--limit", "ways=4"], "names 'ways' twice"),
        (["--model", "a=MODEL", "--host", ""], "wanted an address to listen on, got an empty one"),
        (["--model", "a=MODEL", "--port", "99999"], "cannot listen on 127.0.0.1, port 99999"),
        (
            ["--model", "a=MODEL", "--host", "no.such.host.example"],
            "cannot listen on no.such.host.example",
        ),
        (["--model", "a=MODEL", "--host", "0.0.0.0"], "quickstudy keys create"),
        (["--model", "a=MODEL", "--require-keys"], "--require-keys needs an API key"),
        (["--model", "a=MODEL", "--keep", "--store", "mysql://x/y"], "the store must be a file"),
        (["--model", "a=MODEL", "--device", "abacus"], "abacus"),
        (["--model", "a=MODEL", "--workers", "2"], "asked for with --keep"),
        (
            ["--model", "a=MODEL", "--workers", "2", "--keep", "--store", "/dev/null/x.sqlite"],
            "cannot write /dev/null",
        ),
        (["--model", "a=no/such/run", "--workers", "2", "--keep"], "there is no run no/such/run"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(call, plain, tmp_path, told, words):
    store = [] if "--store" in told else ["--store", tmp_path / "store.sqlite"]
    arguments = [text.replace("MODEL", str(plain["proto"])) for text in told]
    said = call("serve", *arguments, *store)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_a_model_that_was_replaced_since_it_was_looked_up(plain):
    serving = Serving(models={"a": Source(plain["proto"], "0" * 64)})
    with pytest.raises(RunError, match="holds another model than the version of a in production"):
        load(serving)


def test_a_port_that_is_taken(call, plain):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = call("serve", "--model", f"a={plain['proto']}", "--port", port)
    assert said.code == 2
    assert said.err == f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"


def test_what_stays_is_not_looked_through_for_garbage_again_and_again(plain):
    serving = Serving(models={"a": Source(plain["proto"])})
    gc.unfreeze()
    try:
        app = app_of(serving, load(serving))
        assert len(gc.get_objects()) < gc.get_freeze_count() / 100
    finally:
        app.state.adaptations.work.close()
        gc.unfreeze()


def test_where_it_listens_is_told_at_once_to_a_pipe_too(plain, tmp_path):
    command = [sys.executable, "-m", "quickstudy", "serve", "--model", f"a={plain['proto']}",
               "--port", "0", "--store", str(tmp_path / "s.sqlite"), "--json"]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as running:
        try:
            ready, _, _ = select.select([running.stdout], [], [], 120)
            assert ready
        finally:
            running.terminate()
        told = json.loads(running.stdout.read())
    assert told["models"] == ["a"]
    assert told["address"].startswith("http://127.0.0.1:")

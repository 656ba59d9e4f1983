import subprocess
from datetime import UTC, datetime

import torch

from quickstudy import __version__
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.origin import git_state
from quickstudy.hub.runs import create_run, open_run


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_run_says_where_it_comes_from(tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    made = [create_run(tmp_path / name, TrainConfig()) for name in "ab"]
    told = [open_run(run.folder).origin for run in made]
    assert [run.origin for run in made] == told
    assert told[0]["id"] != told[1]["id"]
    assert before <= datetime.fromisoformat(told[0]["began"]) <= datetime.now(UTC)
    assert told[0]["versions"]["quickstudy"] == __version__
    assert told[0]["versions"]["torch"] == torch.__version__


def test_the_code_a_run_was_begun_with(tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    (tmp_path / "new.py").write_text("not tracked")
    state = {"commit": git(tmp_path, "rev-parse", "HEAD"), "changed": False}
    assert git_state(tmp_path) == state
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path) == state | {"changed": True}
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) is None


def test_an_older_run_says_nothing_of_it(tmp_path):
    run = create_run(tmp_path / "run", TrainConfig())
    path = run / "config.json"
    path.write_text(path.read_text().replace('"origin"', '"other"'))
    assert open_run(run.folder).origin == {}

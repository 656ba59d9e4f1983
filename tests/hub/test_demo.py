import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from quickstudy.hub.config import make_config
from quickstudy.hub.runs import create_run, open_run

COMMANDS = ("adapt", "predict", "evaluate")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_after(text, heading):
    return [line.strip() for line in text.split(heading)[1].strip().splitlines()]


def test_the_demo_from_its_first_to_its_last_line(runs, data_cache, call):
    """A real process; then what it says to type next, typed."""
    program = [sys.executable, "-m", "quickstudy", "demo", "--steps", "2", "--tasks", "2"]
    options = ["--threads", "1", "--device", "cpu"]
    said = subprocess.run([*program, *options], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "step 2/2  loss" in said.stderr
    run = open_run(Path("runs/demo"))
    assert run.config.recipe == "demo"
    for name in ("manifest.json", "learning_curve.png", "task.png", "report.json"):
        assert (run / name).exists()

    assert "Accuracy in writing systems never trained on" in said.stdout
    for word in ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "NearestMean", "±", "inductive"):
        assert word in said.stdout
    if (data_cache / "omniglot_28.npz").exists():
        assert "Omniglot" in said.stdout
        assert "without Old Church Slavonic" in said.stdout
    assert "of 15 right; adapting took" in said.stdout

    following = lines_after(said.stdout, "Next:")
    assert len(following) == 3
    for line, command in zip(following, COMMANDS, strict=True):
        words = shlex.split(line)
        at = words.index(command)
        assert Path(words[0]).exists(), words
        typed = call(*words[at:], *([] if command == "predict" else ["--threads", "1"]))
        assert typed.code == 0, typed
        if command == "predict":
            right = sum(a["label"] == Path(a["file"]).stem[:-2] for a in typed.json)
            assert f"{right} of 15 right" in said.stdout


def test_a_demo_replaces_a_demo_and_nothing_else(runs, call):
    create_run(Path("mine"), make_config({}))
    refused = call("demo", "--out", "mine", "--steps", "1")
    assert refused.code == 2
    assert "mine exists; name another folder, or replace it with --overwrite" in refused.err
    assert call("demo", "--tasks", "0").err == "error: --tasks must be at least 1, got 0\n"
    assert os.listdir(runs) == ["mine"]


def test_without_omniglot_it_says_how_to_get_it(runs, data_cache, monkeypatch, call):
    monkeypatch.setattr("quickstudy.hub.demo.find", lambda name: None)
    create_run(Path("demo"), make_config({"seed": 3}, "demo"))
    said = call("demo", "--out", "demo", "--steps", "1", "--tasks", "1", "--threads", "1")
    assert said.code == 0
    assert "`quickstudy data prepare omniglot` fetches Omniglot" in said.out
    assert "Omniglot: " not in said.out
    assert "evaluate demo --data glyphs" in lines_after(said.out, "Next:")[2]
    assert open_run("demo").config.seed == 0

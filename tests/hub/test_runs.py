import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from quickstudy.artefacts.atomic import STALE_SECONDS, write_bytes
from quickstudy.errors import RunError
from quickstudy.hub import runs
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.runs import check_output, create_run, open_run

CONFIG = TrainConfig(steps=7)


def test_a_run_comes_back(tmp_path):
    create_run(tmp_path / "deep" / "run", CONFIG)
    run = open_run(tmp_path / "deep" / "run")
    assert run.config == CONFIG
    assert not run.finished
    assert run.metrics() == []
    assert [path.name for path in run.folder.parent.iterdir()] == ["run"]


def test_an_empty_folder_becomes_the_run(tmp_path):
    assert create_run(tmp_path, CONFIG).config == CONFIG


def test_what_is_no_run(tmp_path):
    (tmp_path / "file").write_text("x")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"format": "another program"}')
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"quick')
    for path, message in [
        (tmp_path / "none", "there is no run .*none: no such folder"),
        (tmp_path, "is not a run: wanted a folder with a config.json"),
        (tmp_path / "file", "is not a run"),
        (other, "wanted a quickstudy run"),
        (broken, "config.json cannot be read"),
    ]:
        with pytest.raises(RunError, match=message):
            open_run(path)


def test_a_run_of_another_time(tmp_path):
    create_run(tmp_path, CONFIG)
    path = tmp_path / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"schema": 99}))
    with pytest.raises(RunError, match=r"has schema 99"):
        open_run(tmp_path)
    unused = {"steps": 5, "later_option": None, "another": False}
    path.write_text(json.dumps(told | {"config": unused}))
    assert open_run(tmp_path).config.steps == 5
    path.write_text(json.dumps(told | {"config": unused | {"another": True}}))
    with pytest.raises(RunError, match=r"config.json: another is no option, got True"):
        open_run(tmp_path)
    path.write_text(json.dumps(told | {"config": {"steps": -1}}))
    with pytest.raises(RunError, match=r"config.json: steps must be at least 1, got -1"):
        open_run(tmp_path)


def test_what_is_there_is_refused(tmp_path):
    run = create_run(tmp_path / "run", CONFIG)
    (run / "mine.txt").write_text("x")
    with pytest.raises(RunError, match=r"run exists; name another folder, or .* --overwrite"):
        create_run(run.folder, CONFIG)
    assert (run / "mine.txt").exists()
    create_run(run.folder, TrainConfig(steps=8), overwrite=True)
    assert open_run(run.folder).config.steps == 8
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(run.folder) == ["config.json"]


def test_only_runs_are_replaced(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").write_text("x")
    file = tmp_path / "file"
    file.write_text("x")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("{}")
    for path, message in [
        (full, "holds other files and is not a run"),
        (file, "is a file; wanted a folder"),
        (foreign, "wanted a quickstudy run"),
        (file / "run", "cannot write .*: .*file is no folder"),
    ]:
        with pytest.raises(RunError, match=message):
            create_run(path, CONFIG, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "foreign", "full"]
    assert (full / "thesis.doc").exists()


def test_looking_at_an_output_leaves_nothing(tmp_path):
    check_output(tmp_path / "a" / "b" / "run", overwrite=False)
    assert os.listdir(tmp_path) == []


def test_a_run_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    run = create_run(tmp_path / "run", CONFIG)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_atomically", full)
    with pytest.raises(OSError, match=r"No space"):
        create_run(run.folder, TrainConfig(steps=8), overwrite=True)
    assert open_run(run.folder).config == CONFIG
    assert os.listdir(tmp_path) == ["run"]


REPLACE = """
import os, signal, sys
from pathlib import Path
from quickstudy.hub import runs
from quickstudy.hub.config import TrainConfig
place = sys.argv[2]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if place == "before":
    runs.write_atomically = die
else:
    runs.shutil.rmtree = die
runs.create_run(Path(sys.argv[1]), TrainConfig(steps=8), overwrite=True)
"""


def replace_and_die(run, place):
    killed = subprocess.run([sys.executable, "-c", REPLACE, str(run.folder), place])
    assert killed.returncode == -signal.SIGKILL


def test_a_run_that_is_being_replaced_is_nobodys_rubbish(tmp_path, monkeypatch):
    run = create_run(tmp_path / "run", CONFIG)
    os.utime(run.folder, (0, 0))

    def others_write_and_ours_fails(*_):
        write_bytes(tmp_path / "other", b"sweeps what is an hour old")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_atomically", others_write_and_ours_fails)
    assert os.stat(run.folder).st_mtime < os.stat(tmp_path).st_mtime - STALE_SECONDS
    with pytest.raises(OSError, match=r"No space"):
        create_run(run.folder, TrainConfig(steps=8), overwrite=True)
    assert open_run(run.folder).config == CONFIG


def test_a_kill_while_a_run_is_replaced_loses_nothing(tmp_path):
    run = create_run(tmp_path / "run", CONFIG)
    os.utime(run.folder, (0, 0))
    replace_and_die(run, "before")
    assert not run.folder.exists()
    write_bytes(tmp_path / "other", b"sweeps what is an hour old")
    with pytest.raises(RunError, match=r"run exists; name another folder"):
        create_run(run.folder, TrainConfig(steps=8))
    assert open_run(run.folder).config == CONFIG
    replace_and_die(run, "before")
    assert open_run(run.folder).config == CONFIG
    replace_and_die(run, "before")
    create_run(run.folder, TrainConfig(steps=9), overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["other", "run"]


def test_a_kill_after_a_run_was_replaced_leaves_what_is_swept(tmp_path):
    run = create_run(tmp_path / "run", CONFIG)
    os.utime(run.folder, (0, 0))
    replace_and_die(run, "after")
    assert open_run(run.folder).config.steps == 8
    write_bytes(tmp_path / "other", b"sweeps what is an hour old")
    assert sorted(os.listdir(tmp_path)) == ["other", "run"]
    shutil.rmtree(run.folder)
    with pytest.raises(RunError, match=r"there is no run"):
        open_run(run.folder)


def test_a_run_that_is_just_being_replaced_is_not_put_back(tmp_path, monkeypatch):
    run = create_run(tmp_path / "run", CONFIG)

    def look(*_):
        with pytest.raises(RunError, match=r"there is no run"):
            open_run(run.folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_atomically", look)
    with pytest.raises(OSError, match=r"No space"):
        create_run(run.folder, TrainConfig(steps=8), overwrite=True)
    assert open_run(run.folder).config == CONFIG


def test_one_process_at_a_time(tmp_path):
    run = create_run(tmp_path / "run", CONFIG)
    with run.lock():
        with pytest.raises(RunError, match=r"is being trained by another process"), run.lock():
            pass
        with pytest.raises(RunError, match=r"is being trained by another process"):
            create_run(run.folder, CONFIG, overwrite=True)
    with run.lock():
        pass

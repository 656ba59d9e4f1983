"""A run whose disk fails at any call that writes: it says so, and no checkpoint is lost."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from tests.artefacts.samples import alike
from tests.faults.disk import FREES, Disk

from quickstudy.errors import QuickstudyError
from quickstudy.hub.checkpoints import Checkpoints
from quickstudy.hub.config import make_config
from quickstudy.hub.runs import open_run
from quickstudy.hub.training import Finished, Stepped, resume, train

STEPS = 2
"""Each saves a checkpoint, which is the best; the second also removes those of the first."""
CONFIG = make_config({
    "data": "blobs", "learner": "protonet", "steps": STEPS, "backbone_options": {"hidden": [8]},
    "threads": 1, "device": "cpu", "evaluate_every": 1, "validation_tasks": 5, "rate": 0.3,
    "seed": 1, "checkpoint_every": 1, "keep_checkpoints": 1,
})  # fmt: skip
ALL = STEPS + 1
FAULTS = {"full": errno.ENOSPC, "broken": errno.EIO, "read-only": errno.EROFS}

every_fault = pytest.mark.parametrize("code", FAULTS.values(), ids=FAULTS)
once_or_for_good = pytest.mark.parametrize("onwards", [False, True], ids=["once", "from then on"])


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where no machine crashes, waiting for the disk changes nothing but the time a test takes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def steps(events, until=STEPS, done=None):
    """Let a run do its steps up to one; only after `ALL` does it store its model too.

    Args:
        done: takes the number of each step whose checkpoint was saved.
    """
    with closing(events):
        for event in events:
            if isinstance(event, Stepped):
                if done is not None:
                    done.append(event.progress.step)
                if event.progress.step == until:
                    return
    assert isinstance(event, Finished)


def begin(folder):
    return resume(folder) if (folder / "config.json").exists() else train(CONFIG, folder)


def end_of(folder):
    """What a run of all its steps leaves."""
    tree = Checkpoints(folder).newest().tree
    return tree["fit"], (folder / "metrics.jsonl").read_bytes()


def step_of(folder):
    """Of the newest checkpoint, which no damaged one may hide; 0 where there is none."""
    found = Checkpoints(folder).newest()
    assert not (found and found.damaged)
    return found.tree["fit"]["step"] if found else 0


def left_over(folder):
    return [path.name for path in folder.rglob(".quickstudy-*")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves whose disk never fails."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    steps(train(CONFIG, folder))
    return end_of(folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was killed in its second step, whose record stands behind its checkpoint."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with closing(train(CONFIG, folder)) as events:
        while not (folder / "checkpoints").exists():
            next(events)
    for name in ("metrics.jsonl", "times.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"step": 2, "loss"')
    return folder


def check_every_call(place, whole, codes, *, onwards, from_folder=None, until=STEPS):
    """Refuse each call of a run in turn: those of a run on a good disk, not one fewer.

    Of several codes each call is refused with one, in turn.
    """

    def prepared(name):
        (place / name).mkdir()
        if from_folder is not None:
            shutil.copytree(from_folder, place / name / "run")
        return place / name

    good = prepared("good")
    with Disk(good) as disk:
        steps(begin(good / "run"), until)
    wanted = disk.calls
    failed = 0
    for at, call in enumerate(wanted):
        folder = prepared(str(at))
        run, code = folder / "run", codes[at % len(codes)]
        done, said = [step_of(run)], ""
        with Disk(folder, code, at, onwards=onwards, partly=bool(at % 2)) as disk:
            try:
                steps(begin(run), until, done)
            except QuickstudyError as error:
                said = str(error)
        assert disk.calls[at] == call, "this run writes otherwise than the one before"
        where = f"{call}, call {at}: {said}"
        failed += bool(said)
        assert "\n" not in said, where
        assert os.strerror(code) in said or not said, where
        stuck = call.startswith(FREES) or (onwards and code != errno.ENOSPC)
        assert stuck or left_over(folder) == [], where
        # What was recorded before is there, and is whole: a row may stand behind its checkpoint.
        rows = len(open_run(run).metrics()) if run.exists() else 0
        assert done[-1] <= step_of(run) <= rows, where
        assert said or step_of(run) == min(until, STEPS), where
        steps(begin(run), ALL if until == ALL else STEPS)
        assert alike(end_of(run), whole), where
        shutil.rmtree(folder)
    assert failed > len(wanted) / 2 >= 10
    return wanted


def test_a_disk_that_fails_while_a_run_begins(tmp_path, whole):
    codes = list(FAULTS.values())
    calls = check_every_call(tmp_path, whole, codes, onwards=True, until=1)
    for call in ("open partial", "write partial", "fsync partial", "replace partial"):
        assert calls.count(call) >= 2, call  # a checkpoint, and the copy that is the best


def test_a_disk_that_fails_while_a_run_goes_on(tmp_path, whole, stopped):
    codes = list(FAULTS.values())
    calls = check_every_call(tmp_path, whole, codes, onwards=False, from_folder=stopped)
    assert "truncate metrics.jsonl" in calls
    for call in ("replace partial", "unlink step-00000001.safetensors"):
        assert call in calls


@pytest.mark.slow
@every_fault
@once_or_for_good
def test_a_disk_that_fails_at_any_call_of_a_whole_run(tmp_path, whole, code, onwards):
    calls = check_every_call(tmp_path, whole, [code], onwards=onwards, until=ALL)
    assert "write learning_curve.png" in calls


@pytest.mark.slow
@every_fault
@once_or_for_good
def test_a_disk_that_fails_at_any_call_of_going_on(tmp_path, whole, stopped, code, onwards):
    calls = check_every_call(tmp_path, whole, [code], onwards=onwards, from_folder=stopped)
    assert "truncate metrics.jsonl" in calls


@every_fault
@once_or_for_good
def test_a_disk_that_fails_while_a_checkpoint_is_saved(tmp_path, code, onwards):
    """Every call of a save that replaces the last checkpoint and the best one."""

    def save(folder, step):
        tree = {"step": step, "weights": torch.full((2000,), float(step))}
        Checkpoints(folder, keep=1).save(step, tree, best=True)

    def saved(folder):
        found = Checkpoints(folder).newest()
        assert found.damaged == []
        assert (found.tree["weights"] == found.tree["step"]).all()
        return found.tree["step"]

    save(tmp_path / "good", 1)
    with Disk(tmp_path / "good") as disk:
        save(tmp_path / "good", 2)
    assert len(disk.calls) >= 20
    for at, call in enumerate(disk.calls):
        folder = tmp_path / str(at)
        save(folder, 1)
        said = ""
        try:
            with Disk(folder, code, at, onwards=onwards, partly=bool(at % 2)):
                save(folder, 2)
        except QuickstudyError as error:
            said = str(error)
        assert said.endswith(os.strerror(code)) if said else saved(folder) == 2
        assert said or call.startswith(("unlink", "look")), call  # one too many is no harm
        assert saved(folder) in (1, 2)
        save(folder, 3)
        assert saved(folder) == 3


def test_a_real_disk_that_is_full_or_read_only(tmp_path, need):
    """The kernel itself refuses, on a disk that is mounted for this test alone."""
    alone = [need.program("unshare"), "-rm"]
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if subprocess.run([*alone, *mount], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    command = [*alone, sys.executable, "-m", "tests.faults.small_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *full, read_only = json.loads(done.stdout)
    assert len(full) == 3
    for said in full:
        assert re.fullmatch(r"cannot write \S+\.safetensors: No space left on device", said)
    assert re.fullmatch(r"cannot write \S+: Read-only file system", read_only)

"""Meta-training on many processes, started as a user starts them: by torchrun."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer

from quickstudy.errors import DataError, RunError
from quickstudy.hub import devices
from quickstudy.hub.catalogue import TRAINABLE, load
from quickstudy.hub.commands.following import follow
from quickstudy.hub.config import make_config
from quickstudy.hub.processes import gathered, one_voice
from quickstudy.hub.runs import open_run
from quickstudy.hub.training import train

QUICK = [
    "--data", "blobs", "--backbone-option", "hidden=[8]", "--tasks-per-step", "5", "--ways", "3",
    "--validation-ways", "3", "--validation-tasks", "43", "--threads", "1", "--device", "cpu",
]  # fmt: skip


DRIVER = """
import time

import torch

from quickstudy.core.distributed import ranks
from quickstudy.errors import DataError, TaskError
from quickstudy.hub import checkpoints, training
from quickstudy.hub.cli import main
from quickstudy.learners import ProtoNet

{change}

if __name__ == "__main__":
    main()
"""
"""The command line in a program of its own, so that something can go wrong in one process."""


def changed(tmp_path, change):
    """The path of the command line with a change made first."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(change=change))
    return script


def errors(err):
    return [line for line in err.splitlines() if line.startswith("error: ")]


def torchrun(processes, *arguments, program=("-m", "quickstudy")):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes),
            "--master_addr", "127.0.0.1", "--master_port", str(port),
            *map(str, (*program, *arguments)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(process, seconds=240):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def wait_for(condition, process, seconds=120):
    start = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - start < seconds
        time.sleep(0.01)


def looks(folder):
    rows = open_run(folder).metrics()
    return [row["validation"]["mean"] for row in rows if "validation" in row]


def recorded(folder):
    return len(open_run(folder).metrics()) if (folder / "config.json").exists() else 0


def weights(folder):
    """All that the outer loop trains, what the learner cannot see as well."""
    return torch.cat([p.flatten() for p in load(folder).parameters()])


def workers(folder):
    """The processes of a run by rank, without the one that started them."""
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            command = (place / "cmdline").read_bytes().decode().split("\0")
            environment = (place / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(folder) in command and "torch.distributed.run" not in command:
            held = dict(pair.split("=", 1) for pair in environment if "=" in pair)
            if "RANK" in held:
                found[int(held["RANK"])] = int(place.name)
    return found


SCRIPT = """
import sys, torch, quickstudy as qs
torch.manual_seed(0)
net = qs.MLP(2, [16], 8)
platform = qs.Platform(net, qs.Blobs(way=3, shot=1, queries=5), "protonet")
platform.meta_train(steps=6, tasks_per_step=5, validation_tasks=20, out=sys.argv[1])
platform.meta_train(steps=3, tasks_per_step=5, validation_tasks=20)
platform.save(sys.argv[2])
"""


def test_a_platform_in_a_script_shares_its_tasks_among_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for world in (1, 2):
        out = [tmp_path / f"{name}-{world}" for name in ("run", "saved")]
        code, _, err = ended(torchrun(world, *out, program=[script]))
        assert code == 0, err
    one, two = (weights(tmp_path / f"saved-{world}") for world in (1, 2))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert [row["step"] for row in open_run(tmp_path / "saved-2").metrics()] == [*range(1, 10)]
    assert [row["step"] for row in open_run(tmp_path / "run-2").metrics()] == [*range(1, 7)]


EVERY_LEARNER = """
import sys, torch, quickstudy as qs
for name in sys.argv[2:]:
    torch.manual_seed(0)
    tasks, sizes = qs.Blobs(way=3, shot=2, queries=5), {}
    if getattr(qs, name).trains_on == "labelled":
        tasks = qs.Pool.from_labels(torch.randn(120, 2), torch.arange(120) // 10)
        sizes = {"ways": 3, "shots": 2, "queries": 5}
    platform = qs.Platform(qs.MLP(2, [16], 8), tasks, name, **sizes)
    platform.meta_train(steps=10, tasks_per_step=4, validation_tasks=5)
    platform.save(f"{sys.argv[1]}/{name}")
"""


def test_every_learner_has_the_weights_of_one_process_on_three(tmp_path):
    """Of four tasks a step, which no three processes can share evenly."""
    names = [name for name, cls in TRAINABLE.items() if "classes" in cls.tasks]
    script = tmp_path / "script.py"
    script.write_text(EVERY_LEARNER)
    for world in (1, 3):
        (tmp_path / str(world)).mkdir()
        code, _, err = ended(torchrun(world, tmp_path / str(world), *names, program=[script]))
        assert code == 0, err
    assert len(names) >= 8
    for name in names:
        one, many = (weights(tmp_path / world / name) for world in ("1", "3"))
        torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("processes", [2, 4])
def test_many_processes_train_what_one_trains(processes, tmp_path, call):
    options = [*QUICK, "--steps", "12", "--evaluate-every", "4"]
    assert call("train", *options, "--out", tmp_path / "one").code == 0
    code, out, err = ended(torchrun(processes, "train", *options, "--out", tmp_path / "many"))
    assert code == 0, err
    assert out.count("trained 12 steps") == 1, "one process speaks for all"
    assert f"on {processes} processes" in err
    torch.testing.assert_close(
        weights(tmp_path / "many"), weights(tmp_path / "one"), rtol=1e-4, atol=1e-5
    )
    assert looks(tmp_path / "many") == pytest.approx(looks(tmp_path / "one"), abs=0.01)
    report = json.loads((tmp_path / "many" / "report.json").read_text())
    assert report["processes"] == processes
    assert [row["step"] for row in open_run(tmp_path / "many").metrics()] == [*range(1, 13)]


def test_a_killed_process_ends_the_job_and_another_number_goes_on(tmp_path, call):
    steps = ["--steps", "600", "--evaluate-every", "200", "--checkpoint-every", "20"]
    options = [*QUICK, *steps]
    assert call("train", *options, "--out", tmp_path / "whole").code == 0
    folder = tmp_path / "killed"
    process = torchrun(2, "train", *options, "--out", folder)
    wait_for(lambda: recorded(folder) > 50, process)
    os.kill(workers(folder)[1], signal.SIGKILL)
    code, _, err = ended(process, seconds=30)
    assert code != 0
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, err
    assert "another of the 2 processes of this job was killed or has failed" in said[0]
    assert f"go on with: quickstudy resume {folder}, on any number of processes" in said[0]
    assert "has no model yet" in call("evaluate", folder).err
    assert 50 < recorded(folder) < 600
    # One process goes on, is stopped, and four end it.
    alone = torchrun(1, "resume", folder)
    done = recorded(folder)
    wait_for(lambda: recorded(folder) > done + 30, alone)
    os.kill(workers(folder)[0], signal.SIGTERM)
    assert f"go on with: quickstudy resume {folder}" in ended(alone)[2]
    code, _, err = ended(torchrun(4, "resume", folder))
    assert code == 0, err
    assert [row["step"] for row in open_run(folder).metrics()] == [*range(1, 601)]
    torch.testing.assert_close(weights(folder), weights(tmp_path / "whole"), rtol=1e-3, atol=1e-3)


def test_all_stop_after_the_same_step_when_one_is_asked_to(tmp_path, call):
    folder = tmp_path / "run"
    process = torchrun(2, "train", *QUICK, "--steps", "100000", "--out", folder)
    wait_for(lambda: recorded(folder) > 20, process)
    os.kill(workers(folder)[1], signal.SIGTERM)
    _, _, err = ended(process)
    assert err.count("stopped after step") == 1
    assert f"stopped after step {recorded(folder)}; go on with: quickstudy resume {folder}" in err
    assert list((folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learner", "protonett"], "--learner must be one of"),
        (["--ways", "1"], "--ways must be at least 2, got 1"),
        (["--no-such-option"], "No such option: --no-such-option"),
    ],
)
def test_what_is_wrong_is_said_once(options, message, tmp_path):
    code, _, err = ended(torchrun(2, "train", *QUICK, *options, "--out", tmp_path / "run"))
    assert code != 0
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1, err
    assert message in err
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_taken_stops_all_processes(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    code, _, err = ended(torchrun(2, "train", *QUICK, "--out", tmp_path / "run"), seconds=60)
    assert code != 0
    assert err.count("holds other files and is not a run") == 1
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_what_one_process_alone_finds_wrong_in_its_share_is_said(tmp_path):
    """Its own words, beside what the others make of its going."""
    change = """
whole = ProtoNet.loss
def loss(self, task):
    if ranks()[0] == 1:
        raise TaskError("the share of this one is singular")
    return whole(self, task)
training.Job.try_out = lambda self: None
ProtoNet.loss = loss
"""
    command = ("train", *QUICK, "--steps", "3", "--out", tmp_path / "run")
    code, _, err = ended(torchrun(2, *command, program=[changed(tmp_path, change)]))
    assert code != 0
    assert "error: process 1: the share of this one is singular" in errors(err)
    others = [line for line in errors(err) if "singular" not in line]
    assert all("of the 2 processes of this job was killed" in line for line in others), err


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ("(0, 1)", "error: this data is no good on 0"),
        ("(1,)", "error: process 1: this data is no good on 1"),
    ],
)
def test_what_is_found_before_the_first_step_is_said_once(ranks, said, tmp_path):
    change = f"""
def try_out(self):
    if ranks()[0] in {ranks}:
        raise DataError(f"this data is no good on {{ranks()[0]}}")
training.Job.try_out = try_out
"""
    command = ("train", *QUICK, "--steps", "3", "--out", tmp_path / "run")
    code, _, err = ended(torchrun(2, *command, program=[changed(tmp_path, change)]))
    assert code != 0
    assert errors(err) == [said]


def test_a_loss_that_is_not_finite_is_said_once(tmp_path):
    change = "ProtoNet.measure = lambda self, prediction, y, mask: prediction.sum() * torch.nan"
    command = ("train", *QUICK, "--steps", "3", "--out", tmp_path / "run")
    code, _, err = ended(torchrun(2, *command, program=[changed(tmp_path, change)]))
    assert code != 0
    (line,) = errors(err)
    assert line.startswith("error: step 1: the loss is nan")


def test_a_stop_waits_until_the_checkpoint_is_on_disk(tmp_path):
    """The launcher ends all when one leaves: so none does while the first one writes."""
    change = """
quick = checkpoints.save_checkpoint
def slow(*arguments):
    time.sleep(4)
    quick(*arguments)
checkpoints.save_checkpoint = slow
"""
    folder = tmp_path / "run"
    command = ("train", *QUICK, "--steps", "100000", "--out", folder)
    process = torchrun(2, *command, program=[changed(tmp_path, change)])
    wait_for(lambda: recorded(folder) > 20, process)
    os.kill(workers(folder)[1], signal.SIGTERM)
    _, _, err = ended(process)
    assert list((folder / "checkpoints").iterdir()), err
    assert errors(err) == []
    assert err.count("stopped after step") == 1


def test_a_signal_while_a_stopped_run_is_saved_does_not_kill(tmp_path):
    """The run is closed while signals are still caught."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def begin(stop):
        events = train(make_config({"data": "blobs", "steps": 50}), tmp_path / "run", stop=stop)
        try:
            for event in events:
                yield event
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            seen.append(signal.getsignal(signal.SIGTERM))
            events.close()

    with pytest.raises(typer.Exit):
        follow(begin, tmp_path / "run")
    assert seen[0] != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("cuda", ("3", "4"), "4 processes on a machine with 2: start no more than that many"),
        ("auto", ("0", "3"), "3 processes on a machine with 2: start no more than that many"),
        ("cuda:0", ("1", "2"), "--device cuda:0: 2 processes cannot share it; wanted cuda"),
    ],
)
def test_more_processes_than_gpus_are_refused(name, place, message, monkeypatch):
    local = dict(zip(("LOCAL_RANK", "LOCAL_WORLD_SIZE"), place, strict=True))
    for variable, value in local.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(devices, "devices", lambda: {"cpu": 1, "cuda": 2})
    monkeypatch.setattr(devices, "ranks", lambda: (0, 8))
    with pytest.raises(RunError, match=message):
        devices.choose_device(name)
    assert devices.choose_device("cpu").type == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert devices.choose_device("cuda") == torch.device("cuda", 1)


def test_alone_errors_pass_as_they_are():
    with pytest.raises(DataError, match="mine"), one_voice():
        raise DataError("mine")
    assert gathered("x") == ["x"]

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import torch

from hub.folders import SMALL, draw_folder
from quickstudy.artefacts.checkpoint import load_checkpoint
from quickstudy.errors import DataError, RunError, TaskError
from quickstudy.hub import checkpoints
from quickstudy.hub.commands.following import summary
from quickstudy.hub.config import TrainConfig, make_config
from quickstudy.hub.runs import create_run, open_run
from quickstudy.hub.training import Finished, Started, Stepped, resume, train

QUICK = {
    "steps": 12, "ways": 3, "queries": 2, "validation_ways": 2, "validation_tasks": 2, "width": 2,
    "down": "stride", "backbone_options": {"halvings": 2}, "threads": 1, "evaluate_every": 4,
    "device": "cpu", "checkpoint_every": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def quick(photos, **options):
    return make_config(QUICK | {"data": str(photos)} | options)


def end(events):
    *_, last = events
    assert isinstance(last, Finished)
    return last


def weights(folder):
    (path,) = folder.glob("weights-*.safetensors")
    return path.read_bytes()


def stopped(config, folder, after):
    """A run that was left after so many steps."""
    events = train(config, folder)
    for event in events:
        if isinstance(event, Stepped) and event.progress.step == after:
            break
    events.close()
    return open_run(folder)


def record(run):
    return (run / "metrics.jsonl").read_bytes()


def test_a_run_tells_what_happens_and_leaves_it_in_its_folder(photos, tmp_path):
    asked = {"validation_queries": 99}  # more than there are
    events = list(train(quick(photos, **asked), tmp_path / "run"))
    assert isinstance(events[0], Started)
    assert [e.progress.step for e in events[1:-1] if isinstance(e, Stepped)] == [*range(1, 13)]
    run = open_run(tmp_path / "run")
    assert sorted(path.name for path in run.folder.iterdir() if "weights" not in path.name) == [
        "checkpoints", "config.json", "learning_curve.png", "manifest.json",
        "metrics.jsonl", "report.json", "task.png", "times.jsonl",
    ]  # fmt: skip
    rows = run.metrics()
    assert [row["step"] for row in rows] == [*range(1, 13)]
    assert [row["step"] for row in rows if "validation" in row] == [4, 8, 12]
    report = events[-1].report
    assert report["control"]["name"] == "NearestMean"
    assert report["config"]["learner"] == "ProtoNet"
    best = max(row["validation"]["mean"] for row in rows if "validation" in row)
    assert report["validation"]["mean"] == best
    sizes = {"tasks": 2, "ways": 2, "shots": 1, "queries": 4}
    assert report["validation"].items() >= (sizes | {"looks": 3}).items()
    assert report["control"].items() >= sizes.items()
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(rows))


@pytest.mark.parametrize(
    "options",
    [
        {"learner": "maml", "inner_steps": 1, "norm": "group"},
        {"schedule": "constant", "average": 0.9, "tasks_per_step": 2, "weight_decay": 0.01},
        {"ways": "2-3", "shots": "1-2", "rotations": True, "schedule": "cosine"},
        {"backbone": "mlp", "width": None, "down": None, "backbone_options": {"hidden": [4]}},
    ],
)
def test_stopping_and_going_on_changes_nothing(photos, tmp_path, options):
    config = quick(photos, **options)
    whole = end(train(config, tmp_path / "whole")).run
    part = stopped(config, tmp_path / "parts", after=7)
    assert not (part / "manifest.json").exists()
    end(resume(part.folder))
    assert weights(part.folder) == weights(whole.folder)
    assert record(part) == record(whole)
    reports = [json.loads((run / "report.json").read_text()) for run in (part, whole)]
    assert reports[0]["validation"] == reports[1]["validation"]


def test_going_on_in_a_folder_that_has_changed(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "own")
    config = quick(folder)
    whole = end(train(config, tmp_path / "whole")).run
    part = stopped(config, tmp_path / "parts", after=7)
    # New classes, among them large pictures in colour, change neither the split nor the input.
    draw_folder(tmp_path / "new", classes=14, each=5, size=60, colour=True)
    for place in (tmp_path / "new").iterdir():
        place.rename(folder / f"a {place.name}")
    seen = part.kept["train"][0]
    (folder / seen).rename(tmp_path / seen)
    with pytest.raises(DataError, match=f"own no longer holds meta-train .*: '{seen}'; put them"):
        end(resume(part.folder))
    (tmp_path / seen).rename(folder / seen)
    shutil.rmtree(folder / part.kept["test"][0])
    end(resume(part.folder))
    assert weights(part.folder) == weights(whole.folder)
    assert record(part) == record(whole)


def test_regression_and_blobs_have_runs_too(tmp_path):
    given = {"steps": 2, "validation_tasks": 2, "threads": 1, "backbone_options": {"hidden": [8]}}
    sines = make_config(given | {"data": "sinusoids", "learner": "maml", "inner_steps": 1})
    report = end(train(sines, tmp_path / "sines")).report
    validation = report["validation"]
    assert validation["metric"] == "squared_error"
    assert [validation[name] for name in ("ways", "shots", "queries")] == [None, 1, 5]
    assert report["control"]["name"] == "SupportMean"
    assert not (tmp_path / "sines" / "task.png").exists()
    blobs = make_config(given | {"data": "blobs"})
    assert end(train(blobs, tmp_path / "blobs")).report["control"]["name"] == "NearestMean"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"ways": 30}, DataError, r"photos\d*, meta-train \(\d classes\): 30-way tasks need 30"),
        ({"queries": 9}, DataError, "has 5 images, 1 shot . 9 queries need 10"),
        ({"data": "no/such"}, DataError, "--data must be .*got '.*no/such': no such folder"),
        (
            {"size": 8, "down": "pool", "backbone_options": {}},
            TaskError,
            "halvings need images of 16",
        ),
        ({"backbone_options": {"halvings": 9}}, TaskError, "halvings must lie in 0..4, got 9"),
        ({"learner": "maml", "learner_options": {"outputs": 7}}, TaskError, "this head has 7 outp"),
        ({"device": "cuda:7"}, RunError, "--device cuda:7: "),
        ({"device": "tpu"}, RunError, "--device must be auto, cpu, cuda or mps, got 'tpu'"),
        ({"warp": "pen"}, RunError, "--warp of .* must be none, affine or crop, got 'pen'"),
        ({"system_fonts": True}, RunError, "--system-fonts is for glyphs; .*photos"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(
    photos, tmp_path, options, kind, message
):
    with pytest.raises(kind, match=message):
        next(train(quick(photos, **options), tmp_path / "run"))
    assert os.listdir(tmp_path) == []


def test_a_loss_that_is_not_finite(photos, tmp_path):
    wild = {"rate": 1e30, "schedule": "constant", "clip": None, "checkpoint_every": 1}
    with pytest.raises(RunError, match=r"step \d+: the loss is .*wanted finite numbers"):
        end(train(quick(photos, **wild), tmp_path / "stop"))
    assert not (tmp_path / "stop" / "manifest.json").exists()
    with pytest.raises(RunError, match=r"no meta-validation gave finite numbers, so .* no model"):
        end(train(quick(photos, nonfinite="skip", **wild), tmp_path / "skip"))
    assert open_run(tmp_path / "skip").metrics()[-1]["loss"] is None
    assert not (tmp_path / "skip" / "manifest.json").exists()


def test_a_run_without_a_checkpoint_starts_again(photos, tmp_path):
    config = quick(photos)
    whole = end(train(config, tmp_path / "whole")).run
    run = create_run(tmp_path / "killed", config)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 9}\n{"st')
    end(resume(run.folder))
    assert weights(run.folder) == weights(whole.folder)
    assert record(run) == record(whole)


def test_a_run_killed_while_it_was_ending_ends(photos, tmp_path):
    run = end(train(quick(photos), tmp_path / "run")).run
    before, rows = weights(run.folder), run.metrics()
    for path in run.folder.iterdir():
        if path.name not in ("config.json", "checkpoints", "metrics.jsonl", "times.jsonl"):
            path.unlink()
    ended = end(resume(run.folder))
    assert not ended.learner.training
    assert weights(run.folder) == before
    assert run.metrics() == rows
    assert run.finished


def test_a_report_in_one_line():
    best = {"metric": "squared_error", "mean": 0.25, "interval95": 0.1, "step": 7, "best": True}
    short = "meta-validation 0.25 ± 0.1 at step 7"
    report = {"validation": best, "control": None}
    assert summary(report) == short
    best |= {"looks": 1, "tasks": 9, "ways": None, "shots": 10, "queries": 5}
    assert summary(report) == f"{short}, the only look at 9 10-shot tasks, 5 queries"
    best |= {"looks": 3, "ways": 2}
    said = summary(report | {"control": best | {"name": "Chance"}})
    assert said == (
        f"{short}, the best of 3 looks at 9 2-way 10-shot tasks, 5 queries a class "
        "(Chance, the control: 0.25 ± 0.1)"
    )


def test_a_run_that_has_ended_stays_as_it_is(photos, tmp_path, call):
    ended = end(train(quick(photos), tmp_path / "run"))
    run = ended.run
    assert not ended.learner.training
    (run / "report.json").write_text(json.dumps(ended.report | {"results": [1]}))
    shutil.rmtree(run / "checkpoints")
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    again = list(resume(run.folder))
    assert [type(event) for event in again] == [Finished]
    assert again[0].report == ended.report | {"results": [1]}
    assert not any(module.training for module in again[0].learner.modules())
    assert again[0].source.name == ended.source.name
    said = call("resume", run.folder)
    assert said.code == 0
    assert said.err == f"{run.folder} has ended already\n"
    assert "trained 12 steps" in said.out
    assert call("resume", run.folder, "--json").json == again[0].report
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
    (run / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report.json cannot be read"):
        end(resume(run.folder))


def test_the_checkpoint_is_read_by_who_holds_the_run(photos, tmp_path, monkeypatch):
    events = train(quick(photos), tmp_path / "run")
    while not (tmp_path / "run" / "checkpoints").exists():
        next(events)
    events.close()
    run, read = open_run(tmp_path / "run"), []
    newest = max((run / "checkpoints").glob("step-*"))

    def load(path):
        with pytest.raises(RunError, match=r"being trained"), run.lock():
            pass
        read.append(path)
        return load_checkpoint(path)

    monkeypatch.setattr(checkpoints, "load_checkpoint", load)
    end(resume(run.folder))
    assert read == [newest]


def test_a_damaged_checkpoint_is_one_clear_line(photos, tmp_path):
    run = create_run(tmp_path / "run", TrainConfig(data=str(photos), **QUICK))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-00000005.safetensors").write_bytes(b"half a checkp")
    with pytest.raises(ValueError, match=r"step-00000005.safetensors .* does not begin as"):
        end(resume(run.folder))


@pytest.mark.parametrize("spoil", [1, 2, 3])
def test_a_run_goes_on_from_its_newest_whole_checkpoint(photos, tmp_path, call, spoil):
    config = quick(photos)
    whole = end(train(config, tmp_path / "whole")).run
    part = stopped(config, tmp_path / "part", after=11)
    kept = sorted((part / "checkpoints").iterdir(), key=lambda path: path.stem[-8:])
    assert len(kept) == 3
    for path in kept[-spoil:]:
        path.write_bytes(path.read_bytes()[:-1])
    said = call("resume", part.folder)
    if spoil == 3:
        assert said.code == 2
        assert said.err.count("is damaged") == 3
        return
    assert said.code == 0
    assert said.err.count("going on from an earlier checkpoint") == spoil
    assert f"from step {int(kept[-spoil - 1].stem[-8:])}" in said.err
    assert weights(part.folder) == weights(whole.folder)
    assert record(part) == record(whole)


def wait_for(condition, process, seconds=120):
    start = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - start < seconds
        time.sleep(0.005)


def test_a_killed_run_ends_as_if_it_had_never_been_killed(photos, tmp_path, call):
    """Real processes: one is asked to stop, its continuation is killed; another ends the run."""
    steps = ["--steps", "1000", "--evaluate-every", "250", "--checkpoint-every", "41"]
    options = ["--data", str(photos), *SMALL, *steps]
    assert call("train", *options, "--out", tmp_path / "whole").code == 0
    out = tmp_path / "killed"
    program = [sys.executable, "-m", "quickstudy"]
    moments = [random.randint(1, 400) for _ in range(2)]

    def recorded():
        return len(open_run(out).metrics()) if (out / "config.json").exists() else 0

    process = subprocess.Popen(
        [*program, "train", *options, "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: recorded() >= moments[0], process)
    assert "is being trained by another process" in call("resume", out).err
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    done = recorded()
    assert f"stopped after step {done}; go on with: quickstudy resume {out}" in said

    with subprocess.Popen([*program, "resume", str(out)], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: recorded() >= done + moments[1], process)
        finally:
            process.send_signal(signal.SIGKILL)
    assert recorded() < 1000, "the run ended before it was killed"
    assert "has no model yet" in call("evaluate", out).err

    assert call("resume", out).code == 0
    rows = open_run(out).metrics()
    assert [row["step"] for row in rows] == [*range(1, 1001)], moments
    assert record(out) == record(tmp_path / "whole"), moments
    assert weights(out) == weights(tmp_path / "whole"), moments


LONG_STEP = """
import time
from quickstudy.hub.cli import main
from quickstudy.hub.commands import following
from quickstudy.learners import ProtoNet

quick = ProtoNet.loss
def loss(self, task):
    if self.training and loss.calls == 7:
        time.sleep(600)
    loss.calls += self.training
    return quick(self, task)
loss.calls = 0
ProtoNet.loss = loss
following.PATIENCE = 1.0
main()
"""


def test_a_run_asked_to_end_does_not_wait_for_a_long_step(photos, tmp_path, call):
    options = ["--data", str(photos), *SMALL, "--steps", "9", "--checkpoint-every", "3"]
    assert call("train", *options, "--out", tmp_path / "whole").code == 0
    out = tmp_path / "long"
    command = [sys.executable, "-c", LONG_STEP, "train", *options, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (out / "config.json").exists() and len(open_run(out).metrics()) == 6, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"in the middle of a long step; go on with: quickstudy resume {out}" in said
    assert call("resume", out).code == 0
    assert weights(out) == weights(tmp_path / "whole")
    assert record(out) == record(tmp_path / "whole")


@pytest.mark.parametrize(
    "options",
    [
        {"learner": "maml++"},
        {"learner": "maml", "rule": "step-rates", "rule_options": {"steps": 2}},
    ],
)
def test_the_rates_of_every_inner_step_are_drawn(photos, tmp_path, options):
    asked = quick(photos, steps=2, inner_steps=2, norm="batch", **options)
    run = end(train(asked, tmp_path / "run"))
    assert (tmp_path / "run" / "inner_rates.png").read_bytes()[1:4] == b"PNG"
    assert {name.split(", ")[1] for name in run.learner.rule.rates()} == {"step 1", "step 2"}

"""Learners that are trained to tell all meta-train classes apart, as a user runs them."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import quickstudy as qs
from hub import shops
from hub.folders import SMALL
from quickstudy.errors import RunError, TaskError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.drawing import labelled
from quickstudy.hub.embeddings import reading
from quickstudy.hub.runs import open_run
from quickstudy.hub.sources import open_source

TINY = SMALL[2:]
PRETRAINED = ["SimpleShot", "BaselinePlusPlus", "FineTuning"]
PROGRAM = [sys.executable, "-m", "quickstudy"]


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def weights(folder):
    (path,) = folder.glob("weights-*.safetensors")
    return path.read_bytes()


def told(*arguments):
    """What a command line says in a process of its own."""
    done = subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stopped_run_goes_on_and_is_judged_in_real_processes(need, tmp_path, call):
    need.data("omniglot_28.npz")
    options = ["--data", "omniglot", "--rotations", "--learner", "simpleshot", *TINY,
               "--steps", "250", "--evaluate-every", "125"]  # fmt: skip
    told("train", *options, "--out", tmp_path / "whole")
    out = tmp_path / "stopped"
    process = subprocess.Popen([*PROGRAM, "train", *options, "--out", str(out)],
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    start = time.monotonic()
    while not ((out / "config.json").exists() and len(open_run(out).metrics()) >= 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - start < 240
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    told("resume", out)
    assert len(open_run(out).metrics()) == 250
    assert weights(out) == weights(tmp_path / "whole")
    learner = load_model(out)[0]
    assert learner.classes == 4 * qs.omniglot().train.classes
    assert learner.mean.any()
    asked = ["--tasks", 20, "--threads", 1, "--json"]
    judged = json.loads(told("evaluate", out, *asked))
    assert judged["control"]["name"] == "NearestMean"
    assert not judged["transductive"]
    assert judged == call("evaluate", tmp_path / "whole", *asked).json | {"run": str(out)}


def test_rotations_count_as_classes_and_warps_bend_the_examples(photos):
    source = open_source(str(photos))
    held = source.pools["train"].classes
    asked = {"data": str(photos), "ways": 3, "shots": 1, "queries": 2}
    plain = labelled(TrainConfig(**asked), source, qs.SimpleShot)
    turned = labelled(TrainConfig(**asked, rotations=True), source, qs.SimpleShot)
    assert (plain.classes, turned.classes, plain.examples) == (held, 4 * held, 9)
    generator = torch.Generator().manual_seed(0)
    y = turned.sample(1, generator).query.y
    assert y.shape == (1, 9, 4 * held)
    bent = labelled(TrainConfig(**asked, warp="affine"), source, qs.SimpleShot)
    one, other = (s.sample(1, torch.Generator().manual_seed(0)).query for s in (plain, bent))
    assert torch.equal(one.y, other.y)
    assert not torch.equal(one.x, other.x)


def test_glyphs_turn_into_the_classes_that_their_tasks_have():
    source = open_source("glyphs")
    asked = TrainConfig(rotations=True)
    made = labelled(asked, source, qs.SimpleShot)
    assert made.classes == source.turned.classes
    assert made.sample(1, torch.Generator().manual_seed(0)).query.x.shape == (1, 30, 1, 28, 28)


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_number_of_classes_is_the_datas_unless_it_is_told(name, photos, tmp_path, call):
    made = ["train", "--data", photos, "--learner", name, *TINY, "--steps", 1]
    assert call(*made, "--rotations", "--out", tmp_path / "run").code == 0
    held = open_source(str(photos)).pools["train"].classes
    assert qs.load(tmp_path / "run").classes == 4 * held
    said = call(*made, "--learner-option", "classes=3", "--out", tmp_path / "other")
    assert said.code == 2
    assert f"has a head for 3 meta-train classes, got labels [n, {held}]" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", PRETRAINED)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sinusoids", "learns classes, and the targets of sinusoids are real numbers; learners f"),
        ("blobs", "to tell all meta-train classes apart, and those of blobs are others in every"),
    ],
)
def test_data_without_lasting_classes_is_refused(name, data, message, tmp_path, call):
    said = call("train", "--data", data, "--learner", name, "--out", tmp_path / "run")
    assert said.code == 2
    assert f"{name} " in said.err
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_table_of_groups_is_refused_and_one_of_classes_learned(tmp_path, call):
    groups, classes = tmp_path / "shops.csv", tmp_path / "classes.csv"
    shops.shops().to_csv(groups, index=False)
    out = ["--out", tmp_path / "run"]
    said = call("train", "--data", groups, *shops.SHOPS, "--learner", "simpleshot", *out)
    assert said.code == 2
    assert "SimpleShot learns classes, and the targets of" in said.err
    random = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.3f},kind {k}"
        for k in range(12)
        for a, b in random.normal([k % 4, k // 4], 0.05, (6, 2))
    ]
    classes.write_text("\n".join(["a,b,kind", *rows]))
    made = call("train", "--data", classes, "--targets", "kind", "--learner", "simpleshot",
                "--ways", 2, "--queries", 2, "--steps", 3, "--threads", 1, *out)  # fmt: skip
    assert made.code == 0, made.err
    assert qs.load(tmp_path / "run").classes == len(open_run(tmp_path / "run").kept["train"])


def toy_pool(classes=20, first=0.0):
    """Directions in the first two of ten numbers, the others loud."""
    generator = torch.Generator().manual_seed(0)
    angles = (first + torch.arange(classes).repeat_interleave(20)) * (2 * torch.pi / classes)
    plane = 3 * torch.stack([angles.cos(), angles.sin()], 1)
    loud = 2 * torch.randn(len(angles), 8, generator=generator)
    return qs.Pool.from_labels(torch.cat([plane, loud], 1), torch.arange(classes * 20) // 20)


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_platform_pretrains_and_beats_chance_and_the_control(name):
    platform = qs.Platform(qs.MLP(10, [32], 16), toy_pool(), name, ways=3, queries=5, device="cpu")
    history = platform.meta_train(300, 4, rate=4e-3, validation_tasks=20, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    judged = platform.evaluate(count=200)
    assert judged["accuracy"] > max(0.5, judged["control"]["accuracy"] + 0.1)
    # What it kept is what it says: the estimator and a predictor answer alike.
    x, y = toy_pool().images[::8], ["a"] * 25 + ["b"] * 25
    classifier = qs.FewShotClassifier(platform).fit(x, y)
    assert classifier.predict(x).tolist() == platform.deploy((x, y)).predict(x)


def test_a_learner_of_ones_own_says_how_many_classes_there_are_to_tell():
    platform = qs.Platform(None, toy_pool(), qs.SimpleShot(qs.MLP(10)), ways=3, device="cpu")
    with pytest.raises(TaskError, match=r"has a head for no meta-train classes, .* classes=10, or"):
        platform.meta_train(1, progress=False)
    own = qs.SimpleShot(qs.MLP(10), classes=10)
    platform = qs.Platform(None, toy_pool(), own, ways=3, device="cpu")
    assert len(platform.meta_train(1, validation_tasks=2, progress=False)) == 1


def test_tasks_that_are_drawn_from_a_pool_lend_it():
    train, held = (qs.Episodes(toy_pool(8, first), 3, 1, 5) for first in (0, 0.5))
    platform = qs.Platform(qs.MLP(10), train, "simpleshot", validation=held, device="cpu")
    assert platform.learner.classes == 8
    assert len(platform.meta_train(2, validation_tasks=2, progress=False)) == 2


def test_tasks_that_come_as_they_are_are_refused():
    with pytest.raises(RunError, match=r"SimpleShot is trained to tell all .* wanted images, a ta"):
        qs.Platform(qs.MLP(2), qs.Blobs(), "simpleshot")


@pytest.mark.parametrize("name", PRETRAINED)
def test_they_read_the_net_of_another_run_and_others_read_theirs(name, photos, trained, call):
    quick = ["--ways", "2", "--queries", "3", "--tasks", "6", "--threads", "1", "--json"]
    said = call("evaluate", trained, *quick, "--learner", name)
    assert (said.code, said.err) == (0, "")
    assert (said.json["learner"], said.json["embedding_of"]) == (name, "ProtoNet")
    said = call("evaluate", trained, "--learner", name, "--learner-option", "classes=5")
    assert f"{name} meta-learns more than an embedding (" in said.err
    assert "head.weight" in said.err
    assert said.err.count("\n") == 1


def test_simple_shot_takes_the_mean_of_meta_train_for_the_net_of_another(
    photos, tmp_path, trained, call
):
    from quickstudy.hub.subjects import open_subject

    made = open_subject(trained).read_by("simple-shot").learner
    assert made.mean.any()
    moved = tmp_path / "photos"
    shutil.copytree(photos, moved)
    run = tmp_path / "run"
    assert call("train", "--data", moved, *SMALL, "--steps", 1, "--out", run).code == 0
    shutil.rmtree(moved)
    said = call("evaluate", run, "--learner", "simple-shot", "--data", photos)
    assert said.code == 2  # the mean is of images that are no longer there
    assert said.err.count("\n") == 1
    assert str(moved) in said.err


def test_the_net_of_a_pretrained_run_goes_on_as_another_learner(photos, tmp_path, call):
    run = tmp_path / "run"
    made = ["--learner", "baseline++", *TINY, "--steps", 2, "--out", run]
    assert call("train", "--data", photos, *made).code == 0
    quick = ["--ways", "2", "--queries", "3", "--tasks", "4", "--threads", "1", "--json"]
    assert call("evaluate", run, *quick, "--learner", "protonet").json["tasks"] == 4
    assert call("evaluate", run, *quick, "--learner", "tim").json["tasks"] == 4
    platform = qs.Platform(qs.load(run).net.requires_grad_(), str(photos), "meta-baseline", ways=3,
                           queries=2, device="cpu")  # fmt: skip
    assert platform.meta_train(1, validation_tasks=2, progress=False)["step"] == [1]
    assert reading(platform.learner, "finetuning", {"body": True}).body

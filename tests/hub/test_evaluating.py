import json

import pytest
import torch

import quickstudy as qs
from hub.folders import draw_folder
from quickstudy.core import Batching, evaluate
from quickstudy.errors import DataError, RunError
from quickstudy.hub.evaluating import Setting, control_of, evaluate_run, judge
from quickstudy.hub.runs import open_run
from quickstudy.learners import NearestMean


@pytest.fixture(autouse=True)
def _settings():
    yield
    torch.set_flush_denormal(False)


def test_the_json_of_an_evaluation(trained, call):
    options = ["--ways", "2", "--shots", "2", "--queries", "3", "--tasks", "7", "--seed", "5"]
    said = call("evaluate", trained, *options, "--json")
    assert said.code == 0
    assert said.err == ""
    result = said.json
    assert list(result) == [
        "run", "data", "split", "accuracy", "interval95", "tasks", "ways", "shots", "queries",
        "control", "transductive", "seed",
    ]  # fmt: skip
    assert 0 <= result["accuracy"] <= 1
    assert result["control"].keys() == {"name", "accuracy", "interval95"}
    expected = {"tasks": 7, "ways": 2, "shots": 2, "queries": 3, "seed": 5, "transductive": False}
    assert {key: result[key] for key in expected} == expected
    assert (result["split"], result["control"]["name"]) == ("test", "NearestMean")
    assert call("evaluate", trained, *options, "--json").json == result


def test_people_see_the_control_too(trained, call):
    said = call("evaluate", trained, "--ways", "2", "--tasks", "3", "--queries", "2")
    assert "2-way 1-shot on" in said.out
    assert "inductive" in said.out
    assert "NearestMean (control)" in said.out


def test_the_control_sees_the_same_tasks():
    source, setting = qs.Blobs(way=3, spread=1.0), Setting(3, 1, 15, 30, 4)
    learner = qs.ProtoNet(torch.nn.Flatten())
    result = judge(learner, source, setting)
    control = evaluate(NearestMean(), source, tasks=30, seed=4)
    assert result["control"]["accuracy"] == pytest.approx(control.mean, abs=1e-6)
    assert result["accuracy"] == result["control"]["accuracy"]  # it is the same method on this net
    assert judge(learner, source, setting) == result
    assert judge(learner, source, setting._replace(seed=5))["accuracy"] != result["accuracy"]


def test_one_task_has_no_interval():
    result = judge(qs.NearestMean(), qs.Blobs(), Setting(tasks=1))
    assert result["interval95"] is None
    assert json.loads(json.dumps(result)) == result


def test_real_targets_have_no_control():
    learner = qs.MAML(qs.MLP(1), outputs=1, objective="squared_error", steps=1)
    assert control_of(learner, qs.Sinusoids(), 2, 0, Batching()) is None
    result = judge(learner, qs.Sinusoids(), Setting(tasks=2))
    assert result["control"] is None
    assert "squared_error" in result


def test_progress_is_told():
    told = []
    judge(qs.NearestMean(), qs.Blobs(), Setting(tasks=45), tick=lambda *n: told.append(n))
    assert told == [(20, 45), (40, 45), (45, 45)]


def test_a_new_folder_is_judged_whole(trained, tmp_path):
    folder = draw_folder(tmp_path, classes=4, each=3, size=31, colour=True)
    setting = Setting(ways=4, queries=2, tasks=2)
    assert evaluate_run(trained, setting, data=str(folder))["split"] == "all"
    own = open_run(trained).config.data
    assert evaluate_run(trained, Setting(2, 1, 2, 2), data=own)["split"] == "test"


def test_what_a_model_cannot_be_judged_on(trained, tmp_path):
    for data, setting, kind, message in [
        ("blobs", Setting(), RunError, r"takes inputs \[1, 20, 20\], those of blobs are \[2\]"),
        ("glyphs", Setting(), RunError, r"those of glyphs are \[1, 28, 28\]"),
        (None, Setting(ways=50), DataError, r"meta-test \(\d+ classes\): 50-way tasks need 50"),
        (None, Setting(ways=2, shots=9), DataError, "has 5 images, 9 shot . 5 queries need 14"),
        (None, Setting(ways=1), RunError, "--ways must be at least 2, got 1"),
        (None, Setting(tasks=0), RunError, "--tasks must be at least 1, got 0"),
        (None, Setting(shots=-1), RunError, "--shots must be at least 1, got -1"),
        (None, Setting(queries=0), RunError, "--queries must be at least 1, got 0"),
        (None, Setting(seed=-1), RunError, "--seed must be at least 0, got -1"),
    ]:
        with pytest.raises(kind, match=message):
            evaluate_run(trained, setting, data=data)
    qs.save(tmp_path, qs.ProtoNet(torch.nn.Flatten()))
    with pytest.raises(qs.ArtefactError, match="hand one in"):
        evaluate_run(tmp_path, Setting())
    qs.save(tmp_path / "plain", qs.NearestMean())
    with pytest.raises(RunError, match="does not say what it was trained on; name data with"):
        evaluate_run(tmp_path / "plain", Setting())
    assert evaluate_run(tmp_path / "plain", Setting(tasks=3), data="blobs")["accuracy"] > 0.2

import json
import math
import re
import shutil

import pytest
import torch
from PIL import Image

import quickstudy as qs
from hub.folders import SMALL, draw_folder
from quickstudy.core import Batching, evaluate
from quickstudy.errors import DataError, RunError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.config import make_config
from quickstudy.hub.evaluating import Setting, control_of, evaluate_run, judge
from quickstudy.hub.image_source import Images
from quickstudy.hub.runs import open_run
from quickstudy.hub.screen import percent
from quickstudy.hub.training import Finished, train
from quickstudy.learners import NearestMean

TWO = Setting(2, 1, 1, 2)
QUICK = {
    "steps": 1, "ways": 2, "queries": 2, "validation_ways": 2, "validation_tasks": 2, "width": 2,
    "down": "stride", "backbone_options": {"halvings": 2}, "threads": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def test_the_json_of_an_evaluation(trained, call):
    options = ["--ways", "2", "--shots", "2", "--queries", "3", "--tasks", "7", "--seed", "5"]
    said = call("evaluate", trained, *options, "--json")
    assert said.code == 0
    assert said.err == ""
    result = said.json
    assert list(result) == [
        "run", "data", "split", "accuracy", "interval95", "ece", "tasks", "ways", "shots",
        "queries", "dirichlet", "unlabelled", "inner_steps", "inner_rate", "control",
        "transductive", "seed",
    ]  # fmt: skip
    assert 0 <= result["accuracy"] <= 1
    assert 0 <= result["ece"] <= 1
    assert result["inner_steps"] is None
    assert result["control"].keys() == {"name", "accuracy", "interval95", "ece"}
    expected = {"tasks": 7, "ways": 2, "shots": 2, "queries": 3, "seed": 5, "transductive": False}
    assert {key: result[key] for key in expected} == expected
    assert (result["split"], result["control"]["name"]) == ("test", "NearestMean")
    assert call("evaluate", trained, *options, "--json").json == result


def test_sizes_are_those_of_the_runs_meta_validation_unless_said(photos, tmp_path, call):
    run = tmp_path / "run"
    sizes = ["--ways", "3", "--shots", "2-3", "--validation-ways", "2", "--validation-queries", "1"]
    given = [*SMALL, *sizes, "--queries", "2", "--steps", "2"]
    assert call("train", "--data", photos, *given, "--out", run).code == 0
    judged = call("evaluate", run, "--tasks", "3", "--json").json
    assert [judged[name] for name in ("ways", "shots", "queries")] == [2, 2, 1]
    assert qs.Platform.load(run).evaluate(count=3)["accuracy"] == judged["accuracy"]
    judged = call("evaluate", run, "--tasks", "3", "--shots", "1", "--json").json
    assert [judged[name] for name in ("ways", "shots", "queries")] == [2, 1, 1]


def test_unlabelled_examples_are_those_of_the_run_unless_said(photos, tmp_path, call):
    run = tmp_path / "run"
    sizes = ["--ways", "2", "--queries", "1", "--unlabelled", "2", "--learner", "soft-k-means"]
    said = call("train", "--data", photos, *SMALL, *sizes, "--steps", "2", "--out", run)
    assert said.code == 0, said.err
    report = json.loads((run / "report.json").read_text())["validation"]
    assert [report[name] for name in ("shots", "queries", "unlabelled")] == [1, 1, 2]
    judged = call("evaluate", run, "--tasks", "3", "--json").json
    assert judged["unlabelled"] == 2
    assert qs.Platform.load(run).evaluate(count=3)["unlabelled"] == 2
    assert "2-way 1-shot + 2 unlabelled on" in call("evaluate", run, "--tasks", "3").out
    judged = call("evaluate", run, "--tasks", "3", "--unlabelled", "0", "--json").json
    assert judged["unlabelled"] == 0
    said = call("evaluate", run, "--tasks", "3", "--unlabelled", "4")
    assert "has 5 images, 1 shot + 1 queries + 4 unlabelled need 6" in said.err
    said = call("evaluate", run, "--tasks", "3", "--unlabelled", "-1")
    assert "--unlabelled must be at least 0, got -1" in said.err
    said = call("train", "--data", "blobs", "--unlabelled", "2", "--out", tmp_path / "no")
    assert "--unlabelled is for classes of images; blobs are none" in said.err


def test_what_a_run_prints_to_type_next_can_be_typed(tmp_path, call):
    """Small data makes meta-validation's tasks smaller, and so those of meta-test."""
    draw_folder(tmp_path / "few", classes=6, each=4)
    run = tmp_path / "run"
    said = call("train", "--data", tmp_path / "few", *SMALL, "--ways", "2", "--out", run)
    assert said.code == 0, said.err
    _, _, command = said.out.rpartition("next: quickstudy ")
    judged = call(*command.split(), "--tasks", "3", "--json").json
    assert [judged[name] for name in ("ways", "shots", "queries")] == [2, 1, 2]
    platform = qs.Platform("conv4", tmp_path / "few", ways=5, queries=5)
    judged = platform.evaluate(count=3)
    assert [judged[name] for name in ("ways", "shots", "queries")] == [2, 1, 3]
    with pytest.raises(DataError, match="3-way tasks need 3 classes, got 2"):
        platform.evaluate(ways=3, count=3)


def test_people_see_the_control_too(trained, call):
    said = call("evaluate", trained, "--ways", "2", "--tasks", "3", "--queries", "2")
    assert "2-way 1-shot on" in said.out
    assert "inductive" in said.out
    assert "NearestMean (control)" in said.out
    assert re.search(r"calibration error \(ECE\) +\d+\.\d % \(control \d+\.\d %\)\n", said.out)


def test_what_pillow_warns_of_is_nobodys_concern(trained, call, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 300)
    said = call("evaluate", trained, "--ways", "2", "--tasks", "2", "--queries", "2")
    assert (said.code, said.err) == (0, "")


def test_the_control_sees_the_same_tasks():
    source, setting = qs.Blobs(way=3, spread=1.0), Setting(3, 1, 15, 30, 4)
    learner = qs.ProtoNet(torch.nn.Flatten())
    result = judge(learner, source, setting)
    control = evaluate(NearestMean(), source, tasks=30, seed=4)
    assert result["control"]["accuracy"] == pytest.approx(control.mean, abs=1e-6)
    assert result["control"]["ece"] == pytest.approx(control.ece, abs=1e-6)
    # It is the same method on this net.
    assert [result[key] == result["control"][key] for key in ("accuracy", "ece")] == [True, True]
    assert judge(learner, source, setting) == result
    assert judge(learner, source, setting._replace(seed=5))["accuracy"] != result["accuracy"]


def test_one_task_has_no_interval():
    result = judge(qs.NearestMean(), qs.Blobs(), Setting(tasks=1))
    assert result["interval95"] is None
    assert json.loads(json.dumps(result)) == result


def test_real_targets_have_a_control_and_no_calibration():
    learner = qs.MAML(qs.MLP(1), outputs=1, targets="values", steps=1)
    assert control_of(learner, qs.Sinusoids(), 2, 0, Batching())[0] == "SupportMean"
    result = judge(learner, qs.Sinusoids(), Setting(tasks=2))
    assert result["control"].keys() == {"name", "squared_error", "interval95"}
    assert "squared_error" in result
    assert "ece" not in result
    assert result["inner_steps"] == 1


def test_who_says_how_sure_it_is_gets_two_figures_more(tmp_path, call):
    result = judge(qs.DKT(qs.MLP(1), targets="values"), qs.Sinusoids(), Setting(tasks=5))
    assert 0 <= result["coverage90"] <= 1
    assert math.isfinite(result["nll"])
    assert "coverage90" not in result["control"]
    options = ["--data", "sinusoids", "--learner", "alpaca", "--steps", 2, "--validation-tasks", 2]
    assert call("train", *options, "--out", tmp_path / "run").code == 0
    told = call("evaluate", tmp_path / "run", "--tasks", 5, "--json").json
    said = call("evaluate", tmp_path / "run", "--tasks", 5).out
    assert f"hold {100 * told['coverage90']:.1f} % of the targets" in said


class Undefined(qs.NearestMean):
    def predict(self, state, x):
        return super().predict(state, x) * torch.nan


def test_what_is_no_number_is_null_in_json_and_a_dash_on_the_screen():
    result = judge(Undefined(), qs.Blobs(), Setting(tasks=3))
    assert (result["accuracy"], result["interval95"], result["ece"]) == (None, None, None)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert percent(result) == "-"


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


def classes_judged(monkeypatch):
    """The names of the classes that tasks are drawn from, in the latest evaluation."""
    seen = []
    episodes = Images._episodes

    def spied(self, split, *sizes, **options):
        seen[:] = self.pool(split).names
        return episodes(self, split, *sizes, **options)

    monkeypatch.setattr(Images, "_episodes", spied)
    return seen


def trained_on(folder, out):
    *_, last = train(make_config(QUICK | {"data": str(folder)}), out)
    assert isinstance(last, Finished)
    return out


@pytest.fixture
def own(photos, tmp_path):
    """A folder, and a run on it."""
    folder = shutil.copytree(photos, tmp_path / "own")
    return folder, trained_on(folder, tmp_path / "run")


def split_of(run):
    kept = load_model(run)[1].manifest.training["kept"]
    assert sum(len(kept[part]) for part in ("train", "validation", "test")) == 12
    return kept


def test_classes_that_come_and_go_move_no_others(own, tmp_path, monkeypatch):
    folder, run = own
    kept, judged = split_of(run), classes_judged(monkeypatch)
    assert evaluate_run(run, TWO)["split"] == "test"
    assert judged == kept["test"]
    for seed, new in enumerate(("aardvark", "zebra"), start=1):
        shutil.copytree(draw_folder(tmp_path / new, 1, each=3, seed=seed) / "class00", folder / new)
    shutil.rmtree(folder / kept["train"][1])
    shutil.rmtree(folder / kept["test"][0])
    evaluate_run(run, TWO)
    assert judged == ["aardvark", *kept["test"][1:], "zebra"]
    evaluate_run(run, TWO, split="train")
    assert judged == [kept["train"][0], *kept["train"][2:]]


def test_no_spelling_of_a_folder_hides_what_was_trained_on(own, tmp_path, monkeypatch):
    folder, run = own
    kept, judged = split_of(run), classes_judged(monkeypatch)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for spelling in (f"{folder}/../own", "link", "own/", "./own", folder / kept["test"][0] / ".."):
        assert evaluate_run(run, TWO, data=str(spelling))["split"] == "test"
        assert judged == kept["test"]
    (tmp_path / "some").mkdir()
    for name in (*kept["train"][:2], *kept["test"]):
        (tmp_path / "some" / name).symlink_to(folder / name)
    assert evaluate_run(run, TWO, data="some")["split"] == "test"
    assert judged == kept["test"]
    # Other folders may have classes of the same names: they are others, unless nobody can tell.
    draw_folder(tmp_path / "others", classes=3, each=3, seed=1)
    assert evaluate_run(run, TWO, data="others")["split"] == "all"
    folder.rename(tmp_path / "moved")
    evaluate_run(run, TWO, data="moved")
    assert judged == kept["test"]


def test_images_that_were_trained_on_are_refused_whatever_they_are_called(own, tmp_path, call):
    folder, run = own
    kept = split_of(run)
    others = draw_folder(tmp_path / "others", classes=3, each=3, seed=1)
    first = sorted((folder / kept["train"][0]).iterdir())[0]
    with Image.open(first) as image:
        image.save(others / "class01" / "copy.bmp")
    said = call("evaluate", run, "--data", others, "--ways", 2, "--queries", 1, "--tasks", 2)
    assert said.code == 2
    wanted = f"was trained on: 1 of 'class01' in '{kept['train'][0]}'\n"
    assert said.err.startswith(f"error: {others} holds images that the model in {run} {wanted}")
    assert said.out == ""
    # Into the run's own folder, as a class that it never saw; and with that moved away.
    shutil.copytree(folder / kept["train"][1], folder / "new")
    (tmp_path / "link").symlink_to(folder)
    for data in (None, str(tmp_path / "link")):
        with pytest.raises(DataError, match=f"5 of 'new' in '{kept['train'][1]}'"):
            evaluate_run(run, TWO, data=data)
    folder.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=f"5 of 'new' in '{kept['train'][1]}'"):
        evaluate_run(run, TWO, data=str(tmp_path / "moved"))
    # What it was trained on is gone, and no name says what it was: nobody can tell.
    for place in sorted(others.iterdir()):
        place.rename(others / f"new {place.name}")
    assert evaluate_run(run, TWO, data=str(others))["split"] == "all"


def test_a_training_folder_that_cannot_be_read_any_more_is_no_reason_to_refuse(own, tmp_path):
    folder, run = own
    others = draw_folder(tmp_path / "others", classes=3, each=3, seed=1)
    for image in folder.rglob("*.png"):
        image.write_bytes(b"no image")
    assert evaluate_run(run, TWO, data=str(others))["split"] == "all"


def test_a_part_of_a_split_folder_is_no_other_folder(photos, tmp_path, monkeypatch):
    names = sorted(place.name for place in photos.iterdir())
    whole = tmp_path / "own"
    for part, some in {"train": names[:6], "val": names[6:8], "test": names[8:]}.items():
        for name in some:
            shutil.copytree(photos / name, whole / part / name)
    run, judged = trained_on(whole, tmp_path / "run"), classes_judged(monkeypatch)
    for part in ("train", "val"):
        with pytest.raises(RunError, match=f"own/{part} holds no class that the model in .* never"):
            evaluate_run(run, TWO, data=str(whole / part))
    (whole / "train" / names[0]).rename(whole / "test" / names[0])
    for data in (None, str(whole / "test")):
        assert evaluate_run(run, TWO, data=data)["split"] == "test"
        assert judged == names[8:]


def test_a_model_that_does_not_say_what_it_saw(own, tmp_path):
    _, run = own
    model = load_model(run)[1]
    fields = {"input_shape": (1, 20, 20), "preprocessing": model.manifest.preprocessing}
    config = model.manifest.training["config"]
    for name, kept, reason in [
        ("silent", None, "was trained on .* does not say on which classes of it; name others"),
        ("odd", {"folder": 3}, r"odd/manifest.json cannot be read: kept\."),
    ]:
        told = {"config": config, "kept": kept}
        qs.save(tmp_path / name, model.learner, training=told, **fields)
        with pytest.raises(RunError, match=reason):
            evaluate_run(tmp_path / name, TWO)
    others = draw_folder(tmp_path / "others", classes=3, each=3, seed=1)
    assert evaluate_run(tmp_path / "silent", TWO, data=str(others))["split"] == "all"


def test_what_a_model_cannot_be_judged_on(trained, tmp_path):
    for data, setting, kind, message in [
        ("blobs", Setting(), RunError, r"takes inputs \[1, 20, 20\], those of blobs are \[2\]"),
        ("glyphs", Setting(), RunError, r"those of glyphs are \[1, 28, 28\]"),
        (None, Setting(ways=50), DataError, r"meta-test \(\d+ classes\): 50-way tasks need 50"),
        (None, Setting(ways=2, shots=9), DataError, "has 5 images, 9 shot . 1 queries need 10"),
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

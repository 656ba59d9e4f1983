import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import quickstudy as qs
from hub.folders import draw_folder
from quickstudy.errors import RunError
from quickstudy.hub.config import make_config
from quickstudy.hub.evaluating import (
    Setting,
    adapting_by,
    evaluate_run,
    inner_rate_of,
    inner_steps_of,
)
from quickstudy.hub.sweeps import sweep_run
from quickstudy.hub.training import train

SMALL = {
    "learner": "maml", "inner_steps": 2, "steps": 1, "ways": 2, "queries": 2, "validation_ways": 2,
    "validation_tasks": 2, "width": 2, "down": "stride", "backbone_options": {"halvings": 2},
    "threads": 1, "device": "cpu",
}  # fmt: skip
QUICK = ["--ways", "2", "--queries", "2", "--tasks", "4", "--threads", "1"]
KEYS = [
    "run", "data", "split", "accuracy", "interval95", "ece", "tasks", "ways", "shots", "queries",
    "dirichlet", "unlabelled", "inner_steps", "inner_rate", "control", "transductive", "seed",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def trained_with(options, out):
    for _ in train(make_config(options), out):
        pass
    return out


@pytest.fixture(scope="module")
def maml(photos, tmp_path_factory):
    """A run with inner steps on `photos`."""
    out = tmp_path_factory.mktemp("runs") / "maml"
    return trained_with(SMALL | {"data": str(photos)}, out)


@pytest.fixture(scope="module")
def sine(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "sine"
    options = {"learner": "maml", "inner_steps": 1, "steps": 1, "data": "sinusoids", "shots": 5}
    few = {name: SMALL[name] for name in ("validation_tasks", "threads", "device")}
    return trained_with(options | few, out)


def size(path):
    with Image.open(path) as image:
        return image.size


def test_shots_and_inner_steps_are_swept_and_drawn(maml, call, tmp_path):
    sweep = ["--shots", "1,2,3", "--inner-steps", "0,1,2,5", "--plot", tmp_path / "out.png"]
    said = call("evaluate", maml, *QUICK, *sweep, "--json")
    assert (said.code, said.err) == (0, "")
    assert list(said.json) == ["rows"]
    rows = said.json["rows"]
    # The model's own two steps at one shot are in both, and among the rows once.
    assert [(row["shots"], row["inner_steps"]) for row in rows] == [
        (1, 2), (2, 2), (3, 2), (1, 0), (1, 1), (1, 5),
    ]  # fmt: skip
    assert all(list(row) == KEYS for row in rows)
    assert all(row["control"].keys() == {"name", "accuracy", "interval95", "ece"} for row in rows)
    # Every row is what a call of its own gives.
    for row in rows:
        setting = Setting(2, row["shots"], 2, 4, inner_steps=row["inner_steps"])
        assert evaluate_run(maml, setting, threads=1) == row
    assert size(tmp_path / "out.png")[1] == 585


def test_people_get_a_table_of_what_varies(maml, call):
    said = call("evaluate", maml, *QUICK, "--shots", "1,3", "--inner-steps", "1,4")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{maml}: 2-way on ")
    head = [cell.strip() for cell in lines[2].split("┃")[1:-1]]
    assert head == ["shots", "inner steps", "accuracy", "NearestMean (control)", "ECE"]
    cells = [[c.strip() for c in line.split("│")[1:3]] for line in lines if line.startswith("│")]
    assert cells == [["1", "2"], ["3", "2"], ["1", "1"], ["1", "4"]]


def test_one_number_of_steps_holds_for_all_shots(maml, call):
    said = call("evaluate", maml, *QUICK, "--shots", "1,2", "--inner-steps", "4", "--json")
    assert [(row["shots"], row["inner_steps"]) for row in said.json["rows"]] == [(1, 4), (2, 4)]
    said = call("evaluate", maml, *QUICK, "--inner-steps", "4", "--json")
    assert (list(said.json), said.json["inner_steps"]) == (KEYS, 4)


def test_a_single_setting_is_drawn_too(trained, call, tmp_path):
    picture = tmp_path / "a" / "new" / "folder" / "one.png"
    said = call("evaluate", trained, *QUICK, "--plot", picture)
    assert said.code == 0
    assert said.out.endswith(f"drawn: {picture}\n")
    assert "calibration error (ECE)" in said.out
    assert size(picture) == (1170, 585)


def test_regression_is_swept_by_its_error(sine, call, tmp_path):
    sweep = ["--shots", "5,10", "--inner-steps", "1,3", "--plot", tmp_path / "out.png"]
    said = call("evaluate", sine, *QUICK[2:], *sweep, "--json")
    rows = said.json["rows"]
    assert {row["ways"] for row in rows} == {None}
    assert [(row["shots"], row["inner_steps"]) for row in rows] == [(5, 1), (10, 1), (5, 3)]
    assert all(row["squared_error"] > 0 and "ece" not in row for row in rows)
    assert {row["control"]["name"] for row in rows} == {"SupportMean"}
    assert (tmp_path / "out.png").exists()
    said = call("evaluate", sine, *QUICK[2:], *sweep)
    assert f"{sine}: regression on sinusoids (test), 2 queries a task" in said.out
    assert "squared error" in said.out
    assert "ECE" not in said.out


def test_ways_are_not_for_real_targets(sine, call):
    said = call("evaluate", sine, "--tasks", "2", "--ways", "3")
    assert (said.code, said.out) == (2, "")
    assert "sinusoids take no --ways: the targets are numbers" in said.err


def test_domains_stand_beside_the_own_meta_test(maml, photos, call, tmp_path):
    near = draw_folder(tmp_path / "near", classes=3, each=4, seed=1)
    far = draw_folder(tmp_path / "far,or not", classes=4, each=4, seed=2)
    plot = tmp_path / "out.png"
    said = call("evaluate", maml, *QUICK, "--data", near, "--data", far, "--plot", plot, "--json")
    assert (said.code, said.err) == (0, "")
    rows = said.json["rows"]
    assert [(row["data"], row["split"]) for row in rows] == [
        (str(photos), "test"), (str(near), "all"), (str(far), "all"),
    ]  # fmt: skip
    own, *others = rows
    assert own["gap"] is None
    for row in others:
        gap = own["accuracy"] - row["accuracy"]  # positive where it is answered worse
        half = np.hypot(row["interval95"], own["interval95"])
        assert row["gap"] == {
            "accuracy": pytest.approx(gap, abs=1e-6), "interval95": pytest.approx(half, abs=1e-6),
        }  # fmt: skip
    assert size(plot)[0] > 1170
    # The own data is the first wherever it was named, and A,B means A and B.
    told = call("evaluate", maml, *QUICK, "--data", f"{near}, {photos}", "--json").json["rows"]
    assert told == rows[:2]
    said = call("evaluate", maml, *QUICK, "--data", near, "--data", far, "--shots", "1,2")
    assert f"gap: how much worse than {photos} (test), the run's own" in said.out
    assert said.out.count("(all)") == 4


def test_domains_of_a_model_whose_own_data_is_gone(maml, photos, call, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "own")
    run = trained_with(SMALL | {"data": str(folder)}, tmp_path / "run")
    shutil.rmtree(folder)
    names = [draw_folder(tmp_path / f"new{seed}", 1, 3, seed=seed) for seed in (1, 2, 3, 4)]
    for place, source in zip(names[:2], names[2:], strict=True):
        (place / "class00").rename(place / "a")
        (source / "class00").rename(place / "b")
    said = call("evaluate", run, *QUICK, "--data", names[0], "--data", names[1], "--json")
    assert said.code == 0
    assert [row["gap"] for row in said.json["rows"]] == [None, None]
    assert said.err.startswith("no gap to the run's own data: ")


def test_the_gap_of_an_error_is_positive_where_it_is_larger(tmp_path, call, need):
    """As that between meta-train and meta-validation; people see its sign too."""
    need.package("pyarrow")

    def table_of(name, scale):
        rows = [f"{name}{g},{x / 5},{scale * (g % 4 - 1.5) * x}" for g in range(9)
                for x in range(-4, 5)]  # fmt: skip
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["g,x,y", *rows]))
        return path

    own, harder, easier = table_of("own", 1), table_of("harder", 3), table_of("easier", 0.1)
    run = trained_with(
        {"learner": "maml", "inner_steps": 1, "steps": 1, "data": str(own), "group": "g",
         "targets": ["y"], "shots": 3, "queries": 3, "backbone_options": {"hidden": [4]},
         "validation_tasks": 2, "threads": 1, "device": "cpu"}, tmp_path / "run")  # fmt: skip
    judge = ["evaluate", run, "--data", harder, "--data", easier, "--shots", "3", "--tasks", "20"]
    home, worse, better = call(*judge, "--json").json["rows"]
    assert home["gap"] is None
    for row in (worse, better):
        gap = row["squared_error"] - home["squared_error"]
        assert row["gap"]["squared_error"] == pytest.approx(gap, abs=1e-5)
    assert worse["gap"]["squared_error"] > 0 > better["gap"]["squared_error"]
    lines = call(*judge).out.splitlines()
    shown = [line.split("│")[-2].split() for line in lines if line.startswith("│")]
    home, worse, better = (cell[0] for cell in shown if cell)
    assert (home, worse[0], better[0]) == ("-", "+", "-")
    assert float(worse) > 0 > float(better)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shots", "1,x"], "--shots must be whole numbers such as 1 or 1,2,5, got '1,x'"),
        (["--shots", ""], "--shots must be whole numbers such as 1 or 1,2,5, got ''"),
        (["--shots", "2,2"], "--shots must be different numbers, got '2,2'"),
        (["--shots", "0,1"], "--shots must be at least 1, got 0"),
        (["--inner-steps", "1,-1"], "--inner-steps must be at least 0, got -1"),
        (["--inner-steps", "1,2"], "ProtoNet adapts without inner steps, so it takes no --inner-s"),
        (["--inner-steps", "1"], "ProtoNet adapts without inner steps, so it takes no --inner-s"),
        (["--inner-rate", "0.1"], "ProtoNet adapts without inner steps, so it takes no --inner-r"),
        (["--learner", "ptmap", "--inner-rate", "5"], "PTMAP has no fixed inner rate, so it takes"),
        (["--inner-rate", "-1"], "--inner-rate must be a positive number, got -1"),
        (["--shots", "1,9"], "9 shot + 2 queries need 11"),
        (["--data", "nowhere", "--data", "omniglot"], "no such folder"),
        (["--plot", "/proc/none/out.png"], "cannot write"),
        (["--plot", "out.txt"], "--plot must name a .png file, got out.txt"),
    ],
)
def test_what_cannot_be_swept_is_one_line(trained, call, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    said = call("evaluate", trained, *QUICK, "--plot", "out.png", *options)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_same_data_twice_is_refused(maml, photos, call):
    said = call("evaluate", maml, *QUICK, "--data", photos, "--data", photos)
    assert (said.code, said.err[:40]) == (2, "error: --data must name each data once, ")


def test_other_steps_are_for_the_meantime():
    for learner in (qs.MAML(qs.MLP(2), steps=3), qs.Reptile(qs.MLP(2), steps=3)):
        with adapting_by(learner, 7, 0.25):
            assert (inner_steps_of(learner), inner_rate_of(learner)) == (7, 0.25)
        with pytest.raises(ZeroDivisionError), adapting_by(learner, 0):
            _ = 1 / 0
        assert (inner_steps_of(learner), inner_rate_of(learner)) == (3, 0.1)
    with adapting_by(learner, 0):  # all classes are alike before the first step
        support = qs.examples(torch.rand(4, 2), [0, 1, 0, 1], way=2)
        logits = learner.predict(learner.adapt(support), torch.rand(3, 2))
    torch.testing.assert_close(logits[:, 0], logits[:, 1])
    assert inner_steps_of(qs.NearestMean()) is inner_rate_of(qs.NearestMean()) is None
    for given, flag in (((1,), "steps"), ((None, 0.1), "rate")):
        with pytest.raises(RunError, match=f"NearestMean adapts without .* no --inner-{flag}"):
            adapting_by(qs.NearestMean(), *given).__enter__()
    learned = qs.MetaSGD(qs.MLP(2))
    assert inner_rate_of(learned) is inner_rate_of(qs.TIM(qs.MLP(2))) is None
    with pytest.raises(RunError, match="MetaSGD has no fixed inner rate"):
        adapting_by(learned, 1, 0.1).__enter__()


def test_a_rate_changes_what_is_learned(maml, call):
    told = ["evaluate", maml, *QUICK, "--inner-steps", "4", "--json"]
    own = call(*told).json
    assert own["inner_rate"] == 0.1
    slow = call(*told, "--inner-rate", "1e-9").json
    assert slow["inner_rate"] == 1e-9
    assert slow["inner_steps"] == own["inner_steps"] == 4
    assert slow["ece"] != own["ece"]


def test_steps_change_what_is_learned(sine):
    rows = sweep_run(sine, Setting(tasks=20), shots=[5], inner_steps=[0, 1, 5]).rows
    assert len({row["squared_error"] for row in rows}) == 3
    assert len({row["control"]["squared_error"] for row in rows}) == 1

import json
import pickle

import numpy as np
import pytest
import torch

import quickstudy as qs
from hub.folders import draw_folder
from quickstudy.core import Examples, Task, one_hot
from quickstudy.errors import ArtefactError, DataError, RunError, TaskError
from quickstudy.hub.catalogue import TRAINABLE
from quickstudy.hub.platform import Platform
from quickstudy.hub.runs import open_run
from quickstudy.nets import MLP

BLOBS = {"tasks": qs.Blobs(way=3, shot=2, queries=5)}
POOL = qs.Pool.from_labels(torch.randn(120, 2), torch.arange(120) // 10)
TRAINED = [name for name, cls in TRAINABLE.items() if "classes" in cls.tasks]


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def trained(learner="prototypical", steps=12, **options):
    platform = Platform(MLP(2, [16], 8), **(BLOBS | options), learner=learner)
    platform.meta_train(steps=steps, evaluate_every=4, validation_tasks=10, progress=False)
    return platform


@pytest.mark.parametrize("name", TRAINED)
def test_every_learner_trains_judges_deploys_and_comes_back(name, tmp_path):
    data = BLOBS
    if TRAINABLE[name].trains_on == "labelled":  # which takes classes that stay the same
        data = {"tasks": POOL, "ways": 3, "shots": 2, "queries": 5}
    platform = trained(name, **data)
    assert platform.history["step"] == [*range(1, 13)]
    assert [row["step"] for row in platform.history.looks] == [4, 8, 12]
    judged = platform.evaluate(count=20)
    assert 0 <= judged["accuracy"] <= 1
    assert judged["control"]["name"] == "NearestMean"
    assert [judged[size] for size in ("ways", "shots", "queries")] == [3, 2, 5]
    support = {"support_x": [[0.0, 0.0], [0.1, 0.0], [3.0, 3.0], [3.1, 3.0]],
               "support_y": ["low", "low", "high", "high"]}  # fmt: skip
    new = [[0.0, 0.1], [3.0, 3.1]]
    predictor = platform.deploy(support)
    assert set(predictor.predict(new)) <= {"low", "high"}
    torch.testing.assert_close(predictor.probabilities(new).sum(-1), torch.ones(2))
    platform.save(tmp_path / "run")
    again = Platform.load(tmp_path / "run", tasks=data["tasks"])
    assert torch.equal(again.deploy(support)(new), predictor(new))
    assert list(again.history) == list(platform.history)
    assert again.evaluate(count=20) == judged


@pytest.mark.parametrize("name", [n for n, cls in TRAINABLE.items() if "values" in cls.tasks])
def test_every_learner_of_values_adapts_to_real_targets(name):
    sines = qs.Sinusoids(shot=5, queries=5)
    platform = Platform(None, sines, name)
    platform.meta_train(steps=3, validation_tasks=4, progress=False)
    judged = platform.evaluate(count=5)
    assert judged["control"]["name"] == "SupportMean"
    assert judged["ways"] is None
    x = np.linspace(-1, 1, 6)[:, None]
    one, other = (platform.deploy((x, y[:, None])) for y in (np.ones(6), np.sin(x[:, 0])))
    assert one.predict(x).shape == (6, 1)
    assert not torch.allclose(one.predict(x), other.predict(x)), "it did not adapt"
    with pytest.raises(TaskError, match="predicts numbers, no classes"):
        one.probabilities(x)


def test_the_command_line_and_the_platform_train_the_same(tmp_path, call):
    call(
        "train", "--data", "blobs", "--backbone-option", "hidden=[16]", "--backbone-option",
        "outputs=8", "--ways", 3, "--shots", 2, "--validation-ways", 3, "--validation-shots", 2,
        "--steps", 6, "--evaluate-every", 3, "--validation-tasks", 10, "--seed", 4, "--threads", 1,
        "--device", "cpu", "--out", tmp_path / "shell",
    )  # fmt: skip
    torch.set_num_threads(1)
    torch.manual_seed(4)
    platform = Platform(MLP(2, [16], 8), "blobs", ways=3, shots=2, seed=4, device="cpu")
    history = platform.meta_train(
        6, evaluate_every=3, validation_tasks=10, progress=False, out=tmp_path / "python"
    )
    shell, python = (open_run(tmp_path / name) for name in ("shell", "python"))
    told = [[{**row, "seconds": 0} for row in run.metrics()] for run in (shell, python)]
    assert told[0] == told[1]
    weights = [next(run.folder.glob("weights-*")).read_bytes() for run in (shell, python)]
    assert weights[0] == weights[1]
    assert [row["step"] for row in history] == [*range(1, 7)]
    assert call("evaluate", tmp_path / "python", "--tasks", 5).code == 0


def test_training_again_goes_on_where_it_was():
    platform = trained(steps=5)
    platform.meta_train(steps=4, validation_tasks=10, progress=False)
    assert platform.history["step"] == [*range(1, 10)]
    seconds = platform.history["seconds"]
    assert seconds == sorted(seconds)
    assert platform.history["loss"][5:] != platform.history["loss"][:4], "the same tasks again"
    best = max(figure for figure in platform.history["validation"] if figure is not None)
    kept = qs.evaluate(platform.learner, BLOBS["tasks"], tasks=10, seed=1)
    assert kept.mean == pytest.approx(best), "the best so far is kept"


def test_a_run_that_was_stopped_goes_on_from_python(tmp_path, monkeypatch):
    def platform():
        torch.manual_seed(0)
        return Platform(MLP(2, [16], 8), **BLOBS)

    whole, parts = platform(), platform()
    options = {"steps": 20, "validation_tasks": 10, "evaluate_every": 5, "progress": False}
    whole.meta_train(**options, out=tmp_path / "whole")
    drawn = parts.source.parts["train"]

    class Interrupting:
        left = 9

        def sample(self, count, generator):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return drawn.sample(count, generator)

    parts.source.parts["train"] = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        parts.meta_train(**options, out=tmp_path / "parts")
    assert not parts.learner.training
    assert not (tmp_path / "parts" / "manifest.json").exists()
    parts = platform()
    parts.resume(tmp_path / "parts", progress=False)
    assert parts.history["step"] == [*range(1, 21)]
    assert parts.history["loss"] == whole.history["loss"]
    assert parts.history.control == whole.history.control
    pairs = zip(whole.learner.parameters(), parts.learner.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_of_tasks_in_memory_cannot_go_on_from_the_shell(tmp_path, call):
    platform = Platform(MLP(2, [16], 8), **BLOBS)
    platform.meta_train(3, validation_tasks=5, progress=False, out=tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()
    said = call("resume", tmp_path / "run")
    assert said.code == 2
    assert "handed in from Python" in said.err


def test_tasks_come_in_many_forms(photos, tmp_path):
    x = np.random.default_rng(0).random((80, 4), dtype=np.float32)
    pool = qs.from_arrays(x, [f"class {i // 8}" for i in range(80)])
    task = {"support_x": x[:6], "support_y": [0, 1, 2] * 2, "query_x": x[6:9], "query_y": [0, 1, 2]}
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.arange(80) // 8)
    other = {**task, "support_x": x[9:15]}
    for tasks, more in (
        (pool, {}), ([task] * 8, {}), (task, {"validation": other}), (pairs, {}),
        (pool, {"validation": qs.from_arrays(x, [f"other {i // 8}" for i in range(80)])}),
    ):  # fmt: skip
        sizes = {"ways": 2, "queries": 2} if hasattr(tasks, "classes") or tasks is pairs else {}
        platform = Platform(MLP(4, [8], 8), tasks, **sizes, **more)
        platform.meta_train(steps=2, validation_tasks=2, progress=False)
        assert platform.evaluate(count=3)["tasks"] == 3
    folder = Platform("conv4", photos, ways=3, queries=2)
    assert folder.evaluate(count=3)["control"]["name"] == "NearestMean"
    elsewhere = folder.evaluate(photos, split="train", count=3)
    assert elsewhere["tasks"] == 3
    draw_folder(tmp_path / "new", classes=7, each=4, seed=1)
    with pytest.raises(DataError, match="8-way tasks need 8 classes, got 7"):  # all of them
        folder.evaluate(tmp_path / "new", ways=8, count=3)


def test_dictionaries_of_tensors_are_inputs_too():
    class Pairs:
        def sample(self, count, generator):
            x = torch.rand(count, 6, 4, generator=generator)
            y = one_hot(torch.arange(6) % 2, 2).expand(count, 6, 2)
            half = Examples({"a": x, "b": -x}, y, torch.ones(count, 6))
            return Task(half, half)

    class Net(torch.nn.Module):
        features = 4

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x["a"] * x["b"])

    for name in ("maml", "protonet", "r2d2"):
        platform = Platform(Net(), Pairs(), name)
        platform.meta_train(steps=2, validation_tasks=2, progress=False)
        task = Pairs().sample(1, torch.Generator().manual_seed(0))
        predictor = platform.deploy(task)
        asked = {name: tensor[0] for name, tensor in task.query.x.items()}
        assert predictor(asked).shape == (6, 2)


def test_a_table_is_deployed_in_its_own_units(need):
    need.package("pyarrow")
    random = np.random.default_rng(0)
    price = random.uniform(100, 200, 240)
    store = np.repeat(np.arange(12), 20)
    sold = 5000 + 40 * price + 300 * (store % 4)
    table = qs.table({"store": store, "price": price, "sold": sold}, group="store", targets="sold")
    platform = Platform(None, table, "r2d2", shots=5, queries=10)
    platform.meta_train(steps=100, validation_tasks=5, progress=False)
    chosen = store == 3
    predictor = platform.deploy((price[chosen][:8, None], sold[chosen][:8, None]))
    guess = predictor.predict(price[chosen][8:, None])[:, 0].numpy()
    assert np.abs(guess - sold[chosen][8:]).mean() < 0.3 * sold[chosen].std()


def test_a_history_is_a_table(tmp_path, need):
    platform = trained()
    history = platform.history
    assert history[-1]["step"] == len(history) == 12
    assert history["gap"][3] == pytest.approx(history["training"][3] - history["validation"][3])
    assert history["gap"][4] is None
    assert len(history[:4].looks) == 1
    assert "meta-validation looked 3 times" in repr(history)
    history.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(RunError, match=r"a history has the columns step, loss, .*got 'los'"):
        history["los"]
    need.package("pandas")
    frame = history.to_pandas()
    assert frame.index.tolist() == [*range(1, 13)]
    assert frame["validation"].notna().sum() == 3


def test_patience_ends_training_early():
    platform = Platform(MLP(2, [16], 8), **BLOBS)
    platform.meta_train(
        steps=500, evaluate_every=1, validation_tasks=4, patience=3, rate=1e-9, progress=False
    )
    assert len(platform.history) < 500
    assert [row["best"] for row in platform.history][-3:] == [False] * 3


def test_the_report_of_a_saved_platform_is_a_runs(tmp_path, call):
    trained().save(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["validation"]["looks"] == 3
    assert (tmp_path / "run" / "learning_curve.png").is_file()
    with pytest.raises(RunError, match="exists; name another folder"):
        trained().save(tmp_path / "run")


def test_written_tasks_are_split():
    tasks = [
        {"support_x": [[float(i)]], "support_y": [0.5], "query_x": [[i + 0.5]], "query_y": [1.0]}
        for i in range(20)
    ]
    parts = Platform(None, tasks, "r2d2").source.parts.values()
    seen = [set(part.tasks.support.x.flatten().tolist()) for part in parts]
    assert [len(numbers) for numbers in seen] == [14, 3, 3]
    assert set.union(*seen) == {float(i) for i in range(20)}


def test_whole_numbers_are_amounts_to_a_learner_of_values():
    predictor = qs.deploy(qs.SupportMean(), ([[0.0], [1.0]], [1, 3]))
    assert predictor.predict([[7.0]]).tolist() == [[2.0]]


def test_the_users_own_generator_stays_where_it_is():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    Platform(None, **BLOBS).meta_train(2, validation_tasks=5, progress=False)
    assert torch.equal(torch.rand(1), wanted)


def test_what_cannot_be_stored_replaces_nothing(tmp_path):
    trained().save(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    learner = qs.ProtoNet(MLP(2, [16], 8), objective=lambda p, y, mask: ((p - y) ** 2).mean())
    platform = Platform(None, **BLOBS, learner=learner)
    platform.meta_train(2, validation_tasks=5, progress=False)
    with pytest.raises(ArtefactError, match="objective is the function"):
        platform.save(tmp_path / "run", overwrite=True)
    with pytest.raises(ArtefactError, match="objective is the function"):
        platform.meta_train(2, out=tmp_path / "other", progress=False)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert not (tmp_path / "other").exists()


def test_resuming_what_has_ended_takes_its_weights(tmp_path):
    first = Platform(MLP(2, [16], 8), **BLOBS)
    first.meta_train(4, validation_tasks=5, progress=False, out=tmp_path / "run")
    second = Platform(MLP(2, [16], 8), **BLOBS)
    second.resume(tmp_path / "run", progress=False)
    assert len(second.history) == 4
    pairs = zip(first.learner.parameters(), second.learner.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    second.meta_train(2, validation_tasks=5, progress=False)
    assert second.history["step"] == [*range(1, 7)]


def test_a_model_of_tasks_in_memory_is_deployed_without_them(tmp_path):
    platform = trained()
    platform.save(tmp_path / "run")
    again = Platform.load(tmp_path / "run")
    support = ([[0.0, 0.0], [3.0, 3.0]], ["low", "high"])
    new = [[0.1, 0.1], [2.5, 3.0]]
    assert torch.equal(again.deploy(support)(new), platform.deploy(support)(new))
    assert again.evaluate(**BLOBS, count=5) == platform.evaluate(**BLOBS, count=5)
    for ask in (again.evaluate, again.meta_train):
        with pytest.raises(RunError, match=r"Platform.load\(folder, tasks\)"):
            ask()


def test_rules_are_options_too(tmp_path):
    for rule in (qs.LearnedRates(0.2, per="tensor"), "learned-rates"):
        platform = trained("maml", steps=2, options={"rule": rule, "steps": 3})
        assert type(platform.learner.rule) is qs.LearnedRates
        assert platform.learner.steps == 3
    platform = trained("maml", steps=2, options={"rule": qs.LearnedRates(0.2, per="tensor")})
    assert platform.learner.rule.rate == 0.2
    assert platform.learner.rule.per == "tensor"
    platform.save(tmp_path / "run")
    assert Platform.load(tmp_path / "run").learner.rule.rates() == platform.learner.rule.rates()


def test_a_platform_is_a_model_for_the_estimators():
    platform = trained()
    again = pickle.loads(pickle.dumps(platform))  # noqa: S301
    assert again.evaluate(count=3) == platform.evaluate(count=3)
    x, y = [[0.0, 0.0], [0.1, 0.0], [3.0, 3.0], [3.1, 3.0]], ["low", "low", "high", "high"]
    classifier = qs.FewShotClassifier(platform).fit(x, y)
    new = [[0.1, 0.1], [2.5, 3.0], [1.0, 1.0]]
    assert classifier.predict(new).tolist() == platform.deploy((x, y)).predict(new)
    values = Platform(None, qs.Sinusoids(shot=5, queries=5), "r2d2")
    regressor = qs.FewShotRegressor(values).fit([[0.0], [1.0]], [2.0, 3.0])
    asked = [[0.5], [0.25]]
    wanted = values.deploy(([[0.0], [1.0]], [2.0, 3.0])).predict(asked).flatten()
    np.testing.assert_allclose(regressor.predict(asked), wanted.numpy(), rtol=1e-6)


def test_a_table_comes_back_with_the_columns_it_was_trained_with(need, tmp_path):
    need.package("pyarrow")

    def table(shift):
        day = 1.7e9 + 86400.0 * np.arange(240) + shift
        store = np.repeat(np.arange(12), 20)
        sold = (day - 1.7e9) / 86400 + store
        columns = {"store": store, "day": day, "sold": sold}
        return qs.table(columns, group="store", targets="sold")

    platform = Platform(None, table(0.0), "r2d2", shots=5, queries=10)
    platform.meta_train(steps=20, validation_tasks=5, progress=False)
    platform.save(tmp_path / "run")
    again = Platform.load(tmp_path / "run", table(1e8))
    assert again.source.preprocessing == platform.source.preprocessing
    assert again.source.kept().test == platform.source.kept().test
    rows = (1.7e9 + 86400.0 * np.arange(8)[:, None], np.arange(8.0))
    asked = rows[0] + 3600
    one, other = (held.deploy(rows).predict(asked) for held in (platform, again))
    assert torch.equal(one, other)
    assert len(set(one.flatten().tolist())) == 8, "hours are lost in single precision"
    judged = platform.evaluate(count=5)
    assert judged["rmse"].keys() == {"sold"}

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import quickstudy as qs
from quickstudy.core import Learner
from quickstudy.data import Columns, Preprocessing
from quickstudy.hub.regressor import FewShotRegressor


class LeastSquares(Learner):
    """A plane through the raw inputs: takes any number of targets, learns nothing beforehand."""

    tasks = ("values",)
    targets = "values"

    def adapt(self, support):
        x = torch.cat([support.x.flatten(1), torch.ones_like(support.x.flatten(1)[:, :1])], 1)
        gram = x.T @ x + 1e-6 * torch.eye(x.shape[1], dtype=x.dtype)
        return {"weights": torch.linalg.solve(gram, x.T @ support.y)}

    def predict(self, state, x):
        return x.flatten(1) @ state["weights"][:-1] + state["weights"][-1]


def maml(inputs=2, outputs=1):
    torch.manual_seed(0)
    return qs.MAML(
        qs.MLP(inputs, [16], 16), qs.SGD(0.05), steps=5, outputs=outputs, targets="values"
    )


def precise():
    """A float64 learner, as scikit-learn's tolerances ask for one."""
    learner = LeastSquares()
    learner.register_buffer("like", torch.zeros(1, dtype=torch.float64))
    return learner.eval()


X = np.random.default_rng(0).normal(size=(12, 2))
Y = 3 * X[:, 0] - X[:, 1] + 7

CONSTANT = {"check_regressors_train": "a mean of targets does not depend on inputs"}
HASHES = {"check_estimators_overwrite_params": "joblib hashes a copy of a torch module differently"}


@parametrize_with_checks(
    [FewShotRegressor(qs.SupportMean().eval()), FewShotRegressor(precise())],
    expected_failed_checks=lambda estimator: (
        CONSTANT if isinstance(estimator.model, qs.SupportMean) else HASHES
    ),
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_it_answers_as_the_learner_does():
    learner = maml()
    x, y = torch.from_numpy(X).float(), torch.from_numpy(Y).float()[:, None]
    state = learner.adapt(qs.Examples(x[:8], y[:8], torch.ones(8)))
    with torch.no_grad():
        expected = learner.predict(state, x[8:])
    found = FewShotRegressor(learner).fit(X[:8], Y[:8]).predict(X[8:])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-5)


@pytest.mark.parametrize("form", [np.array, list, torch.tensor, lambda y: np.array(y).tolist()])
def test_targets_come_back_in_the_shape_they_came_in(form):
    flat = FewShotRegressor(LeastSquares()).fit(X, form(Y))
    assert flat.predict(X[:5]).shape == (5,)
    np.testing.assert_allclose(flat.predict(X), Y, atol=1e-3)
    column = FewShotRegressor(LeastSquares()).fit(X, form(Y[:, None]))
    assert column.predict(X[:5]).shape == (5, 1)
    two = np.stack([Y, -2 * Y], 1)
    both = FewShotRegressor(LeastSquares()).fit(X, form(two))
    assert both.predict(X[:5]).shape == (5, 2)
    np.testing.assert_allclose(both.predict(X), two, atol=1e-3)


def table(groups=12, rows=10, seed=0):
    """Targets far from zero, in units of their own."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    a, b = random.normal(500, 40, len(group)), random.normal(-3, 0.01, len(group))
    slope = random.normal(1, 0.2, groups)[group]
    y = 1e4 + 800 * slope * (a - 500) / 40
    return {"g": group, "a": a, "b": b, "y": y, "z": 0.01 * b}


@pytest.fixture(scope="module")
def columns(need):
    need.package("pyarrow")
    return qs.table(table(), ["y", "z"], "g").columns()


@pytest.fixture(scope="module")
def stored(columns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    qs.save(folder, maml(outputs=2), input_shape=(2,), preprocessing=columns.model_dump())
    return folder


def test_a_model_of_a_table_speaks_its_units(stored, columns):
    held = table(1, seed=5)
    x = np.stack([held["a"], held["b"]], 1)
    y = np.stack([held["y"], held["z"]], 1)
    found = FewShotRegressor(stored, device="cpu").fit(x, y).predict(x)
    learner = qs.load(stored)
    mean, deviation = np.array(columns.means), np.array(columns.deviations)
    scaled = (np.hstack([x, y]) - mean) / deviation
    own_x, own_y = torch.tensor(scaled).float().split(2, dim=1)
    with torch.no_grad():
        state = learner.adapt(qs.Examples(own_x, own_y, torch.ones(len(own_x))))
        expected = learner.predict(state, own_x).double().numpy() * deviation[2:] + mean[2:]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert 8000 < found[:, 0].mean() < 12000
    same = FewShotRegressor(learner, preprocessing=columns).fit(x, y).predict(x)
    np.testing.assert_allclose(same, found, rtol=1e-6)


def test_a_frame_is_read_by_name(stored, need):
    pandas = need.package("pandas")
    frame = pandas.DataFrame(table(1, seed=5))
    mixed = frame[["b", "y", "a"]].assign(note="x")
    regressor = FewShotRegressor(stored, device="cpu").fit(mixed, frame[["y", "z"]])
    x = frame[["a", "b"]].to_numpy()
    plain = FewShotRegressor(stored, device="cpu").fit(x, frame[["y", "z"]].to_numpy())
    np.testing.assert_allclose(regressor.predict(mixed), plain.predict(x))
    with pytest.raises(qs.DataError, match=r"X must have the columns a, b; b is missing"):
        regressor.predict(frame[["a"]])


def test_statistics_make_up_for_the_units(columns):
    """Least squares needs no units: with or without them, the answers are the same."""
    held = table(1, seed=5)
    x = np.stack([held["a"], held["b"]], 1)
    y = np.stack([held["y"], held["z"]], 1)
    found = FewShotRegressor(LeastSquares(), columns).fit(x, y).predict(x)
    np.testing.assert_allclose(found[:, 0], y[:, 0], rtol=2e-3)


def test_pictures_can_be_inputs():
    how = Preprocessing(size=8)
    learner = qs.MAML(qs.MLP(64, [8], 8), outputs=1, targets="values")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 20, 20), dtype=np.uint8)
    regressor = FewShotRegressor(learner, how).fit(pictures, [1.0, 2.0, 3.0, 4.0])
    assert regressor.predict(list(pictures)).shape == (4,)


def test_pipelines_cross_validation_and_searches():
    pipeline = make_pipeline(StandardScaler(), PCA(2), FewShotRegressor(LeastSquares()))
    assert pipeline.fit(X, Y).score(X, Y) > 0.99
    assert cross_val_score(FewShotRegressor(LeastSquares()), X, Y, cv=4).min() > 0.9
    models = [qs.SupportMean(), LeastSquares()]
    search = GridSearchCV(pipeline, {"fewshotregressor__model": models}, cv=3).fit(X, Y)
    assert search.best_index_ == 1


def test_clones_and_pickles(stored):
    regressor = FewShotRegressor(stored, device="cpu")
    copy = clone(regressor)
    assert copy.get_params() == {"model": stored, "preprocessing": None, "device": "cpu"}
    assert not hasattr(copy, "state_")
    held = table(1, seed=5)
    x = np.stack([held["a"], held["b"]], 1)
    regressor.fit(x, np.stack([held["y"], held["z"]], 1))
    again = pickle.loads(pickle.dumps(regressor))  # noqa: S301
    np.testing.assert_array_equal(again.predict(x), regressor.predict(x))
    assert np.isfinite(again.predict(x)).all()


def test_fit_changes_nothing_of_the_learner_but_its_mode():
    learner = maml().train()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    FewShotRegressor(learner).fit(X, Y).predict(X)
    assert not learner.training
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state_dict().items())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:5], "X and y must agree in number, got 12 and 5"),
        (X, np.stack([Y, Y], 1), "this model predicts 1 target, got y with 2"),
        (X, ["a"] * 12, "y must be numbers, got labels; FewShotClassifier learns classes"),
        (X, np.array(["a"] * 12, dtype=object), "y must be numbers, got labels"),
        (X, [True, False] * 6, "y must be numbers, got labels"),
        (X, np.full(12, np.nan), "Input y contains NaN"),
        (X, np.full(12, np.inf), "Input y contains infinity"),
        (X, np.zeros((12, 1, 1)), r"y must be \[n\] or \[n, targets\], got \[12, 1, 1\]"),
        (X, 7.0, r"y must be \[n\] or \[n, targets\], got \[\]"),
        (X, [], "Found array with 0 sample"),
        (X, None, "fit requires y to be passed"),
        (X[:, :1], Y, "this net takes 2 numbers an input, got 1"),
        (np.full((12, 2), np.nan), Y, "Input X contains NaN"),
        ([["a", "b"]] * 12, Y, "convert|numeric"),
        (X[0], [1.0], "Reshape your data"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(x, y, message):
    with pytest.raises(qs.QuickstudyError, match=message) as error:
        FewShotRegressor(maml()).fit(x, y)
    assert "\n" not in str(error.value)


def test_targets_of_a_table_are_named(stored):
    with pytest.raises(qs.DataError, match=r"predicts 2 targets \(y, z\), got y with 1"):
        FewShotRegressor(stored, device="cpu").fit(X, Y)
    with pytest.raises(qs.DataError, match=r"one input must be \[2\], got \[3\]"):
        FewShotRegressor(stored, device="cpu").fit(np.hstack([X, X[:, :1]]), np.stack([Y, Y], 1))


def test_what_is_no_model_of_values(tmp_path):
    for learner in (qs.NearestMean(), qs.ProtoNet(nn.Flatten())):
        with pytest.raises(qs.TaskError, match="predicts classes; wanted a learner of numbers"):
            FewShotRegressor(learner).fit(X, Y)
    with pytest.raises(qs.TaskError, match="got Linear"):
        FewShotRegressor(nn.Linear(2, 1)).fit(X, Y)
    with pytest.raises(qs.RunError, match="no such folder"):
        FewShotRegressor(tmp_path / "none").fit(X, Y)
    with pytest.raises(NotFittedError):
        FewShotRegressor(maml()).predict(X)


def test_a_fit_that_fails_leaves_nothing_half_learned():
    regressor = FewShotRegressor(LeastSquares()).fit(X, Y)
    with pytest.raises(qs.DataError):
        regressor.fit(X, Y[:3])
    with pytest.raises(NotFittedError):
        regressor.predict(X)


def test_columns_must_be_those_of_values():
    columns = Columns(group=None, features=("a", "b"), targets=("kind",), means=(0, 0),
                      deviations=(1, 2))  # fmt: skip
    classifier = qs.FewShotClassifier(qs.NearestMean(), columns)
    assert classifier.fit(X, ["u", "v"] * 6).predict(X).shape == (12,)
    with pytest.raises(qs.TaskError, match="the columns are those of classes"):
        FewShotRegressor(maml(), columns).fit(X, Y)

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import quickstudy as qs
from quickstudy.data import Preprocessing, scale
from quickstudy.hub.estimator import FewShotClassifier

SIZE = 16
INK = Preprocessing(size=SIZE, channels=1, polarity="ink")
COLOUR = Preprocessing(size=SIZE, channels=3)


def conv(channels=1):
    torch.manual_seed(0)
    return qs.ProtoNet(qs.Conv4(channels=channels, width=8, size=SIZE))


def drawing(kind, place):
    """Dark ink on paper: a bar that stands or lies, of 40x40 pixels."""
    image = Image.new("L", (40, 40), 240)
    pen = ImageDraw.Draw(image)
    box = (8, place, 32, place + 4) if kind == "lying" else (place, 8, place + 4, 32)
    pen.rectangle(box, fill=20)
    return image


@pytest.fixture(scope="module")
def images():
    return [drawing(kind, place) for kind in ("lying", "standing") for place in (15, 17, 19, 21)]


@pytest.fixture(scope="module")
def labels():
    return ["lying"] * 4 + ["standing"] * 4


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    qs.save(folder, conv(), input_shape=(1, SIZE, SIZE), preprocessing=INK.model_dump())
    return folder


@parametrize_with_checks(
    [
        FewShotClassifier(qs.NearestMean().eval()),
        FewShotClassifier(qs.ProtoNet(nn.Flatten()).double().eval()),
    ],
    expected_failed_checks=lambda estimator: (
        {"check_estimators_overwrite_params": "joblib hashes a copy of a torch module differently"}
        if isinstance(estimator.model, qs.ProtoNet)
        else {}
    ),
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


class Watched(qs.ProtoNet):
    """Writes down in which mode it works, and every change of it."""

    def __init__(self, net):
        super().__init__(net)
        self.modes, self.changes = [], 0

    def train(self, mode=True):
        self.changes += 1
        return super().train(mode)

    def predict(self, state, x):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return super().predict(state, x)


def test_predicting_never_changes_the_learners_mode():
    learner = Watched(nn.Flatten())
    first = FewShotClassifier(learner).fit(np.eye(4), [0, 1, 0, 1])
    second = FewShotClassifier(learner).fit(np.eye(4), [1, 1, 0, 0])
    assert learner.changes == 1, "what is in evaluation mode is left alone"
    for classifier in (first, second):
        classifier.predict(np.eye(4))
        classifier.predict_proba(np.eye(4))
    assert learner.changes == 1
    assert learner.modes == [(False, False)] * 4


def test_fit_changes_nothing_of_the_learner_but_its_mode():
    learner = conv().train()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    x = np.random.default_rng(0).random((6, 1, SIZE, SIZE))
    classifier = FewShotClassifier(learner).fit(x, [0, 1, 2] * 2)
    classifier.predict(x)
    assert not any(module.training for module in learner.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state_dict().items())
    assert all(p.grad is None for p in learner.parameters())


def test_it_answers_as_the_learner_does(stored, images, labels):
    learner = qs.load(stored)
    pixels = scale(qs.data.pictures.from_pictures(images, INK), torch.Generator())
    support = qs.examples(pixels, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), way=2)
    with torch.no_grad():
        expected = learner.probabilities(learner.adapt(support), pixels)
    classifier = FewShotClassifier(stored, device="cpu").fit(images, labels)
    np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)


def test_a_picture_in_any_form_gives_the_same_answer(stored, images, labels, tmp_path):
    classifier = FewShotClassifier(stored, device="cpu").fit(images, labels)
    expected = classifier.predict_proba(images)
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    arrays = np.stack([np.asarray(image) for image in images])
    forms = {
        "paths": [tmp_path / f"{n}.png" for n in range(len(images))],
        "names": np.array([str(tmp_path / f"{n}.png") for n in range(len(images))]),
        "[n, h, w]": arrays,
        "[n, 1, h, w]": arrays[:, None],
        "[n, h, w, 1]": arrays[..., None],
        "[n, h, w, 3]": np.repeat(arrays[..., None], 3, axis=-1),
        "[n, 3, h, w]": np.repeat(arrays[:, None], 3, axis=1),
        "whole numbers": arrays.astype(np.int64),
        "floats": arrays / 255,
        "float32": (arrays / 255).astype(np.float32),
        "tensor": torch.from_numpy(arrays),
        "list of arrays": list(arrays),
        "tuple of tensors": tuple(torch.from_numpy(arrays)),
        "lists of lists": arrays.tolist(),
        "colour": [image.convert("RGB") for image in images],
        "palette": [image.convert("P") for image in images],
        "generator": (image for image in images),
    }
    for name, form in forms.items():
        again = classifier.predict_proba(form)
        np.testing.assert_allclose(again, expected, atol=1e-6, err_msg=name)


def test_pictures_of_different_sizes_go_together(stored, images, labels):
    mixed = [image.resize((20 + 8 * n, 20 + 8 * n)) for n, image in enumerate(images)]
    classifier = FewShotClassifier(stored, device="cpu").fit(images, labels)
    assert classifier.score(mixed, labels) == 1


def test_colour_models_take_every_layout():
    x = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    classifier = FewShotClassifier(conv(channels=3), COLOUR).fit(x, list("abcd"))
    assert classifier.predict(x).tolist() == list("abcd")
    assert classifier.predict(x.transpose(0, 3, 1, 2)).tolist() == list("abcd")


def test_flat_rows_become_pictures_of_the_models_size(stored, images, labels):
    small = np.stack([np.asarray(image.resize((SIZE, SIZE))) for image in images]) / 255.0
    classifier = FewShotClassifier(stored, device="cpu").fit(small, labels)
    flat = small.reshape(len(small), -1)
    np.testing.assert_array_equal(classifier.predict_proba(flat), classifier.predict_proba(small))
    with pytest.raises(qs.DataError, match=r"one input must be \[1, 16, 16\], got \[255\]"):
        FewShotClassifier(stored, device="cpu").fit(flat[:, 1:], labels)


def test_stored_models_of_numbers_take_numbers(tmp_path):
    qs.save(tmp_path, qs.ProtoNet(qs.MLP(6, [8], 4)), input_shape=(2, 3))
    x = np.random.default_rng(0).random((4, 2, 3))
    classifier = FewShotClassifier(tmp_path, device="cpu").fit(x, [3, 1, 3, 1])
    np.testing.assert_array_equal(classifier.predict(x.reshape(4, 6)), classifier.predict(x))


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "b"], np.array(["a", "b"])),
        ([7, -1, 7], np.array([-1, 7])),
        ([True, False, True], np.array([False, True])),
        ([("b", 2), ("a", 1), ("b", 2)], [("a", 1), ("b", 2)]),
        ([None, "a", None], [None, "a"]),
        ([frozenset({1}), "a", frozenset({1})], [frozenset({1}), "a"]),
        (np.array([7, -1, 7], dtype=np.int8), np.array([-1, 7], dtype=np.int8)),
        (np.array(["b", "a", "b"], dtype=object), np.array(["a", "b"], dtype=object)),
        (objects([("b", 2), ("a", 1), ("b", 2)]), objects([("a", 1), ("b", 2)])),
        (torch.tensor([7, -1, 7]), np.array([-1, 7])),
        ([np.int64(7), np.int64(-1), np.int64(7)], np.array([-1, 7])),
    ],
)
def test_labels_of_any_kind_come_back_as_they_were(y, classes):
    x = np.array([[0.0], [5.0], [0.1]])
    classifier = FewShotClassifier(qs.NearestMean()).fit(x, y)
    answers = classifier.predict([[0.0], [5.0]])
    assert list(classifier.classes_) == list(classes)
    if isinstance(classes, np.ndarray):
        assert classifier.classes_.dtype == classes.dtype
    assert list(answers) == [y[0], y[1]]
    assert classifier.score(x, y) == 1
    assert classifier.score(x, y, sample_weight=[1, 2, 3]) == 1


@pytest.mark.parametrize(
    "labels", [["circle", "square", "line"], [10, 20, 30], [("a", 1), ("b", 2), ("c", 3)]]
)
def test_cross_validation_with_labels_of_any_kind(labels):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(5 * i, 1, (8, 4)) for i in range(3)])
    order = rng.permutation(24)
    y = [labels[i // 8] for i in order]
    codes = order // 8
    folds = list(StratifiedKFold(4).split(x, codes))
    scores = cross_val_score(FewShotClassifier(qs.NearestMean()), x[order], y, cv=folds)
    assert scores.shape == (4,)
    assert scores.min() > 0.9


def test_cross_validation_over_paths(stored, images, labels, tmp_path):
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir())
    classifier = FewShotClassifier(stored, device="cpu")
    assert cross_val_score(classifier, paths, labels, cv=4).min() == 1


def test_it_ends_a_pipeline_and_is_searched():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(3 * i, 1, (10, 6)) for i in range(3)])
    y = np.repeat(["low", "middle", "high"], 10)
    pipeline = make_pipeline(StandardScaler(), PCA(3), FewShotClassifier(qs.NearestMean()))
    assert pipeline.fit(x, y).score(x, y) > 0.9
    torch.manual_seed(0)
    models = [qs.NearestMean(), qs.ProtoNet(qs.MLP(3, [8], 8))]
    search = GridSearchCV(pipeline, {"fewshotclassifier__model": models}, cv=3).fit(x, y)
    assert search.best_score_ > 0.9


def test_clones_and_pickles(stored, images, labels):
    classifier = FewShotClassifier(stored, INK, device="cpu")
    copy = clone(classifier)
    assert copy.get_params() == {"model": stored, "preprocessing": INK, "device": "cpu"}
    assert not hasattr(copy, "state_")
    assert clone(copy.set_params(device="auto")).device == "auto"
    classifier.fit(images, labels)
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(images), classifier.predict_proba(images))


def test_many_inputs_are_predicted_in_parts():
    x = np.random.default_rng(0).random((600, 3))
    classifier = FewShotClassifier(qs.NearestMean()).fit(x[:4], [0, 1, 0, 1])
    parts = np.concatenate([classifier.predict_proba(part) for part in np.split(x, 6)])
    np.testing.assert_allclose(classifier.predict_proba(x), parts, atol=1e-6)


def test_a_transductive_learner_sees_all_queries_at_once():
    torch.manual_seed(0)
    learner = qs.MAML(qs.MLP(3, [8], 8, norm="batch"), steps=1, transductive=True)
    x = np.random.default_rng(0).random((300, 3))
    classifier = FewShotClassifier(learner).fit(x[:4], [0, 1, 0, 1])
    with torch.no_grad():
        expected = learner.probabilities(classifier.state_, torch.from_numpy(x).float())
    np.testing.assert_allclose(classifier.predict_proba(x), expected, atol=1e-6)


X = np.eye(4)
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((4, 4), np.nan), Y, "contains NaN"),
        ([[1.0, 2.0], [3.0], [1.0, 2.0], [3.0]], Y, "inhomogeneous|different shapes"),
        ([["a"], ["b"], ["c"], ["d"]], Y, "convert|numeric"),
        (np.zeros((0, 4)), [], "at least one label"),
        (X, [0, 1], "X and y must agree in number, got 4 and 2"),
        (X, [1, 1, 1, 1], "examples must be of at least 2 classes, got 1 class"),
        (X, [0.5, 1, 0, 1], "Unknown label type: 0.5"),
        (X, [float("nan"), 1, 0, 1], "Unknown label type: nan"),
        (X, [[0], [1], [0], [1]], "labels must be hashable"),
        (X, np.zeros((4, 2)), "1d array"),
        (X, None, "requires y"),
        (X[0], [0], "Reshape your data"),
    ],
)
def test_numbers_that_cannot_be_used_are_one_clear_line(x, y, message):
    with pytest.raises(qs.DataError, match=message) as error:
        FewShotClassifier(qs.NearestMean()).fit(x, y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 2, 40, 40)), r"an array \[2, 40, 40\]; wanted \[h, w\]"),
        (np.full((4, 40, 40), np.nan), "NaN or infinity"),
        (np.full((4, 40, 40), 7.0), "floats up to 7, not 1"),
        (np.full((4, 40, 40), -1), "whole numbers below 0"),
        (np.full((4, 40, 40), "a"), "wanted numbers"),
        ([[[1, 2], [3]]] * 4, "rows have different lengths"),
        (np.zeros((4, 40, 40)), "one colour"),
        (["no_such.png"] * 4, r"no_such.png \(no such file\)"),
        ([Image.new("F", (9, 9))] * 4, "floating-point"),
        ("picture.png", "a list of pictures, got one str"),
        (Path("picture.png"), "pictures, got one"),
        (7, "pictures, got one int"),
        ([], "at least one picture"),
    ],
)
def test_pictures_that_cannot_be_used_are_one_clear_line(stored, x, message):
    with pytest.raises(qs.DataError, match=message) as error:
        FewShotClassifier(stored, device="cpu").fit(x, Y)
    assert "\n" not in str(error.value)


def test_what_predict_refuses(stored):
    with pytest.raises(NotFittedError):
        FewShotClassifier(stored).predict(X)
    classifier = FewShotClassifier(qs.NearestMean()).fit(X, Y)
    with pytest.raises(qs.DataError, match="3 features"):
        classifier.predict(X[:, :3])
    with pytest.raises(qs.DataError, match=r"one input must be \[4\], got \[4, 1\]"):
        classifier.predict(X[:, :, None])
    with pytest.raises(qs.DataError, match="agree in number"):
        classifier.score(X, [0])


def test_a_fit_that_fails_leaves_nothing_half_learned():
    classifier = FewShotClassifier(qs.NearestMean()).fit(X, Y)
    with pytest.raises(qs.DataError):
        classifier.fit(X[:, :2], [0, 0, 0, 0])
    with pytest.raises(NotFittedError):
        classifier.predict(X)


def test_what_is_no_model(tmp_path):
    regressor = qs.MAML(qs.MLP(1, [4], 4), outputs=1, targets="values")
    with pytest.raises(qs.TaskError, match="predicts numbers"):
        FewShotClassifier(regressor).fit(X, Y)
    with pytest.raises(qs.TaskError, match="a platform or a learner, got Linear"):
        FewShotClassifier(nn.Linear(4, 2)).fit(X, Y)
    with pytest.raises(qs.RunError, match="no such folder"):
        FewShotClassifier(tmp_path / "none").fit(X, Y)
    with pytest.raises(qs.TaskError, match="maml is the name of a learner that has learned no"):
        FewShotClassifier("maml").fit(X, Y)
    with pytest.raises(qs.ArtefactError, match=r"has no manifest\.json"):
        FewShotClassifier(tmp_path).fit(X, Y)
    with pytest.raises(qs.RunError, match=r"^device must be auto, cpu"):
        FewShotClassifier(tmp_path, device="tpu").fit(X, Y)
    with pytest.raises(qs.TaskError, match="this head has 5 outputs"):
        FewShotClassifier(qs.MAML(qs.MLP(4, [4], 4), outputs=5)).fit(X, Y)

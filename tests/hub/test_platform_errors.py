"""What a platform refuses, in one line that speaks of Python's arguments."""

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.core import UpdateRule
from quickstudy.errors import DataError, RunError, TaskError
from quickstudy.hub.platform import Platform
from quickstudy.nets import MLP


class Still(UpdateRule):
    def update(self, params, grads, state):
        return params, state


class Frame:
    """What pandas has of these."""

    columns = ("x", "y")

    def sample(self, n, frac):
        raise AssertionError("never called")


class Hasty:
    def sample(self, count):
        raise AssertionError("never called")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Platform(None, qs.Sinusoids(), "prototypical"), RunError,
         "targets of tasks in memory are real numbers; learners for those: ANIL.*, Reptile$"),
        (lambda: Platform(None, qs.Sinusoids(), qs.ProtoNet(MLP(1))).meta_train(1), TaskError,
         r"ProtoNet learns classes, y must be one-hot \[n, way\], got real targets"),
        (lambda: Platform(None, qs.Blobs(), "mamal"), RunError, "did you mean MAML"),
        (lambda: Platform(MLP(2), qs.Blobs(), qs.MAML(MLP(2))), TaskError, "brings its net"),
        (lambda: Platform(None, 7), TaskError, r"tasks must be a name, .* got int"),
        (lambda: Platform(None, {"support_x": [[1.0]], "support_y": [1]}), TaskError,
         "query_x and query_y are missing"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options={"outputs": 7}).meta_train(1),
         TaskError, "this head has 7 outputs, got a task with 5"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options={"stepz": 7}), RunError,
         "MAML takes no options stepz; it takes"),
        (lambda: Platform(MLP(2), qs.Blobs()).meta_train(0), RunError,
         "^steps must be at least 1, got 0"),
        (lambda: Platform(MLP(3), qs.Blobs()).meta_train(1), TaskError, "takes 3 numbers an input"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy(7), TaskError, "got int"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy(qs.Blobs().sample(2, torch.Generator())),
         TaskError, "one task can be deployed at a time, got a batch of 2"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy({"support_x": [[0.0, 0.0]]}), TaskError,
         "support_y .*missing"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy(([[0.0, 0.0]], [0, 1])), TaskError,
         "got 2 for 1 row$"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy(([[0.0, 0.0]] * 2, [0.5, 1.5])), TaskError,
         "ProtoNet learns classes"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy(([[0.0, 0.0]] * 2, [0])), TaskError,
         "got 1 for 2 rows"),
        (lambda: Platform(MLP(2), qs.Blobs()).deploy({"support_x": [[0.0, 0.0]]}), TaskError,
         "must hold support_x and support_y; support_y is missing"),
        (lambda: Platform(MLP(2), qs.Blobs()).meta_train(1, tasks_per_step=0), RunError,
         "^tasks_per_step must be at least 1, got 0"),
        (lambda: Platform(MLP(2), qs.Blobs()).evaluate(count=0), RunError,
         "^count must be at least 1, got 0"),
        (lambda: Platform(MLP(2), qs.Blobs(), "protonett"), RunError, "^learner must be one of A"),
        (lambda: Platform(MLP(2), "blobbs"), DataError, "^tasks must be glyphs, .* mean blobs"),
        (lambda: Platform(MLP(2), qs.Blobs(), ways=3), RunError,
         "^tasks in memory take no ways: they come as they are"),
        (lambda: Platform(MLP(2), qs.Blobs()).evaluate(shots=3), RunError, "take no shots"),
        (lambda: Platform(None, "sinusoids", "maml").evaluate(ways=3), RunError,
         "^sinusoids take no ways: the targets are numbers"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options={"rule": Still()}), TaskError,
         "options take a rule by name .*, got Still; hand in a learner instead"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options={"objective": max}), TaskError,
         "options must be plain values, got objective=builtin_function"),
        (lambda: Platform(MLP(2), qs.Blobs(), options={"temperature": [torch.ones(2)]}), TaskError,
         "options must be plain values, got temperature=list"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options={"rule": 7}), TaskError, "got int;"),
        (lambda: Platform(MLP(2), qs.Blobs(), "maml", options=["rule"]), TaskError,
         "options must be a dictionary, got list"),
        (lambda: Platform(MLP(2), qs.Blobs(), qs.ProtoNet), TaskError,
         r"got the class ProtoNet: ProtoNet\(net\)"),
        (lambda: Platform(MLP(2), qs.Blobs()).evaluate(split="banana"), RunError,
         "split must be one of train, validation, test, all, got 'banana'"),
        (lambda: Platform(MLP(2), Frame()), TaskError, "has to be told its columns: hand in qs.ta"),
        (lambda: Platform(MLP(2), "sales.csv"), DataError, r"hand in qs.table\('sales.csv', targ"),
        (lambda: Platform("conv4", "glyphs", ways=1), RunError,
         "^ways must be at least 2, got 1$"),
        (lambda: Platform.load("nowhere", test=qs.Blobs()), TaskError, "go with tasks"),
        (lambda: Platform(MLP(2), qs.Blobs(), qs.MAML(MLP(2)), options={"steps": 2}), TaskError,
         "brings its net and its options"),
        (lambda: Platform(MLP(2), Hasty()), TaskError, "must have sample.count, generator"),
        (lambda: Platform(torch.nn.Sequential(MLP(2)), qs.Blobs(), "maml"), TaskError,
         r"an int attribute `features` \(net.features = 64, say\), got None"),
        (lambda: Platform(MLP(4), qs.from_arrays(np.eye(4), [0, 0, 1, 1])), DataError,
         "2 classes are too few to be split"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(make, kind, message):
    with pytest.raises(kind, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


def picture_pool(seed, names="abcdef"):
    x = np.random.default_rng(seed).integers(0, 255, (24, 1, 16, 16), dtype=np.uint8)
    return qs.from_arrays(x, [names[i // 4] for i in range(24)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"tasks": (pool := picture_pool(0)), "validation": pool}, "cannot be validation"),
        (lambda: {"tasks": picture_pool(0), "validation": picture_pool(0, "ghijkl")},
         "must share no image, got 4 of 'g' in 'a'"),
        (lambda: {"tasks": picture_pool(0), "validation": picture_pool(1)},
         "must share no class, got 'a'"),
        (lambda: {"tasks": picture_pool(0), "test": picture_pool(1, "ghijkl")},
         "test tasks need validation tasks"),
        (lambda: {"tasks": qs.data.split_classes(picture_pool(0)), "validation": picture_pool(1)},
         "a Splits brings its own splits"),
        (lambda: {"tasks": qs.Episodes(picture_pool(0), 2, 1, 2)}, "draw from one pool"),
        (lambda: {"tasks": [{"support_x": [[0.0], [1.0]], "support_y": [0, 1],
                             "query_x": [[0.0]], "query_y": [0]}] * 3},
         "3 tasks are too few to be split"),
    ],
)  # fmt: skip
def test_what_is_judged_by_is_apart_from_what_is_trained_on(make, message):
    with pytest.raises(DataError, match=message):
        Platform(None, **make())


def test_controls_have_nothing_to_train():
    with pytest.raises(RunError, match="NearestMean has nothing to train"):
        Platform(None, qs.Blobs(), learner=qs.NearestMean()).meta_train(1)


@pytest.mark.parametrize("inputs", [[1.0, 1.0], [[1.0, 1.0, 1.0]], [[[1.0, 1.0]]]])
def test_inputs_of_another_shape_are_refused(inputs):
    predictor = qs.deploy(qs.NearestMean(), ([[0.0, 0.0], [1.0, 1.0]], ["dark", "light"]))
    with pytest.raises(TaskError, match=r"^x must be inputs \[n, 2\], got \[") as raised:
        predictor.predict(inputs)
    assert ("[x] is one input" in str(raised.value)) == (len(np.shape(inputs)) == 1)


def test_images_that_it_was_trained_on_are_refused_under_any_name(tmp_path):
    pool = picture_pool(0)
    platform = Platform("conv4", pool, ways=2, queries=1)
    seen = platform.source.parts["train"]
    renamed = qs.from_arrays(seen.images.numpy(), [f"new {i}" for i in seen.labels.tolist()])
    for tasks in (pool, renamed):
        with pytest.raises(DataError, match="holds images that the platform was trained on: 4 of"):
            platform.evaluate(tasks, count=2)
    assert platform.evaluate(renamed, split="train", count=2)["tasks"] == 2
    assert platform.evaluate(picture_pool(1), count=2)["tasks"] == 2


def test_what_leads_nowhere_is_not_deployed():
    learner = qs.MAML(MLP(1, [4], 4), outputs=1, targets="values", steps=50)
    with pytest.raises(DataError, match="this task leads the model to numbers that are not finite"):
        qs.deploy(learner, ([[1e6], [-2e6]], [1e6, 3e7]))

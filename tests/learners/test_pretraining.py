"""Learners that are trained to tell all meta-train classes apart, by hand and on toy data."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from quickstudy.core import Examples, Task, evaluate, examples, fit, stack
from quickstudy.core.tasks import leaves, pad, tree_map
from quickstudy.data import Episodes, Labelled, Pool
from quickstudy.errors import TaskError
from quickstudy.learners import BaselinePlusPlus, FineTuning, NearestMean, SimpleShot
from quickstudy.nets import MLP

EVERY = [
    lambda net, classes=None: SimpleShot(net, classes),
    lambda net, classes=None: BaselinePlusPlus(net, classes, steps=4),
    lambda net, classes=None: FineTuning(net, classes, steps=4),
    lambda net, classes=None: FineTuning(net, classes, body=True, steps=4),
]
every = pytest.mark.parametrize("make", EVERY)


class Plain(nn.Identity):
    """Inputs as embeddings."""

    def __init__(self, features=2):
        super().__init__()
        self.features = features


def double(part):
    return Examples(part.x.double(), part.y.double(), part.mask.double())


def a_task(seed=0, way=3, shot=2, queries=4, width=5):
    generator = torch.Generator().manual_seed(seed)

    def half(each):
        x = torch.randn(way * each, width, generator=generator)
        return double(examples(x, torch.arange(way * each) % way, way))

    return Task(half(shot), half(queries))


def a_net(seed=0):
    torch.manual_seed(seed)
    return MLP(5, [8], 4).double()


def embed(weights, x):
    """What an MLP of one hidden layer computes."""
    return (x @ weights[0].T + weights[1]).relu() @ weights[2].T + weights[3]


def centroids(z, labels):
    return torch.stack([z[labels == k].mean(0) for k in range(3)])


@pytest.mark.parametrize("make", EVERY[:3])
def test_training_is_cross_entropy_of_the_rows_of_both_halves(make):
    learner, task = make(a_net(), 3).double().train(), a_task()
    x, y = (torch.cat([getattr(half, part) for half in task]) for part in ("x", "y"))
    z = embed(list(learner.net.parameters()), x)
    if isinstance(learner, BaselinePlusPlus):
        logits = 10 * cosine_similarity(z[:, None], learner.head.weight[None], dim=-1)
        assert learner.head.bias is None
    else:
        logits = z @ learner.head.weight.T + learner.head.bias
    torch.testing.assert_close(learner.loss(task), cross_entropy(logits, y.argmax(1)))
    learner.loss(task).backward()
    assert all(p.grad.abs().max() > 0 for p in learner.parameters())  # the scale's too


def test_simple_shot_by_hand():
    learner = SimpleShot(Plain(), scale=4.0)
    learner.mean.copy_(torch.tensor([1.0, 1.0]))
    support = examples(torch.tensor([[3.0, 1.0], [1.0, 9.0]]), torch.tensor([0, 1]), way=2)
    state = learner.adapt(support)
    assert state["sums"].tolist() == [[1, 0], [0, 1]]  # directions as seen from the mean
    logits = learner.predict(state, torch.tensor([[2.0, 2.0], [1.0, -5.0]]))
    near = -4 / 2 * (2 - 2 / math.sqrt(2))
    torch.testing.assert_close(logits, torch.tensor([[near, near], [-4.0, -8.0]]))


def test_simple_shot_is_the_nearest_centroid_of_normalised_features():
    learner, task = SimpleShot(a_net()).double(), a_task(shot=5, queries=30)
    learner.mean.copy_(torch.randn(4))
    z = [normalize((learner.net(half.x) - learner.mean).detach().numpy()) for half in task]
    nearest = NearestCentroid().fit(z[0], task.support.y.argmax(1).numpy()).predict(z[1])
    found = learner.predict(learner.adapt(task.support), task.query.x)
    assert np.array_equal(found.argmax(1).numpy(), nearest)


def test_more_examples_extend_the_state_of_simple_shot():
    learner, task = SimpleShot(a_net()).double(), a_task()
    first, second = (Examples(*(t[rows] for t in task.support)) for rows in ([0, 1], [2, 3, 4, 5]))
    extended = learner.extend(learner.adapt(first), second)
    for a, b in zip(leaves(extended), leaves(learner.adapt(task.support)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_mean_is_that_of_the_real_rows_by_population_statistics():
    torch.manual_seed(0)
    learner = SimpleShot(MLP(5, [8], 4, norm="batch").double()).double()
    tasks = [a_task(seed) for seed in range(3)]
    padded = [Task(pad(task.support, 9, 3), task.query) for task in tasks]
    padded[0].support.x[6:] = torch.nan
    learner.calibrate(stack(padded))
    x = torch.cat([half.x for task in tasks for half in task])
    torch.testing.assert_close(learner.mean, learner.net(x).mean(0).detach())
    assert learner.mean.abs().min() > 0
    assert any(m.mean.any() for m in learner.net.modules() if hasattr(m, "variance"))
    assert not learner.mean.requires_grad


def test_fit_leaves_a_mean_of_the_best_weights():
    torch.manual_seed(0)
    pool = Pool.from_labels(torch.randn(60, 5), torch.arange(60) % 6)
    learner = SimpleShot(MLP(5, [8], 4, norm="batch"), 6)
    list(fit(learner, Labelled(pool, 32), steps=3))
    mean = learner.mean.clone()
    learner.calibrate(Labelled(pool, 4000).sample(1, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(mean, learner.mean, rtol=0.2, atol=0.05)


def test_baseline_plus_plus_is_the_hand_written_one():
    learner, task = BaselinePlusPlus(a_net(), scale=3.0, rate=0.5, steps=2).double(), a_task()
    with torch.no_grad():
        z, asked = (learner.net(half.x) for half in task)
    labels = task.support.y.argmax(1)
    unit = centroids(z / z.norm(dim=1, keepdim=True), labels)
    rows = 3 * unit / unit.norm(dim=1, keepdim=True)
    for _ in range(2):
        rows = rows.detach().requires_grad_()
        logits = 3 * cosine_similarity(z[:, None], rows[None], dim=-1)
        rows = rows - 0.5 * torch.autograd.grad(cross_entropy(logits, labels), rows)[0]
    state = learner.adapt(task.support)
    torch.testing.assert_close(state["rows"], rows)
    wanted = 3 * cosine_similarity(asked[:, None], rows[None], dim=-1)
    torch.testing.assert_close(learner.predict(state, task.query.x), wanted)


@pytest.mark.parametrize("body", [False, True])
def test_fine_tuning_is_the_hand_written_one(body):
    learner = FineTuning(a_net(), body=body, rate=0.5, body_rate=0.1, steps=2)
    task = a_task()
    params = [p.detach() for p in learner.net.parameters()]
    labels = task.support.y.argmax(1)
    z = embed(params, task.support.x)
    centre = z.mean(0)
    far = (z - centre).square().sum(1).mean().sqrt()
    c = centroids((z - centre) / far, labels)
    params += [2 * c, -(c**2).sum(1)]
    rates = [0.1 * body] * 4 + [0.5] * 2
    for _ in range(2):
        params = [p.detach().requires_grad_() for p in params]
        logits = (embed(params, task.support.x) - centre) / far @ params[4].T + params[5]
        grads = torch.autograd.grad(cross_entropy(logits, labels), params)
        params = [p - r * g for p, r, g in zip(params, rates, grads, strict=True)]
    wanted = (embed(params, task.query.x) - centre) / far @ params[4].T + params[5]
    state = learner.adapt(task.support)
    assert any(name.startswith("net.") for name in state["params"]) == body
    torch.testing.assert_close(learner.predict(state, task.query.x), wanted)


@every
def test_without_a_step_the_nearest_class_mean_decides(make):
    learner, task = make(a_net()).double(), a_task(shot=4, queries=20)
    learner.steps = 0  # as `evaluate --inner-steps 0` asks
    z, asked = (learner.net(half.x).detach().numpy() for half in task)
    if not isinstance(learner, FineTuning):
        z, asked = normalize(z), normalize(asked)
    labels = task.support.y.argmax(1).numpy()
    means = np.stack([z[labels == k].mean(0) for k in range(3)])
    if isinstance(learner, BaselinePlusPlus):
        means = normalize(means)
    nearest = ((asked[:, None] - means) ** 2).sum(-1).argmin(1)
    state = learner.adapt(task.support)
    assert np.array_equal(learner.predict(state, task.query.x).argmax(1).numpy(), nearest)
    own = {p.data_ptr() for p in learner.parameters()}
    assert not any(leaf.data_ptr() in own for leaf in leaves(state))  # a value of its own


@pytest.mark.parametrize("make", EVERY[1:])  # `SimpleShot` takes no steps
def test_steps_lessen_the_supports_loss(make):
    learner, support = make(a_net()).double(), a_task(shot=4).support
    losses = []
    for steps in (0, 1, 10):
        learner.steps = steps
        logits = learner.predict(learner.adapt(support), support.x)
        losses.append(float(cross_entropy(logits, support.y.argmax(1)).detach()))
    assert losses[0] > losses[1] > losses[2]


@every
def test_unlabelled_rows_and_ways_without_support_count_for_nothing(make):
    learner, task = make(a_net()).double(), a_task()
    more = Examples(
        torch.cat([task.support.x, 9 * torch.randn(2, 5).double()]),
        torch.cat([task.support.y, torch.zeros(2, 3).double()]),
        torch.ones(8).double(),
    )
    wanted = learner.predict(learner.adapt(task.support), task.query.x)
    torch.testing.assert_close(learner.predict(learner.adapt(more), task.query.x), wanted)
    wider = learner.predict(learner.adapt(pad(task.support, 6, 5)), task.query.x)
    torch.testing.assert_close(wider[:, :3], wanted)
    assert (wider[:, 3:] < -1e6).all()


@every
def test_many_tasks_at_once_are_answered_as_one_by_one(make):
    learner = make(a_net(), 7).double().eval()
    batch = stack([a_task(seed, way=2 + seed) for seed in range(3)])
    together = torch.func.vmap(learner.answer)(batch)
    for i, answer in enumerate(together):
        alone = learner.answer(tree_map(lambda t, i=i: t[i], batch))
        torch.testing.assert_close(answer, alone)


def directions(classes, first, generator):
    """Sixty examples of each of some classes: two numbers that say which, eighteen loud ones."""
    angles = (first + torch.arange(classes).repeat_interleave(60)) * (2 * math.pi / 32)
    plane = 3 * torch.stack([angles.cos(), angles.sin()], 1)
    plane = plane + 0.1 * torch.randn(plane.shape, generator=generator)
    loud = 3 * torch.randn(len(angles), 18, generator=generator)
    return Pool.from_labels(torch.cat([plane, loud], 1), torch.arange(classes * 60) // 60)


@pytest.mark.parametrize("make", EVERY[:3])
def test_what_tells_known_classes_apart_tells_new_ones_apart(make):
    generator = torch.Generator().manual_seed(0)
    known, new = (directions(16, first, generator) for first in (0, 16.5))
    source = Labelled(known, 64)
    torch.manual_seed(0)
    learner = make(MLP(20, [64], 32, norm="batch"), source.classes)
    tasks = Episodes(new, 5, 1, 5)
    before, control = (evaluate(one, tasks, tasks=100).mean for one in (learner, NearestMean()))
    losses = [progress.loss for progress in fit(learner, source, steps=400, tasks_per_step=1)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])
    after = evaluate(learner, tasks, tasks=100).mean
    assert after > max(before, control) + 0.15


@every
@pytest.mark.parametrize(("classes", "held"), [(None, "no"), (64, "64")])
def test_labels_of_tasks_are_no_labels_of_all_classes(make, classes, held):
    message = (
        f"has a head for {held} meta-train classes, got labels .n, 3.; wanted classes=3, or where "
        "these are labels of tasks, those of all classes: quickstudy.Labelled"
    )
    with pytest.raises(TaskError, match=message):
        make(a_net(), classes).double().loss(a_task())


@pytest.mark.parametrize(
    ("learner", "arguments", "message"),
    [
        (SimpleShot, {"classes": 1}, "SimpleShot is trained on 2 classes or more, got 1"),
        (SimpleShot, {"scale": 0.0}, "scale of the logits must be positive, got 0.0"),
        (BaselinePlusPlus, {"classes": 0}, "trained on 2 classes or more, got 0"),
        (BaselinePlusPlus, {"scale": -1.0}, "must be positive, got -1.0 and 2.0"),
        (BaselinePlusPlus, {"rate": 0.0}, "must be positive, got 10.0 and 0.0"),
        (BaselinePlusPlus, {"steps": -1}, "no fewer than zero steps, got -1"),
        (FineTuning, {"rate": 0.0}, "rates of head and body must be positive, got 0.0 and"),
        (FineTuning, {"body_rate": 0.0}, "rates of head and body must be positive, got 1.0 and"),
        (FineTuning, {"steps": -1}, "no fewer than zero steps, got -1"),
        (FineTuning, {"objective": "hinge"}, "objective must be one of"),
    ],
)
def test_impossible_arguments_are_refused(learner, arguments, message):
    with pytest.raises(TaskError, match=message):
        learner(MLP(5), **arguments)

"""Soft k-means: unlabelled rows of the support refine the prototypes."""

import math

import numpy as np
import pytest
import torch
from tests.contract import zoo
from torch import nn

from quickstudy.core import Examples, Task, evaluate, examples, stack
from quickstudy.core.tasks import pad, tree_map, unstack
from quickstudy.data import Episodes, Pool, omniglot
from quickstudy.errors import TaskError
from quickstudy.learners import ProtoNet, SoftKMeans

LABELS = [0, 1, -1, 0, -1, -1, 1, -1]
WAY = 2


def rows(seed=0):
    return np.random.default_rng(seed).standard_normal((len(LABELS), 3))


def support_of(x, way=WAY):
    part = examples(torch.tensor(x), torch.tensor(LABELS), way)
    return Examples(part.x, part.y.double(), part.mask.double())


def refined(x, temperature, steps, radius=None):
    """Ren et al. 2018, section 3.1.1; with a radius, 3.1.2."""
    own = [[z for z, k in zip(x, LABELS, strict=True) if k == c] for c in range(WAY)]
    free = [z for z, k in zip(x, LABELS, strict=True) if k < 0]
    means = [sum(part) / len(part) for part in own]
    for _ in range(steps):
        shares = []
        for z in free:
            powers = [math.exp(-((z - p) ** 2).sum() / temperature) for p in means]
            if radius is not None:
                powers.append(math.exp(-(z**2).sum() / temperature / radius**2) / radius)
            shares.append([power / sum(powers) for power in powers])
        means = [
            (sum(own[c]) + sum(s[c] * z for s, z in zip(shares, free, strict=True)))
            / (len(own[c]) + sum(s[c] for s in shares))
            for c in range(WAY)
        ]
    return means


@pytest.mark.parametrize("radius", [None, 0.5, 2.0])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_means_are_those_of_the_paper(steps, radius):
    options = {} if radius is None else {"distractors": True, "radius": radius}
    learner = SoftKMeans(nn.Identity(), 2.0, steps=steps, **options).double()
    x = rows(steps)
    state = learner.adapt(support_of(x, way=WAY + 1))
    means = refined(x, 2.0, steps, radius)
    np.testing.assert_allclose(state["means"][:WAY].detach(), means, rtol=1e-6)
    asked = rows(9)[:2]
    logits = learner.predict(state, torch.tensor(asked)).detach()
    wanted = [[-((z - p) ** 2).sum() / 2 for p in means] for z in asked]
    np.testing.assert_allclose(logits[:, :WAY], wanted, rtol=1e-6)
    assert (logits[:, WAY] < -1e6).all()


def test_without_unlabelled_rows_it_is_a_prototypical_network():
    task = zoo.task("mlp")
    first, second = zoo.build("soft-k-means", "mlp"), zoo.build("protonet", "mlp")
    for mode in ("train", "eval"):
        losses = [getattr(learner, mode)().loss(task) for learner in (first, second)]
        torch.testing.assert_close(*losses)


def with_unlabelled(net, seed, support, free):
    """A task of the zoo in whose support the last rows have no label."""
    task = zoo.task(net, seed, support=support + free)
    task.support.y[support:] = 0
    return task


@pytest.mark.parametrize("name", ["soft-k-means", "soft-k-means-distractors"])
@pytest.mark.parametrize("net", ["mlp", "conv4-pool"])
def test_unlabelled_rows_keep_the_contracts(name, net):
    learner = zoo.build(name, net)
    tasks = [with_unlabelled(net, seed, 6, free) for seed, free in enumerate((5, 0, 3))]
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    first = tasks[0]
    shuffled = first._replace(support=tree_map(lambda t: t[order], first.support))
    torch.testing.assert_close(learner.loss(shuffled), learner.loss(first), rtol=1e-9, atol=1e-9)
    padded = Task(pad(first.support, 14, WAY + 3), pad(first.query, 9, WAY + 3))
    torch.testing.assert_close(learner.loss(padded), learner.loss(first), rtol=1e-9, atol=1e-9)
    together = torch.func.vmap(learner.loss)(stack(tasks))
    alone = torch.stack([learner.loss(task) for task in unstack(stack(tasks))])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    learner.eval()
    state = learner.adapt(first.support)
    asked = torch.cat([learner.predict(state, x[None]) for x in first.query.x])
    torch.testing.assert_close(asked, learner.predict(state, first.query.x))


def test_the_loss_goes_through_the_refinement():
    learner = zoo.build("soft-k-means-distractors", "mlp")
    with torch.no_grad():
        learner.log_temperature.fill_(2.0)
    learner.loss(with_unlabelled("mlp", 0, 6, 5)).backward()
    assert learner.log_radius.grad.abs() > 1e-6


def test_distractors_pull_no_class_where_there_is_a_place_for_them():
    # Two classes far out, and unlabelled examples near the origin: of neither.
    x = torch.tensor([[10.0, 0.0], [0.0, 10.0], [1.0, 0.5], [-0.5, 0.0], [0.5, -1.0]])
    support = examples(x, torch.tensor([0, 1, -1, -1, -1]), 2)
    plain, careful = (SoftKMeans(nn.Identity(), 5.0, distractors=d) for d in (False, True))
    moved = [(m.adapt(support)["means"] - x[:2]).norm() for m in (plain, careful)]
    assert moved[0] > 3
    assert moved[1] < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"radius": -1.0}, "radius of the distractors must be positive, got -1.0"),
        ({"steps": -1}, "no fewer than zero steps, got -1"),
    ],
)
def test_impossible_learners_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        SoftKMeans(nn.Identity(), **options)


def test_unlabelled_characters_help(need):
    """Real ones, as pixels blurred to a seventh of their size, on the same tasks."""
    need.data("omniglot_28.npz")
    pool = omniglot().validation
    small = nn.functional.avg_pool2d(pool.images.float() / 255, 4).flatten(1)
    source = Episodes(Pool.from_labels(small, pool.labels), way=5, shot=1, queries=5, unlabelled=10)
    made = (ProtoNet(nn.Identity()), SoftKMeans(nn.Identity(), temperature=0.5, steps=3))
    without, helped = (evaluate(m, source, tasks=150, seed=1).values for m in made)
    gain = helped - without
    assert gain.mean() / (gain.std() / len(gain) ** 0.5) > 4

"""Inner loops that start at the prototypes of the support, or leave the head where it is."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from quickstudy.core import SGD, Examples, LearnedRates, Task, examples
from quickstudy.learners import BOIL, MAML, ProtoMAML, ProtoNet
from quickstudy.nets import MLP


def a_task(seed=0, way=3, shot=2, queries=4, width=5):
    generator = torch.Generator().manual_seed(seed)

    def half(each):
        x = torch.randn(way * each, width, generator=generator, dtype=torch.float64)
        part = examples(x, torch.arange(way * each) % way, way)
        return Examples(part.x, part.y.double(), part.mask.double())

    return Task(half(shot), half(queries))


def a_net(seed=0):
    torch.manual_seed(seed)
    return MLP(5, [8], 4).double()


def embed(weights, x):
    """What an MLP of one hidden layer computes."""
    return (x @ weights[0].T + weights[1]).relu() @ weights[2].T + weights[3]


def centroids(z, labels):
    return torch.stack([z[labels == k].mean(0) for k in range(3)])


def test_proto_maml_without_a_step_is_the_prototypical_network():
    learner, task = ProtoMAML(a_net()), a_task()
    learner.steps = 0  # as `evaluate --inner-steps 0` asks
    found = learner.probabilities(learner.adapt(task.support), task.query.x)
    protonet = ProtoNet(learner.net)
    wanted = protonet.probabilities(protonet.adapt(task.support), task.query.x)
    torch.testing.assert_close(found, wanted)
    z, asked = (learner.net(part.x).detach().numpy() for part in task)
    nearest = NearestCentroid().fit(z, task.support.y.argmax(1)).predict(asked)
    assert np.array_equal(found.argmax(1), nearest)


@pytest.mark.parametrize("first_order", [False, True])
def test_proto_maml_is_the_hand_written_one(first_order):
    learner, task = ProtoMAML(a_net(), SGD(0.05), steps=2, first_order=first_order), a_task()
    start = list(learner.net.parameters())
    labels = [part.y.argmax(1) for part in task]
    c = centroids(embed(start, task.support.x), labels[0])
    # Copies: to the inner loop the head is a parameter like any, and no function of the net.
    params = [*(p.clone() for p in start), 2 * c, -(c**2).sum(1)]
    for _ in range(2):
        logits = embed(params, task.support.x) @ params[4].T + params[5]
        value = cross_entropy(logits, labels[0])
        grads = torch.autograd.grad(value, params, create_graph=True)
        grads = [g.detach() for g in grads] if first_order else grads
        params = [p - 0.05 * g for p, g in zip(params, grads, strict=True)]
    logits = embed(params, task.query.x) @ params[4].T + params[5]
    value = cross_entropy(logits, labels[1])
    wanted = torch.autograd.grad(value, start)
    loss = learner.loss(task)
    loss.backward()
    torch.testing.assert_close(loss, value)
    for parameter, grad in zip(learner.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize("make", [ProtoMAML, BOIL])
def test_the_order_of_the_classes_does_not_matter_nor_their_number(make):
    learner = make(a_net(), SGD(0.1))
    for way in (2, 5):
        support, query = a_task(way=way)
        turned = support._replace(y=support.y.roll(1, 1))
        logits = learner.predict(learner.adapt(support), query.x)
        again = learner.predict(learner.adapt(turned), query.x)
        torch.testing.assert_close(again, logits.roll(1, 1))


@pytest.mark.parametrize("make", [ProtoMAML, BOIL])
def test_a_head_that_the_support_makes_is_not_trained(make):
    learner = make(a_net(), objective="squared_error")
    assert {name.split(".")[0] for name, _ in learner.named_parameters()} == {"net"}


def test_rates_of_proto_maml_are_learned_for_net_and_head():
    learner = ProtoMAML(a_net(), LearnedRates(0.1), steps=1).double()
    learner.loss(a_task()).backward()
    rates = dict(learner.rule.named_parameters())
    assert "learned.head/weight" in rates
    assert all(rate.grad.abs().sum() > 0 for rate in rates.values())


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_boil_is_the_hand_written_one(kind):
    learner = BOIL(a_net(), SGD(0.3), steps=3, outputs=3, targets=kind).double()
    task = a_task()
    start = list(learner.net.parameters())
    head = nn.Linear(4, 3)
    head.weight, head.bias = learner.head.weight, learner.head.bias

    def objective(weights, part):
        means = head(embed(weights, part.x))
        return cross_entropy(means, part.y) if kind == "classes" else mse_loss(means, part.y)

    body = start
    for _ in range(3):
        grads = torch.autograd.grad(objective(body, task.support), body, create_graph=True)
        body = [p - 0.3 * g for p, g in zip(body, grads, strict=True)]
    value = objective(body, task.query)
    wanted = torch.autograd.grad(value, [*start, head.weight, head.bias])
    loss = learner.loss(task)
    loss.backward()
    torch.testing.assert_close(loss, value)
    for parameter, grad in zip(learner.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_boil_is_maml_whose_head_has_rates_of_zero():
    boil, task = BOIL(a_net(), SGD(0.3), steps=3, outputs=3).double(), a_task()
    maml = MAML(a_net(), LearnedRates(0.3, per="tensor"), steps=3, outputs=3).double()
    maml.load_state_dict(boil.state_dict(), strict=False)
    with torch.no_grad():
        maml.rule.learned["head/weight"].zero_()
        maml.rule.learned["head/bias"].zero_()
    torch.testing.assert_close(boil.answer(task), maml.answer(task))


def test_boils_head_is_what_the_start_makes_of_the_support_and_stays():
    learner, task = BOIL(a_net(), SGD(0.1)), a_task()
    params = learner.adapt(task.support)["params"]
    z = learner.net(task.support.x).detach()
    c = centroids(z, task.support.y.argmax(1))
    torch.testing.assert_close(params["head.weight"].detach(), 2 * c)
    torch.testing.assert_close(params["head.bias"].detach(), -(c**2).sum(1))
    for name, start in learner.net.named_parameters():
        assert (params[f"net.{name}"] - start).abs().max() > 1e-4
    # By which the body tells the support better than it did.
    before, after = (BOIL(learner.net, SGD(0.1), steps) for steps in (1, 5))
    support = Task(task.support, task.support)
    assert after.loss(support) < before.loss(support)


def test_boil_learns_rates_of_the_body_alone():
    rule = LearnedRates(0.1, per="tensor")
    BOIL(a_net(), rule)
    assert list(rule.rates()) == [f"net.{name}" for name, _ in a_net().named_parameters()]

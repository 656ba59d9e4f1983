"""The implicit gradient, beside closed forms, long unrolls and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from quickstudy.core import (
    SGD,
    Batching,
    Examples,
    LearnedRates,
    Task,
    accumulate_gradients,
    descend,
    examples,
    stack,
)
from quickstudy.core.functional import conjugate_gradients
from quickstudy.errors import TaskError
from quickstudy.learners import IMAML, MAML
from quickstudy.nets import MLP
from quickstudy.nets.norm import make_norm


class Plain(nn.Identity):
    """A net that hands its inputs on: the head alone adapts, and its problem is convex."""

    features = 4


def a_task(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def half(rows):
        x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
        if kind == "values":
            y = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        else:
            y = examples(x, torch.arange(rows) % 3, 3).y.double()
        return Examples(x, y, torch.ones(rows, dtype=torch.float64))

    return Task(half(7), half(5))


def made(kind, net=None, **options):
    torch.manual_seed(0)
    chosen = {"rule": SGD(0.3), "steps": 400, "penalty": 0.7, "solver_steps": 15} | options
    return IMAML(net or Plain(), outputs=3, targets=kind, **chosen).double()


def grads(learner, task):
    learner.zero_grad()
    learner.loss(task).backward()
    return {name: p.grad for name, p in learner.named_parameters()}


def test_on_a_quadratic_it_is_the_closed_form():
    learner, task = made("values"), a_task("values")
    found = grads(learner, task)
    # Mean squared errors over n rows and 3 targets, of an affine map of x: with ones beside x,
    # the minimum is (2 XX / 3n + penalty)^-1 (2 Xy / 3n + penalty start).
    x, y = (np.c_[task.support.x, np.ones(7)], task.support.y.numpy())
    start = np.c_[learner.head.weight.detach(), learner.head.bias.detach()].T
    system = 2 * x.T @ x / 21 + 0.7 * np.eye(5)
    adapted = np.linalg.solve(system, 2 * x.T @ y / 21 + 0.7 * start)
    params = learner.adapt(task.support)["params"]
    np.testing.assert_allclose(params["head.weight"].detach(), adapted[:4].T, rtol=1e-9)
    asked = np.c_[task.query.x, np.ones(5)]
    slope = 2 * asked.T @ (asked @ adapted - task.query.y.numpy()) / 15
    wanted = 0.7 * np.linalg.solve(system, slope)
    np.testing.assert_allclose(found["head.weight"], wanted[:4].T, rtol=1e-9)
    np.testing.assert_allclose(found["head.bias"], wanted[4], rtol=1e-9)


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_on_a_convex_problem_it_is_mamls_through_many_steps(kind):
    learner, task = made(kind), a_task(kind)
    found = grads(learner, task)
    maml = MAML(learner.net, outputs=3, targets=kind)
    maml.head = learner.head
    inner = maml._inner(task.support)
    start = inner.start

    def tied(params, step):
        away = sum(((p - start[name]) ** 2).sum() for name, p in params.items())
        return inner.loss(params, step) + 0.35 * away

    copies = {name: p.clone() for name, p in start.items()}
    adapted = descend(SGD(0.3), tied, copies, steps=400)
    logits = maml.predict(inner.state(adapted, 0), task.query.x)
    loss = maml.measure(logits, task.query.y, task.query.mask)
    torch.testing.assert_close(learner.loss(task), loss)
    wanted = torch.autograd.grad(loss, list(start.values()))
    for name, grad in zip(start, wanted, strict=True):
        torch.testing.assert_close(found[name], grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["classes", "values"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_at_the_minimum_of_a_nets_problem_it_is_the_slope_of_the_loss(kind, norm):
    """A net's problem too, held together by a strong penalty; of a smooth one, as at a kink there
    is no slope."""
    net = nn.Sequential(nn.Linear(4, 6), make_norm(norm, 6), nn.Tanh(), nn.Linear(6, 5))
    net.features = 5
    learner = made(kind, net, rule=SGD(0.1), steps=300, penalty=4.0, solver_steps=60)
    task = a_task(kind)
    found = grads(learner, task)
    generator = torch.Generator().manual_seed(1)
    named = dict(learner.named_parameters())
    direction = {
        n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in named.items()
    }

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.of = learner

        def forward(self):
            return self.of.loss(task)

    def moved(by):
        weights = {f"of.{n}": p.detach() + by * direction[n] for n, p in named.items()}
        return functional_call(Loss(), weights, ()).detach()

    measured = (moved(1e-5) - moved(-1e-5)) / 2e-5
    slope = sum((direction[n] * grad).sum() for n, grad in found.items())
    torch.testing.assert_close(slope, measured, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_many_tasks_have_the_mean_of_their_gradients(mode):
    learner, tasks = made("classes"), [a_task("classes", seed) for seed in range(3)]
    each = [grads(learner, task) for task in tasks]
    learner.zero_grad()
    accumulate_gradients(learner, stack(tasks), Batching(mode))
    for name, p in learner.named_parameters():
        torch.testing.assert_close(p.grad, torch.stack([of[name] for of in each]).mean(0))


def test_a_strong_penalty_holds_the_weights_and_a_weak_one_lets_them_go():
    task = a_task("values")

    def away(penalty):
        learner = made("values", rule=SGD(0.05), penalty=penalty, steps=200)
        moved = learner.adapt(task.support)["params"]["head.weight"] - learner.head.weight
        return float(moved.detach().norm())

    assert away(20.0) < 0.2 * away(1.0) < 0.2 * away(0.1)


def test_conjugate_gradients_solve_a_system_and_stop_where_there_is_none():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    a, b = torch.from_numpy(root @ root.T + np.eye(6)), torch.from_numpy(rng.normal(size=6))
    found = conjugate_gradients(lambda v: a @ v, b, steps=6)
    np.testing.assert_allclose(found, np.linalg.solve(a, b), rtol=1e-8)
    # More steps than there are directions, no right side, and a direction that curves down.
    torch.testing.assert_close(conjugate_gradients(lambda v: a @ v, b, steps=50), found)
    assert not conjugate_gradients(lambda v: a @ v, 0 * b, steps=3).any()
    assert not conjugate_gradients(lambda v: -v, b, steps=3).any()
    halves = torch.tensor([2.0, 1.0, -3.0, 0.5, 1.0, 1.0], dtype=torch.float64)
    assert conjugate_gradients(lambda v: halves * v, b, steps=20).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": 0.0}, "penalty, the pull towards the start, must be positive, got 0"),
        ({"solver_steps": 0}, "the solver takes one step or more, got 0"),
        ({"steps": 0}, "one inner step or more, got 0"),
        ({"rule": LearnedRates()}, "no gradient for what a LearnedRates learns"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        IMAML(MLP(4), **options)

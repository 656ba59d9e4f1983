import pytest
import torch

from quickstudy.core import SGD, descend
from quickstudy.errors import TaskError


def test_descent_on_a_quadratic_is_the_closed_form():
    # f(w) = a w^2 / 2: each step multiplies w by 1 - rate * a.
    a = torch.tensor([1.0, 3.0], dtype=torch.float64)
    start = torch.tensor([2.0, -1.0], dtype=torch.float64)
    end = descend(SGD(0.1), lambda p: (a * p["w"] ** 2).sum() / 2, {"w": start}, steps=7)
    torch.testing.assert_close(end["w"], start * (1 - 0.1 * a) ** 7)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_derivative_through_descent_is_the_closed_form(first_order):
    # d end / d start: (1 - rate * a)^steps to second order, 1 where inner gradients are constants.
    start = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    end = descend(SGD(0.1), lambda p: 1.5 * p["w"] ** 2, {"w": start}, 4, first_order)
    (slope,) = torch.autograd.grad(end["w"], start)
    assert slope.item() == pytest.approx(1.0 if first_order else (1 - 0.3) ** 4)


def test_momentum_is_heavy_ball():
    rule = SGD(0.1, momentum=0.5)
    params, state = {"w": torch.zeros(1)}, None
    state = rule.init(params)
    for _ in range(3):
        params, state = rule.update(params, {"w": torch.ones(1)}, state)
    # velocities 1, 1.5, 1.75
    assert params["w"].item() == pytest.approx(-0.425)


def test_descent_changes_nothing_it_was_given():
    start = {"w": torch.ones(2)}
    descend(SGD(0.5), lambda p: p["w"].sum(), start, steps=2)
    assert start["w"].tolist() == [1, 1]


@pytest.mark.parametrize("arguments", [(0.0,), (-1.0,), (0.1, 1.0), (float("nan"),)])
def test_impossible_rates_are_refused(arguments):
    with pytest.raises(TaskError):
        SGD(*arguments)

import pytest
import torch

from quickstudy.core import SGD, LearnedRates, StepRates, descend
from quickstudy.core.descent import path
from quickstudy.errors import TaskError


def test_descent_on_a_quadratic_is_the_closed_form():
    # f(w) = a w^2 / 2: each step multiplies w by 1 - rate * a.
    a = torch.tensor([1.0, 3.0], dtype=torch.float64)
    start = torch.tensor([2.0, -1.0], dtype=torch.float64)
    end = descend(SGD(0.1), lambda p, step: (a * p["w"] ** 2).sum() / 2, {"w": start}, steps=7)
    torch.testing.assert_close(end["w"], start * (1 - 0.1 * a) ** 7)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_derivative_through_descent_is_the_closed_form(first_order):
    # d end / d start: (1 - rate * a)^steps to second order, 1 where inner gradients are constants.
    start = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    end = descend(SGD(0.1), lambda p, step: 1.5 * p["w"] ** 2, {"w": start}, 4, first_order)
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
    descend(SGD(0.5), lambda p, step: p["w"].sum(), start, steps=2)
    assert start["w"].tolist() == [1, 1]


@pytest.mark.parametrize("arguments", [(0.0,), (-1.0,), (0.1, 1.0), (float("nan"),)])
def test_impossible_rates_are_refused(arguments):
    with pytest.raises(TaskError):
        SGD(*arguments)


def test_a_step_may_have_a_loss_of_its_own():
    # A target that changes: half the way to 4, then half the way to 8.
    targets = [4.0, 8.0]

    def loss(params, step):
        return (params["w"] - targets[step]) ** 2

    assert descend(SGD(0.25), loss, {"w": torch.tensor(0.0)}, steps=2)["w"].item() == 5


def test_learned_rates_move_each_number_by_its_own():
    rule = LearnedRates(0.1)
    rule.attach({"net.0.weight": torch.zeros(2), "head.bias": torch.zeros(1)})
    with torch.no_grad():
        rule.learned["net/0/weight"].copy_(torch.tensor([1.0, -2.0]))
    params = {"net.0.weight": torch.ones(2), "head.bias": torch.ones(3)}
    grads = {name: torch.ones_like(p) for name, p in params.items()}
    moved, _ = rule.update(params, grads, rule.init(params))
    assert moved["net.0.weight"].tolist() == [0, 3]
    # The one rate of a row that all ways share serves each of them.
    assert moved["head.bias"].tolist() == pytest.approx([0.9] * 3)
    assert rule.rates() == pytest.approx({"net.0.weight": -0.5, "head.bias": 0.1})


@pytest.mark.parametrize(("per", "count"), [("element", 7), ("tensor", 2)])
def test_there_is_a_rate_for_each_element_or_each_tensor(per, count):
    rule = LearnedRates(0.3, per=per)
    rule.attach({"w": torch.zeros(2, 3), "b": torch.zeros(1)})
    assert sum(p.numel() for p in rule.parameters()) == count
    assert all((p == 0.3).all() for p in rule.parameters())


@pytest.mark.parametrize("per", ["element", "tensor"])
def test_rates_belong_to_the_parameters_that_they_were_made_for(per):
    rule = LearnedRates(0.3, per=per)
    with pytest.raises(TaskError, match="no rate for w: attach the rule to it first"):
        rule.update({"w": torch.zeros(2)}, {"w": torch.zeros(2)}, ())
    rule.attach({"w": torch.zeros(2)})
    kept = dict(rule.learned)
    rule.attach({"w": torch.ones(2)})  # the same: nothing is lost
    assert all(rule.learned[name] is p for name, p in kept.items())
    with pytest.raises(TaskError, match="these rates belong to another learner"):
        rule.attach({"v": torch.zeros(2)})


def test_rates_of_elements_do_not_fit_other_shapes():
    rule = LearnedRates()
    rule.attach({"w": torch.zeros(2)})
    with pytest.raises(TaskError, match="these rates belong to another learner"):
        rule.attach({"w": torch.zeros(3)})


@pytest.mark.parametrize("arguments", [(0.0,), (float("nan"),), (0.1, "layer")])
def test_impossible_learned_rates_are_refused(arguments):
    with pytest.raises(TaskError):
        LearnedRates(*arguments)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_a_parameter_that_the_loss_does_not_look_at_stays(first_order, grad):
    start = {"w": torch.ones(2), "unused": torch.ones(3)}
    with torch.set_grad_enabled(grad):
        end = descend(SGD(0.5), lambda p, step: p["w"].sum(), start, 2, first_order)
    assert end["w"].tolist() == [0, 0]
    assert end["unused"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_descent_without_a_graph_goes_the_same_way(mode):
    def loss(params, step):
        return ((params["w"] - step) ** 4).sum()

    start = {"w": torch.tensor([0.5, 3.0], dtype=torch.float64)}
    wanted = descend(SGD(0.01, momentum=0.5), loss, start, steps=4)["w"]
    with mode():
        found = descend(SGD(0.01, momentum=0.5), loss, start, steps=4)["w"]
    torch.testing.assert_close(found.clone(), wanted)
    assert not found.requires_grad


@pytest.mark.parametrize("per", ["element", "tensor"])
def test_every_step_has_rates_of_its_own_and_the_last_ones_hold_on(per):
    rule = StepRates(0.1, steps=2, per=per)
    rule.attach({"net.w": torch.zeros(3)})
    assert rule.learned["net/w"].shape == ((2, 3) if per == "element" else (2,))
    with torch.no_grad():
        rule.learned["net/w"][0] = 1.0
        rule.learned["net/w"][1] = -0.5
    found = [
        p["net.w"].tolist()
        for p in path(rule, lambda p, step: p["net.w"].sum(), {"net.w": torch.zeros(3)}, 4)
    ]
    assert found == [[-1.0] * 3, [-0.5] * 3, [0.0] * 3, [0.5] * 3]
    assert rule.rates() == {"net.w, step 1": 1.0, "net.w, step 2": -0.5}


@pytest.mark.parametrize("first_order", [False, True])
def test_the_path_is_every_place_that_descent_comes_through(first_order):
    rule = SGD(0.05, momentum=0.5)
    start = {"w": torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)}

    def loss(params, step):
        return ((params["w"] - step) ** 4).sum()

    places = list(path(rule, loss, start, 3, first_order))
    for count, place in enumerate(places, start=1):
        wanted = descend(rule, loss, start, count, first_order)
        torch.testing.assert_close(place["w"], wanted["w"])
        slopes = [
            torch.autograd.grad(p["w"].sum(), start["w"], retain_graph=True)[0]
            for p in (place, wanted)
        ]
        torch.testing.assert_close(*slopes)


def test_step_rates_of_many_tasks_at_once():
    rule = StepRates(0.1, steps=2)
    rule.attach({"w": torch.zeros(3)})
    targets = torch.arange(6.0).view(2, 3)

    def end(target):
        start = {"w": torch.zeros(3)}
        return descend(rule, lambda p, step: ((p["w"] - target) ** 2).sum(), start, 3)["w"]

    torch.testing.assert_close(torch.func.vmap(end)(targets), torch.stack([*map(end, targets)]))


def test_rates_are_of_one_step_or_more():
    with pytest.raises(TaskError, match="one inner step or more, got 0"):
        StepRates(steps=0)

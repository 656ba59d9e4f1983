import gc
import weakref

import pytest
import torch
from torch import nn

from quickstudy.core import SGD, LearnedRates, UpdateRule, descend
from quickstudy.errors import TaskError


class Held:
    def __init__(self, tensor):
        self.tensor = tensor


def cubic(params, step):
    return ((params["w"] ** 3).sum() + (step + 1) * (params["w"] * params["b"]).sum()) / 3


def start():
    w = torch.tensor([0.5, -0.3], dtype=torch.float64, requires_grad=True)
    return {"w": w, "b": torch.tensor([0.2, 0.4], dtype=torch.float64, requires_grad=True)}


def learned_rates(params):
    rule = LearnedRates(0.1).double()
    rule.attach(params)
    return rule.double()


@pytest.mark.parametrize("kept", [0, 1, 4])
@pytest.mark.parametrize("steps", [0, 1, 2, 6, 12])
@pytest.mark.parametrize(
    "make", [lambda p: SGD(0.1), lambda p: SGD(0.1, momentum=0.6), learned_rates]
)
def test_replaying_the_steps_gives_the_same_gradient(make, steps, kept):
    found = []
    for number in (None, kept):
        params = start()
        rule = make(params)
        end = descend(rule, cubic, params, steps, kept=number)
        asked = [*params.values(), *(rule.parameters() if steps else ())]
        value = (end["w"] ** 2).sum() + end["b"].prod()
        found.append((value, *torch.autograd.grad(value, asked)))
    for kept, replayed in zip(*found, strict=True):
        torch.testing.assert_close(replayed, kept, rtol=1e-12, atol=1e-12)


class Slowing(UpdateRule):
    """Descent whose rate falls with a counter, a whole number."""

    def init(self, params):
        return torch.tensor(1), torch.ones((), dtype=torch.float64)

    def update(self, params, grads, state):
        count, factor = state
        params = {k: p - 0.1 * factor / count * grads[k] for k, p in params.items()}
        return params, (count + 1, factor * (1 + params["w"].sum()))


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("steps", [2, 12])
def test_a_rules_state_may_hold_whole_numbers(steps, kept):
    found = []
    for number in (None, kept):
        params = start()
        end = descend(Slowing(), cubic, params, steps, kept=number)
        value = (end["w"] ** 2).sum() + end["b"].prod()
        found.append((value, *torch.autograd.grad(value, [*params.values()])))
    for kept, replayed in zip(*found, strict=True):
        torch.testing.assert_close(replayed, kept, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kept", [0, 1, None])
@pytest.mark.parametrize("steps", [0, 1, 2, 6, 12])
def test_a_first_gradient_that_is_known_is_taken_for_the_losses_own(steps, kept):
    found, asked_at = [], []

    def loss(params, step):
        asked_at.append(step)
        return cubic(params, step)

    for known in (False, True):
        params = start()
        rule = SGD(0.1, momentum=0.6)
        first = None
        if known:
            slope = torch.autograd.grad(cubic(params, 0), [*params.values()], create_graph=True)
            first = dict(zip(params, slope, strict=True))
        end = descend(rule, loss if known else cubic, params, steps, kept=kept, first=first)
        value = (end["w"] ** 2).sum() + end["b"].prod()
        found.append((value, *torch.autograd.grad(value, [*params.values()])))
    assert 0 not in asked_at
    for asked, given in zip(*found, strict=True):
        torch.testing.assert_close(given, asked, rtol=1e-12, atol=1e-12)


def test_no_step_that_keeps_its_graph_is_refused():
    with pytest.raises(TaskError, match="no fewer than zero steps keep their graphs, got -1"):
        descend(SGD(0.1), cubic, start(), 3, kept=-1)


def test_memory_is_flat_in_the_steps():
    def saved(steps, kept):
        """How many tensors wait for the backward pass."""
        layer, x = nn.Linear(50, 50), torch.randn(200, 50)
        waiting = weakref.WeakSet()

        def pack(tensor):
            waiting.add(held := Held(tensor))
            return held

        def loss(params, step):
            return torch.func.functional_call(layer, params, (x,)).tanh().square().sum()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
            params = dict(layer.named_parameters())
            end = descend(SGD(1e-4), loss, params, steps, kept=kept)
        gc.collect()
        assert end["weight"].requires_grad
        return len(waiting)

    assert saved(20, kept=1) <= saved(2, kept=1)
    assert saved(20, kept=3) <= saved(4, kept=3)
    assert saved(20, kept=None) > 5 * saved(2, kept=None)


def test_a_gradient_that_would_be_lost_is_refused():
    other = torch.ones(2, dtype=torch.float64, requires_grad=True)
    end = descend(SGD(0.1), lambda p, step: (p["w"] ** 2 * other).sum(), start(), steps=3, kept=1)
    with pytest.raises(TaskError, match=r"reads a tensor \[2\] that needs a gradient"):
        end["w"].sum().backward()


@pytest.mark.parametrize("steps", [1, 3])
def test_what_was_made_of_the_start_before_is_no_way_by_which_the_parameters_act(steps):
    # f(w) = (w c - 1)^2 with c = 2 w0, which the inner loop does not move and the outer one does.
    found = []
    for copied in (False, True):
        w = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        c = 2 * w
        begin = {"w": w.clone() if copied else w}
        end = descend(SGD(0.1), lambda p, step, c=c: (p["w"] * c - 1) ** 2, begin, steps)
        found.append((end["w"].detach(), *torch.autograd.grad(end["w"], w)))
    torch.testing.assert_close(*found)
    by_hand = 0.3
    for _ in range(steps):
        by_hand -= 0.1 * 2 * 0.6 * (0.6 * by_hand - 1)
    assert found[0][0].item() == pytest.approx(by_hand)


@pytest.mark.parametrize("kept", [0, 1, None])
def test_gradients_that_do_not_depend_on_the_parameters_are_none_the_worse(kept):
    for loss in (lambda p, step: (p["w"] ** 3).sum() + p["b"].sum(), lambda p, step: p["w"].sum()):
        params = start()
        end = descend(SGD(0.1), loss, params, 3, kept=kept)
        found = torch.autograd.grad(end["w"].sum() + end["b"].prod(), list(params.values()))
        wanted = descend(SGD(0.1), loss, again := start(), 3)
        exact = torch.autograd.grad(wanted["w"].sum() + wanted["b"].prod(), list(again.values()))
        torch.testing.assert_close(found, exact)


def test_a_loss_may_read_what_the_rule_has_learned():
    found = []
    for kept in (None, 0):
        params = start()
        rule = learned_rates(params)

        def loss(p, step, rule=rule):
            return cubic(p, step) * sum(r.sum() for r in rule.parameters())

        end = descend(rule, loss, params, 4, kept=kept)
        asked = [*params.values(), *rule.parameters()]
        found.append(torch.autograd.grad((end["w"] ** 2).sum(), asked))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_the_way_back_can_be_gone_twice():
    params = start()
    end = descend(SGD(0.1), cubic, params, 12, kept=1)
    value = (end["w"] ** 2).sum()
    first = torch.autograd.grad(value, list(params.values()), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, list(params.values())), first)


def test_parameters_that_changed_meanwhile_are_refused():
    params = start()
    end = descend(SGD(0.1), cubic, params, 3, kept=0)
    with torch.no_grad():
        params["w"] += 1
    with pytest.raises(TaskError, match="changed in place between an inner loop and its backward"):
        end["w"].sum().backward()


@pytest.mark.parametrize("steps", [3, 12])
def test_what_is_drawn_is_drawn_again(steps):
    def loss(p, step):
        return (torch.nn.functional.dropout(p["w"], 0.5) ** 3).sum() + (p["w"] * p["b"]).sum()

    found = []
    for kept in (None, 0):
        torch.manual_seed(0)
        params = start()
        end = descend(SGD(0.1), loss, params, steps, kept=kept)
        after = torch.get_rng_state()
        found.append(torch.autograd.grad((end["w"] ** 2).sum(), list(params.values())))
        assert torch.equal(after, torch.get_rng_state())
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)

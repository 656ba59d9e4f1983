import inspect
import math

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.core.arguments import checked
from quickstudy.errors import TaskError


class Thing:
    @checked
    def __init__(
        self,
        count: int,
        size: float = 1.0,
        sure: bool = False,
        name: str | None = None,
        most: "int | float | None" = None,
        other: list[int] | None = None,
        free=None,
    ) -> None:
        """As it is."""
        self.given = (count, size, sure, name, most, other, free)


@pytest.mark.parametrize(
    "given",
    [
        {"count": 3},
        {"count": np.int64(3), "size": 2, "sure": True, "name": "a", "most": 1.5},
        {"count": 0, "size": np.float32(0.5), "most": None, "other": "whatever", "free": math.inf},
    ],
)
def test_what_fits_goes_through(given):
    thing = Thing(**given)
    assert thing.given[0] == given["count"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 2.5}, "Thing takes count as a whole number, got 2.5"),
        ({"count": "3"}, "Thing takes count as a whole number, got '3'"),
        ({"count": True}, "Thing takes count as a whole number, got True"),
        ({"count": None}, "Thing takes count as a whole number, got None"),
        ({"count": 1, "size": math.inf}, "Thing takes size as a finite number, got inf"),
        ({"count": 1, "size": math.nan}, "Thing takes size as a finite number, got nan"),
        ({"count": 1, "size": torch.ones(1)}, "Thing takes size as a finite number, got tensor"),
        ({"count": 1, "sure": 1}, "Thing takes sure as True or False, got 1"),
        ({"count": 1, "name": 7}, "Thing takes name as a text or None, got 7"),
        ({"count": 1, "most": "x"}, "Thing takes most as a whole number or a finite number or "),
    ],
)
def test_what_does_not_fit_is_said(given, said):
    with pytest.raises(TaskError) as error:
        Thing(**given)
    assert str(error.value).startswith(said)


def test_a_wrong_call_is_pythons_to_refuse():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        Thing()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Thing(1, colour=2)


def test_annotations_that_mean_nothing_here_are_passed_over():
    class Odd:
        @checked
        def __init__(self, what: "SomewhereElse", steps: int = 1) -> None:
            self.what = what

    assert Odd("anything").what == "anything"


def test_a_constructor_looks_as_it_did():
    assert list(inspect.signature(Thing).parameters)[:2] == ["count", "size"]
    assert Thing.__init__.__doc__ == "As it is."


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda net: qs.TIM(net, steps="3"), "TIM takes steps as a whole number"),
        (lambda net: qs.TIM(net, scale=math.inf), "TIM takes scale as a finite number"),
        (lambda net: qs.SimpleShot(net, classes="a"), "SimpleShot takes classes as a whole number"),
        (lambda net: qs.CAVIA(net, context=2.5), "CAVIA takes context as a whole number"),
        (lambda net: qs.PTMAP(net, steps=2.5), "PTMAP takes steps as a whole number"),
        (lambda net: qs.IMAML(net, penalty=math.inf), "IMAML takes penalty as a finite number"),
        (lambda net: qs.MAML(net, first_order="no"), "MAML takes first_order as True or False"),
    ],
)
def test_learners_refuse_arguments_of_another_type(make, said):
    with pytest.raises(TaskError, match=said):
        make(qs.MLP(4, [8], 8))


def test_a_users_own_learner_is_checked_too():
    class Mine(qs.Learner):
        def __init__(self, net: torch.nn.Module, steps: int = 1) -> None:
            super().__init__()
            self.net = net

        def adapt(self, support):
            return {}

        def predict(self, state, x):
            return x

    assert isinstance(Mine(torch.nn.ReLU(), 3), qs.Learner)
    with pytest.raises(TaskError, match="Mine takes steps as a whole number, got 'x'"):
        Mine(torch.nn.ReLU(), "x")

import json
from typing import Any

import pytest
from torch import nn

from artefacts.samples import CATALOGUE, Learner, Net, Rule
from quickstudy.artefacts.arguments import arguments, build, describe
from quickstudy.errors import ArtefactError

SPEC = {
    "name": "Learner",
    "arguments": {
        "net": {"name": "Net", "arguments": {"widths": [3, 5], "bias": False}},
        "rule": {"name": "Rule", "arguments": {"rate": 0.3}},
        "steps": 7,
        "title": None,
    },
}


class Bare(nn.Module):
    """No constructor of its own."""


class Forgetful(nn.Module):
    def __init__(self, way: int) -> None:
        super().__init__()


class Anything(nn.Module):
    def __init__(self, **others: int) -> None:
        super().__init__()


class Choosy(nn.Module):
    def __init__(self, way: int) -> None:
        super().__init__()
        if way > 3:
            raise RuntimeError("too many")
        self.way = way


class Holder(nn.Module):
    def __init__(self, value: Any = None) -> None:
        super().__init__()
        self.value = value


def test_a_module_is_its_name_and_its_arguments_all_the_way_down() -> None:
    learner = Learner(Net((3, 5), bias=False), Rule(0.3), steps=7)
    assert describe(learner, CATALOGUE) == SPEC


def test_a_description_builds_what_it_describes() -> None:
    learner = build(json.loads(json.dumps(SPEC)), CATALOGUE)
    assert type(learner) is Learner
    assert type(learner.rule) is Rule
    assert (learner.steps, learner.rule.rate, learner.net.widths) == (7, 0.3, [3, 5])
    assert describe(learner, CATALOGUE) == SPEC


def test_an_argument_that_came_later_keeps_its_default() -> None:
    spec = {"name": "Learner", "arguments": {"net": {"name": "Net", "arguments": {}}}}
    assert build(spec, CATALOGUE).steps == 5


def test_a_module_without_a_constructor_has_no_arguments() -> None:
    assert describe(Bare(), {"Bare": Bare}) == {"name": "Bare", "arguments": {}}
    assert isinstance(build({"name": "Bare", "arguments": {}}, {"Bare": Bare}), Bare)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        "ü",
        [],
        {},
        [1, [2.5, None]],
        {"a": {"b": [1]}},
        [Rule(1), {"r": Rule()}],
    ],
)
def test_json_values_and_modules_in_them_survive(value: Any) -> None:
    catalogue = {"Holder": Holder, "Rule": Rule}
    spec = describe(Holder(value), catalogue)
    assert describe(build(json.loads(json.dumps(spec)), catalogue), catalogue) == spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1}, "Holder.value is a set; wanted a JSON value"),
        (float("nan"), "Holder.value is nan; JSON holds finite numbers only"),
        ([1, b"x"], r"Holder.value\[1\] is a bytes"),
        ({1: 2}, "Holder.value has the key 1; JSON wants str keys"),
        ({"own": 1}, "Holder.value has the keys .*, which stand for a module"),
        (len, "Holder.value is the function or class 'len'"),
        (Rule, "Holder.value is the function or class 'Rule'"),
        ("\ud800", "Holder.value is .*; wanted text that is valid Unicode"),
    ],
)
def test_other_arguments_are_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        describe(Holder(value), {"Holder": Holder})


def test_a_constructor_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ArtefactError, match="does not keep its argument 'way' under its own name"):
        arguments(Forgetful(3), {})


def test_a_constructor_that_takes_anything_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"Anything.others takes any arguments"):
        arguments(Anything(), {})


@pytest.mark.parametrize("thing", [3, [Rule()], Rule(), {"name": "Rule", "arguments": {}}])
def test_what_is_no_module_is_refused(thing: Any) -> None:
    with pytest.raises(ArtefactError, match=r"wanted a|which stand for a module"):
        describe(thing, {})


def test_an_own_module_is_an_import_path() -> None:
    spec = describe(Learner(nn.Sequential()), CATALOGUE)
    assert isinstance(spec["arguments"], dict)
    assert spec["arguments"]["net"] == {"own": "torch.nn.modules.container:Sequential"}
    net = nn.Sequential()
    assert build(spec, CATALOGUE, net=net).net is net


def test_an_own_module_is_never_imported() -> None:
    net = Net()
    assert build({"own": "no.such.module:Net"}, {}, net=net) is net


def test_an_own_module_has_to_be_handed_in() -> None:
    with pytest.raises(ArtefactError, match=r"holds its owner's shop\.nets:A\.B; hand .* net=B\("):
        build({"own": "shop.nets:A.B"}, CATALOGUE)


def test_a_net_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"brings its own net .* got net=Net\(\.\.\.\)"):
        build(SPEC, CATALOGUE, net=Net())


def test_two_own_modules_are_refused() -> None:
    learner = Learner(nn.Sequential(nn.ReLU()), nn.ReLU())  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match=r"holds 2 modules that are not .*Sequential.*ReLU"):
        describe(learner, CATALOGUE)


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ArtefactError, match="'MAMLPlus' is unknown; wanted one of Learner, Net, R"):
        build({"name": "MAMLPlus", "arguments": {}}, CATALOGUE)


def test_unknown_arguments_are_refused_with_those_there_are() -> None:
    with pytest.raises(ArtefactError, match="Rule has no argument 'speed'; wanted some of rate"):
        build({"name": "Rule", "arguments": {"speed": 1}}, CATALOGUE)
    with pytest.raises(ArtefactError, match="Bare has no argument 'way'; wanted some of none"):
        build({"name": "Bare", "arguments": {"way": 1}}, {"Bare": Bare})


def test_a_constructor_that_refuses_is_quoted() -> None:
    with pytest.raises(ArtefactError, match=r"Choosy cannot be made with \{'way': 4\}: too many"):
        build({"name": "Choosy", "arguments": {"way": 4}}, {"Choosy": Choosy})
    with pytest.raises(ArtefactError, match=r"Choosy cannot be made with \{\}: .*missing"):
        build({"name": "Choosy", "arguments": {}}, {"Choosy": Choosy})

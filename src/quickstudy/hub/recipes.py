"""Options of `quickstudy train` that are known to go well together, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Options = Mapping[str, Any]


class Recipe(NamedTuple):
    """Options by the names that `TrainConfig` has for them.

    Attributes:
        about: what it is for, in a few words.
        common: those of every learner, "learner" among them.
        learners: what a learner is told beside these, by its plain name; options of the same name
            take their place.
        others: the same for learners that are not named.
    """

    about: str
    common: Options
    learners: Mapping[str, Options] = MappingProxyType({})
    others: Options = MappingProxyType({})

    def options(self, learner: str | None = None) -> dict[str, Any]:
        """All options of a learner; of the recipe's own where None.

        Examples:
            >>> RECIPES["paper-5way-1shot"].options("Proto-Net")["ways"]
            60
        """
        name = str(self.common["learner"] if learner is None else learner)
        return {**self.common, **self.learners.get(plain_name(name), self.others), "learner": name}


def plain_name(name: str) -> str:
    """The name of a method without what does not matter in it.

    Examples:
        >>> plain_name("Proto-Net") == plain_name("protonet")
        True
    """
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


_PRINTED: dict[str, Any] = {
    "data": "glyphs",
    "rotations": True,
    "learner": "ProtoNet",
    "backbone": "Conv4",
    "backbone_options": {"width": [32, 64, 64, 64], "halvings": 3, "norm_last": True},
    "ways": 30,
    "shots": 1,
    "queries": 4,
    "validation_ways": 5,
    "validation_queries": 5,
    "rate": 4e-3,
    "schedule": "one-cycle",
}
_TURNS: Options = {"turns": 5, "shift": 1, "temperature": 576.0, "learn_temperature": True}

_HANDWRITTEN: Options = {
    "data": "omniglot",
    "rotations": True,
    "warp": "affine",
    "learner": "ProtoNet",
    "backbone": "Conv4",
    "backbone_options": {"halvings": 3, "norm_last": True},
    "shots": 1,
    "validation_queries": 5,
    "schedule": "one-cycle",
}
_AVERAGED: Options = {"average": 0.999, "weight_decay": 0.01}
_MANY_WAYS: Options = {"ways": 60, "queries": 4, "rate": 4e-3, "steps": 14000, **_AVERAGED}
_PAPER: Mapping[str, Options] = {
    "protonet": {"learner_options": _TURNS, **_MANY_WAYS},
    "r2d2": _MANY_WAYS,
    "maml": {
        "backbone_options": {"width": [32, 64, 64, 64], "halvings": 3},
        "inner_steps": 2,
        "inner_rate": 0.1,
        "ways": 20,
        "queries": 4,
        "rate": 3e-3,
        "steps": 45000,
        **_AVERAGED,
    },
}
"""Few queries, many ways and warped images take a two-core machine an hour or so to what the papers
report; which options do was settled on meta-validation."""
_TEN_MINUTES: Options = {"ways": 20, "queries": 5, "rate": 3e-3, "steps": 6000}
"""What learners without a recipe of their own are told: ten minutes of one core or so."""
_QUICK: Options = {**_TEN_MINUTES, "steps": 7000}
_CAREFUL: Options = {**_TEN_MINUTES, "rate": 1e-3}
_FEW_WAYS: Options = {**_TEN_MINUTES, "ways": 5, "steps": 5000}
_COSTLY: Options = {**_FEW_WAYS, "steps": 3000}
_BUDGETS: Mapping[str, Options] = {
    **dict.fromkeys(("dkt", "lrd2", "matchingnet", "metabaseline"), _QUICK),
    **dict.fromkeys(("feat", "relationnet", "priorfitted"), _CAREFUL),
    "settransformer": {**_CAREFUL, "steps": 4000},
    # Small steps: after large ones the class whose example has the largest embedding wins.
    "anil": {**_FEW_WAYS, "steps": 9000, "inner_steps": 10, "inner_rate": 1e-3},
    **dict.fromkeys(("boil", "protomaml"), _FEW_WAYS),
    "mamlplusplus": _COSTLY,
    # Its inner steps have to come near a minimum, and nothing holds the start where they do.
    "imaml": {**_COSTLY, "rate": 1e-3, "inner_rate": 0.03},
    "metasgd": {**_FEW_WAYS, "steps": 10000},
    "reptile": {**_TEN_MINUTES, "steps": 2000},
    "softkmeans": {**_TEN_MINUTES, "steps": 2000, "unlabelled": 5},
}
"""Steps that take each of the others as long: they differ in what a step costs."""

_PHOTOS: Options = {
    "data": "grocery",
    "learner": "ProtoNet",
    "backbone": "Conv4",
    "backbone_options": {"width": [32, 64, 64, 64]},
    "shots": "1-5",
    "validation_ways": 5,
    "validation_shots": 1,
    "validation_queries": 5,
    "validation_tasks": 100,
    "schedule": "one-cycle",
}
_SOFTER: Options = {"temperature": 64.0, "learn_temperature": True}
_TEN_WAYS: Options = {"ways": 10, "queries": 4, "rate": 3e-3, "steps": 1600}


def _paper(ways: int, shots: int) -> Recipe:
    """The recipe of one column of the papers' tables.

    One training serves all columns, as heads are made at adaptation; they differ in what picks the
    weights that are kept.
    """
    return Recipe(
        f"Omniglot, Vinyals' split, {ways}-way {shots}-shot as in the papers",
        {**_HANDWRITTEN, "validation_ways": ways, "validation_shots": shots},
        {**_BUDGETS, **_PAPER},
        _TEN_MINUTES,
    )


RECIPES: Mapping[str, Recipe] = {
    "demo": Recipe(
        "printed to handwritten characters in minutes",
        _PRINTED | {"steps": 5000},
        {"protonet": {"learner_options": _TURNS}},
    ),
    "fonts": Recipe(
        "the same for longer",
        _PRINTED | {"steps": 20000},
        {"protonet": {"learner_options": _TURNS}},
    ),
    "grocery": Recipe(
        "photos of groceries, a quarter of an hour a learner",
        _PHOTOS,
        {
            "protonet": {**_TEN_WAYS, "learner_options": _SOFTER, "steps": 1500},
            "maml": {**_TEN_WAYS, "ways": 5, "inner_steps": 2, "inner_rate": 0.02, "steps": 1000},
            "simpleshot": {**_TEN_WAYS, "steps": 2200},
        },
        _TEN_WAYS,
    ),
    **{f"paper-{ways}way-{shots}shot": _paper(ways, shots) for ways in (5, 20) for shots in (1, 5)},
}

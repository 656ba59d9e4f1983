"""Which learners `benchmarks.accuracy` judges, how they are trained for it, and on which tasks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from quickstudy.data.unbalanced import ALIKE

NOTHING: Mapping[str, Any] = MappingProxyType({})
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
"""Way and shot, as the papers judge on Omniglot."""
QUERIES = {False: 5, True: 15}
"""A class, inductive and transductive: the more there are, the more a transductive method sees."""


class Variant(NamedTuple):
    """One way to train and judge a learner: a row of a table.

    Attributes:
        transductive: whether a prediction may depend on the other queries.
        name: what tells it from the learner's other rows, beside that.
        trained: its arguments in meta-training, beside the recipe's.
        told: its arguments when it is judged, beside those.
        unlabelled: support examples a class without a label; as in meta-training where None.

    Examples:
        >>> Variant(True, trained={"transductive": True}).run_of("MAML", 0)
        'MAML-transductive=True-0'
    """

    transductive: bool
    name: str = ""
    trained: Mapping[str, Any] = NOTHING
    told: Mapping[str, Any] = NOTHING
    unlabelled: int | None = None

    def run_of(self, learner: str, seed: int) -> str:
        """The name of the run that it judges."""
        return "-".join([learner, *(f"{k}={v}" for k, v in self.trained.items()), str(seed)])


class Protocol(NamedTuple):
    """How a table comes about.

    Attributes:
        recipe: what its learners are trained by.
        settings: way and shot of the columns.
        learners: None for those of classes that the other protocols leave.
        inner: steps and their rate at meta-test, of those that take others than in meta-training.
        variants: the rows of a learner, where they are not one for each mode that it has.
        runs: the protocol whose runs it judges; its own where None.
        shares: concentrations of the classes' shares of a task's queries, each a column of every
            setting; None for as many of each class.
        queries: a class; None for `QUERIES`.
    """

    recipe: str
    settings: Sequence[tuple[int, int]]
    learners: Sequence[str] | None = None
    inner: Mapping[str, tuple[int, float]] = MappingProxyType({})
    variants: Mapping[str, Sequence[Variant]] = MappingProxyType({})
    runs: str | None = None
    shares: Sequence[float | None] = (None,)
    queries: int | None = None


READERS = {
    "PTMAP": "ProtoNet",
    "TIM": "ProtoNet",
    "BDCSPN": "ProtoNet",
    "LaplacianShot": "ProtoNet",
}
"""Methods that train nothing of their own here, and whose net they read."""
TRANSDUCTIVE = {"transductive": True}
"""What a learner is told whose norms may use the queries' statistics, as the papers on MAML do."""

PROTOCOLS = {
    # The papers' recipes train alike and differ in the tasks of meta-validation, which pick the
    # weights that are kept: here the hardest ones.
    # Finn et al. 2017 take more inner steps as well. On meta-validation smaller ones are better at
    # 5 shots, of which meta-training had none, and no worse at 1.
    "omniglot full": Protocol(
        "paper-20way-1shot",
        SETTINGS,
        ("ProtoNet", "MAML", "R2D2", *READERS),
        {"MAML": (10, 0.01)},
        {
            "ProtoNet": (Variant(False), Variant(False, "no shifted views", told={"shift": 0})),
            "MAML": (Variant(False), Variant(True, trained=TRANSDUCTIVE)),
        },
    ),
    "omniglot unbalanced": Protocol(
        "paper-20way-1shot",
        SETTINGS[:2],
        ("ProtoNet", *READERS),
        variants={
            "ProtoNet": (Variant(False, "no shifted views", told={"shift": 0}),),
            "PTMAP": (Variant(True), Variant(True, "balance 0", told={"balance": 0.0})),
            "TIM": (Variant(True), Variant(True, "marginal 0", told={"marginal": 0.0})),
        },
        runs="omniglot full",
        shares=(ALIKE, 2.0),
        queries=5,
    ),
    "omniglot budget": Protocol(
        "paper-5way-1shot",
        SETTINGS[:1],
        variants={
            "SoftKMeans": (
                Variant(False, "5 unlabelled a class at meta-test", unlabelled=5),
                Variant(False, "none at meta-test", unlabelled=0),
            )
        },
    ),
    "grocery": Protocol("grocery", SETTINGS[:2], ("ProtoNet", "MAML", "R2D2", "SimpleShot")),
}


def variants(protocol: str, name: str) -> Sequence[Variant]:
    """The rows of a learner: by default one for each mode that it has."""
    from quickstudy.hub.catalogue import LEARNERS, parameters

    special = PROTOCOLS[protocol].variants.get(name)
    if special is not None:
        return special
    if "transductive" in parameters(LEARNERS[name]):
        return Variant(False), Variant(True, told=TRANSDUCTIVE)
    return (Variant(LEARNERS[name].transductive),)


def members() -> list[tuple[str, str]]:
    """Protocol and learner of all that is judged, in the order of the tables."""
    from quickstudy.hub.catalogue import TRAINABLE

    full = PROTOCOLS["omniglot full"].learners or ()
    others = [n for n, c in TRAINABLE.items() if "classes" in c.tasks and n not in full]
    return [(p, n) for p, told in PROTOCOLS.items() for n in told.learners or others]

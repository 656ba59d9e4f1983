"""How long learners take to adapt to one task and to answer its queries, as they are deployed."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from quickstudy.core import Learner, State, Task
from quickstudy.core.tasks import leaves
from quickstudy.errors import RunError
from quickstudy.hub.benching import SIDE, enough, in_turn, made_up_tasks, seconds
from quickstudy.hub.catalogue import LEARNERS, TRAINABLE, build_learner, find
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import keep_freed_memory

USUAL = (
    "ProtoNet", "MatchingNet", "RelationNet", "FEAT", "MetaBaseline", "BDCSPN", "R2D2", "LRD2",
    "SetTransformer", "ANIL", "CAVIA", "MAML",
)  # fmt: skip
"""Some of every family; who wants others names them."""


def bench_adapt(
    *,
    learners: Sequence[str] = (),
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    width: int = 64,
    repeats: int = 15,
    threads: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Milliseconds to adapt to one task and to answer its queries, for several learners.

    All on the Conv4 of the papers, on made-up images of 28x28, at their defaults and in evaluation;
    weights are untrained, as what they hold costs nothing.

    Args:
        learners: names of the catalogue; `USUAL` where none are given.
        ways: classes in a task.
        shots: support images of a class.
        queries: images of a class that are answered together.
        width: filters of each block.
        repeats: how often each is timed, >= 1.
        threads: of the CPU; as many as PyTorch likes if None.
        seed: of weights and task.

    Returns:
        `rows` of name, family, steps (None where nothing is repeated), adapt_ms and predict_ms
        (medians) with their spreads, and state_kb, what is kept for a task; and the setting.

    Raises:
        RunError: a number below 1, or a learner that is unknown or does not learn classes.

    Examples:
        >>> found = bench_adapt(learners=["proto-net", "maml"], width=4, queries=2, repeats=1)
        >>> [(row["name"], row["steps"]) for row in found["rows"]]
        [('ProtoNet', None), ('MAML', 5)]
    """
    used = torch.get_num_threads() if threads is None else threads
    counts = {
        "--ways": ways, "--shots": shots, "--queries": queries, "--width": width,
        "--repeats": repeats, "--threads": used,
    }  # fmt: skip
    enough(counts)
    able = {name: cls for name, cls in TRAINABLE.items() if "classes" in cls.tasks}
    found = [find(name, LEARNERS, "--learner", able).__name__ for name in learners or USUAL]
    for name in found:
        if name not in able:
            raise RunError(f"--learner must train on classes here, and {name} does not")
    names = list(dict.fromkeys(found))
    built = {name: _built(name, width, seed) for name in names}
    keep_freed_memory()  # as training does
    task = made_up_tasks(1, ways, shots, queries, seed)[0]
    with torch.no_grad():
        states = {name: learner.adapt(task.support) for name, learner in built.items()}
        works: dict[tuple[str, str], Callable[[], float]] = {}
        for name, learner in built.items():
            for what, call in _calls(learner, states[name], task).items():
                works[name, what] = partial(seconds, call, 1, used)
        timed = in_turn(works, repeats)
    rows = [
        {
            "name": name,
            "family": learner.family,
            "steps": getattr(learner, "steps", None),
            **_figures("adapt", timed[name, "adapt"]),
            **_figures("predict", timed[name, "predict"]),
            "state_kb": round(sum(t.nbytes for t in leaves(states[name])) / 1e3, 1),
        }
        for name, learner in built.items()
    ]
    return {
        "rows": rows,
        "threads": used,
        "device": "cpu",
        "ways": ways, "shots": shots, "queries": queries, "width": width, "side": SIDE,
        "backbone": "Conv4", "dtype": "float32", "repeats": repeats, "seed": seed,
        "cores": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip


def _built(name: str, width: int, seed: int) -> Learner:
    """As a deployed one is: in evaluation, without gradients."""
    torch.manual_seed(seed)
    learner = build_learner(TrainConfig(learner=name, width=width), (1, SIDE, SIDE))
    return learner.eval().requires_grad_(False)


def _calls(learner: Learner, state: State, task: Task) -> dict[str, Callable[[], object]]:
    return {
        "adapt": partial(learner.adapt, task.support),
        "predict": partial(learner.predict, state, task.query.x),
    }


def _figures(what: str, taken: list[float]) -> dict[str, Any]:
    ms = [1000 * s for s in taken]
    return {
        f"{what}_ms": round(median(ms), 2),
        f"{what}_spread_ms": [round(min(ms), 2), round(max(ms), 2)],
    }

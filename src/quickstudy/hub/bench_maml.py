"""How fast a step of MAML is here, and with what memory, beside other libraries.

Everybody gets the same net, weights, tasks and threads, and runs in turn in one process. Gradients
are compared with those of the plain loop in float64 before anything is timed.
"""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.core import SGD, Task
from quickstudy.core.tasks import tree_map
from quickstudy.errors import RunError
from quickstudy.hub.benching import SIDE, enough, made_up_tasks
from quickstudy.hub.comparing import OURS, Stepper, compared, gradient_errors, with_weights
from quickstudy.hub.devices import keep_freed_memory
from quickstudy.hub.peers import PlainConv4, Step, by_hand, peers_named
from quickstudy.learners import MAML
from quickstudy.learners.compiled import seconds_compiling
from quickstudy.nets import Conv4

COMPILED = f"{OURS}, compiled"
TASKS = 5
"""On which gradients are compared; the median counts, as a rounding may choose another maximum."""


class Loop(NamedTuple):
    """An inner loop: how many steps, at what rate."""

    steps: int
    rate: float


def bench_maml(
    *,
    peers: str = "",
    inner_steps: int = 1,
    inner_rate: float = 0.05,
    compiled: bool = False,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    width: int = 64,
    repeats: int = 15,
    threads: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Time and memory of MAML's gradient on one task, second order.

    The net is the Conv4 of the papers with pooling, on made-up images of 28x28; batch norms use the
    statistics of the batch, the head has a row for each way.

    Args:
        peers: other libraries, "higher,torchopt" for instance; each gets two rows, with its net as
            shipped and with ours in layout and order of pooling.
        inner_steps: of the inner loop, >= 1.
        inner_rate: of each, > 0.
        compiled: add a row for ourselves with compiled inner steps, and say what compiling took.
        ways: classes in a task.
        shots: support images of a class.
        queries: query images of a class.
        width: filters of each block.
        repeats: how often each is timed, >= 1.
        threads: of the CPU; as many as PyTorch likes if None.
        seed: of weights and tasks.
        dtype: "float32", or "float64" for many steps: in one of them a number may lie so close to a
            kink of relu or pooling that float32 takes the other side, and gradients part.

    Returns:
        `rows` of name, ms_per_task (median), spread_ms, peak_mb (tensors alive at once beyond those
        at the start) and gradient_error (relative, median over a few tasks);
        `speedup_over_fastest_peer`, of our fastest row over peers as shipped, None without peers;
        `compile_s`, None where nothing was compiled; and the setting.

    Raises:
        RunError: a number out of range, a peer that is not there, or a gradient that is wrong.

    Examples:
        >>> found = bench_maml(width=4, queries=2, repeats=1)
        >>> [row["name"] for row in found["rows"]], found["speedup_over_fastest_peer"]
        (['quickstudy', 'plain loop', 'plain loop, our layout'], None)
    """
    used = torch.get_num_threads() if threads is None else threads
    counts = {
        "--inner-steps": inner_steps, "--ways": ways, "--shots": shots, "--queries": queries,
        "--width": width, "--repeats": repeats, "--threads": used,
    }  # fmt: skip
    enough(counts)
    if not 0 < inner_rate < math.inf:
        raise RunError(f"--inner-rate must be a positive number, got {inner_rate}")
    if dtype not in ("float32", "float64"):
        raise RunError(f"--dtype must be float32 or float64, got {dtype!r}")
    named = peers_named(peers)
    keep_freed_memory()  # as training does
    tasks = made_up_tasks(TASKS, ways, shots, queries, seed)
    loop = Loop(inner_steps, inner_rate)
    steppers = _steppers({"plain loop": by_hand, **named}, ways, width, loop, seed, compiled)
    exact = _exact(steppers[OURS].net, ways, width, loop)
    if dtype == "float64":
        tasks = [tree_map(Tensor.double, task) for task in tasks]
        for stepper in steppers.values():
            stepper.net.double()
    errors = gradient_errors(steppers, exact, tasks)
    calls = {name: partial(stepper.step, tasks[0]) for name, stepper in steppers.items()}
    rows = compared(calls, errors, used, repeats)
    took_ms = {row["name"]: row["ms_per_task"] for row in rows}
    fastest = min((took_ms[name] for name in named), default=None)
    ours = min(took_ms[name] for name in (OURS, COMPILED) if name in took_ms)
    took = seconds_compiling(steppers[COMPILED].net) if compiled else 0.0
    return {
        "rows": rows,
        "speedup_over_fastest_peer": fastest and round(fastest / ours, 3),
        "compile_s": round(took, 1) if took else None,
        "threads": used,
        "device": "cpu",
        "inner_steps": inner_steps, "inner_rate": inner_rate, "ways": ways, "shots": shots,
        "queries": queries, "width": width, "side": SIDE, "order": 2, "dtype": dtype,
        "repeats": repeats, "seed": seed, "cores": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip


def _steppers(
    steps: Mapping[str, Step], ways: int, width: int, loop: Loop, seed: int, compiled: bool
) -> dict[str, Stepper]:
    """Ourselves and two of each step, its net as shipped and laid out as ours; equal weights."""
    steppers = {}
    for name in (OURS, COMPILED) if compiled else (OURS,):
        torch.manual_seed(seed)
        net = Conv4(1, width, SIDE)
        ours = MAML(
            net, SGD(loop.rate), loop.steps, outputs=ways, transductive=True,
            compiled=name == COMPILED,
        )  # fmt: skip
        steppers[name] = Stepper(ours, ours.loss)
    weights = list(ours.parameters())
    for name, step in steps.items():
        for laid_out in (False, True):
            plain = with_weights(PlainConv4(ways, width, SIDE, laid_out), weights)
            called = f"{name}, our layout" if laid_out else name
            steppers[called] = Stepper(plain, _losses(step, plain, loop))
    return steppers


def _losses(step: Step, net: nn.Module, loop: Loop) -> Callable[[Task], Tensor]:
    return lambda task: step(net, task, loop.steps, loop.rate)


def _exact(ours: nn.Module, ways: int, width: int, loop: Loop) -> Stepper:
    """The plain loop in float64 from the same weights."""
    net = with_weights(PlainConv4(ways, width, SIDE).double(), list(ours.parameters()))
    return Stepper(net, _losses(by_hand, net, loop))

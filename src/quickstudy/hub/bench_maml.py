"""How fast a step of MAML is here, and with what memory, beside other libraries.

Everybody gets the same net, weights, tasks and threads, and runs in turn in one process. Gradients
are compared with those of the plain loop in float64 before anything is timed.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from quickstudy.core import SGD, Examples, Task
from quickstudy.core.tasks import tree_map
from quickstudy.errors import RunError
from quickstudy.hub.benching import SIDE, in_turn, seconds
from quickstudy.hub.devices import keep_freed_memory
from quickstudy.hub.peers import PlainConv4, Step, by_hand, peers_named
from quickstudy.learners import MAML
from quickstudy.learners.compiled import seconds_compiling
from quickstudy.nets import Conv4

OURS, COMPILED = "quickstudy", "quickstudy, compiled"
WORST = 1e-4
"""Relative error of a gradient beyond which a speed says nothing."""
TASKS = 5
"""On which gradients are compared; the median counts, as a rounding may choose another maximum."""


class Loop(NamedTuple):
    """An inner loop: how many steps, at what rate."""

    steps: int
    rate: float


class Runner(NamedTuple):
    """Somebody who takes a step: the net that holds the gradients, and the step on a task."""

    net: nn.Module
    step: Callable[[Task], Tensor]


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
    for name, value in counts.items():
        if value < 1:
            raise RunError(f"{name} must be at least 1, got {value}")
    if not inner_rate > 0:
        raise RunError(f"--inner-rate must be positive, got {inner_rate}")
    if dtype not in ("float32", "float64"):
        raise RunError(f"--dtype must be float32 or float64, got {dtype!r}")
    named = peers_named(peers)
    keep_freed_memory()  # as training does
    generator = torch.Generator().manual_seed(seed)
    tasks = [_task(ways, shots, queries, generator) for _ in range(TASKS)]
    loop = Loop(inner_steps, inner_rate)
    runners = _runners({"plain loop": by_hand, **named}, ways, width, loop, seed, compiled)
    exact = _exact(runners, ways, width, loop)
    if dtype == "float64":
        tasks = [tree_map(Tensor.double, task) for task in tasks]
        for runner in runners.values():
            runner.net.double()
    errors = _errors(runners, exact, tasks)
    calls = {name: partial(_gradient, runner, tasks[0]) for name, runner in runners.items()}
    for runner in runners.values():
        runner.net.zero_grad(set_to_none=True)
    rows = compared(calls, errors, used, repeats)
    took_ms = {row["name"]: row["ms_per_task"] for row in rows}
    fastest = min((took_ms[name] for name in named), default=None)
    ours = min(took_ms[name] for name in (OURS, COMPILED) if name in took_ms)
    took = seconds_compiling(runners[COMPILED].net) if compiled else 0.0
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


def _runners(
    steps: Mapping[str, Step], ways: int, width: int, loop: Loop, seed: int, compiled: bool
) -> dict[str, Runner]:
    """Ourselves and two of each step, its net as shipped and laid out as ours; equal weights."""
    runners = {}
    for name in (OURS, COMPILED) if compiled else (OURS,):
        torch.manual_seed(seed)
        net = Conv4(1, width, SIDE)
        ours = MAML(
            net, SGD(loop.rate), loop.steps, outputs=ways, transductive=True,
            compiled=name == COMPILED,
        )  # fmt: skip
        runners[name] = Runner(ours, ours.loss)
    weights = list(ours.parameters())
    for name, step in steps.items():
        for laid_out in (False, True):
            plain = _with_weights(PlainConv4(ways, width, SIDE, laid_out), weights)
            called = f"{name}, our layout" if laid_out else name
            runners[called] = Runner(plain, _stepper(step, plain, loop))
    return runners


def _stepper(step: Step, net: nn.Module, loop: Loop) -> Callable[[Task], Tensor]:
    return lambda task: step(net, task, loop.steps, loop.rate)


def _with_weights(net: nn.Module, weights: list[nn.Parameter]) -> nn.Module:
    with torch.no_grad():
        for mine, given in zip(net.parameters(), weights, strict=True):
            mine.copy_(given)
    return net


def _task(ways: int, shots: int, queries: int, generator: torch.Generator) -> Task:
    def half(each: int) -> Examples:
        x = torch.rand(ways * each, 1, SIDE, SIDE, generator=generator)
        return Examples(x, torch.eye(ways).repeat_interleave(each, 0), torch.ones(ways * each))

    return Task(half(shots), half(queries))


def _gradient(runner: Runner, task: Task) -> Float[Tensor, " parameters"]:
    """The gradient of one task's loss, for all parameters in a row."""
    runner.net.zero_grad(set_to_none=True)
    loss = runner.step(task)
    if isinstance(runner.net, MAML):  # a peer's step has done it
        loss.backward()
    return torch.cat([p.grad.flatten() for p in runner.net.parameters() if p.grad is not None])


def _exact(runners: Mapping[str, Runner], ways: int, width: int, loop: Loop) -> Runner:
    """The plain loop in float64 from the same weights."""
    net = PlainConv4(ways, width, SIDE).double()
    weights = list(runners[OURS].net.parameters())
    return Runner(_with_weights(net, weights), _stepper(by_hand, net, loop))


def _errors(runners: Mapping[str, Runner], exact: Runner, tasks: list[Task]) -> dict[str, float]:
    """How far each one's gradients are from exact ones, relatively; the median over the tasks.

    Raises:
        RunError: too far to compare speeds.
    """
    wanted = [_gradient(exact, tree_map(Tensor.double, task)) for task in tasks]
    errors = {}
    for name, runner in runners.items():
        found = [_gradient(runner, task).double() for task in tasks]
        off = [float((f - w).norm() / w.norm()) for f, w in zip(found, wanted, strict=True)]
        errors[name] = median(off)
    if wrong := [f"{name} by {error:.1e}" for name, error in errors.items() if error > WORST]:
        raise RunError(
            f"gradients must be right to {WORST} for speeds to say something; off are "
            + ", ".join(wrong)
            + "; with many steps, --dtype float64"
        )
    return errors


def compared(
    calls: Mapping[str, Callable[[], object]],
    errors: Mapping[str, float],
    threads: int,
    repeats: int,
) -> list[dict[str, Any]]:
    """Rows of who does the same work in what time and memory, in turns, and how exactly.

    Examples:
        >>> [row["name"] for row in compared({"idle": lambda: None}, {"idle": 0.0}, 1, 1)]
        ['idle']
    """
    peaks = {name: peak_mb(call) for name, call in calls.items()}
    works = {name: partial(seconds, call, 1, threads) for name, call in calls.items()}
    timed = {name: [1000 * s for s in taken] for name, taken in in_turn(works, repeats).items()}
    return [
        {
            "name": name,
            "ms_per_task": round(median(taken), 2),
            "spread_ms": [round(min(taken), 2), round(max(taken), 2)],
            "peak_mb": round(peaks[name], 1),
            "gradient_error": float(f"{errors[name]:.1e}"),
        }
        for name, taken in timed.items()
    ]


def peak_mb(work: Callable[[], object]) -> float:
    """The most megabytes of tensors on the CPU that are alive at once, beyond those at the start.

    Examples:
        >>> round(peak_mb(lambda: torch.zeros(1000, 1000)))
        4
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it tells the screen when it starts
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak / 1e6

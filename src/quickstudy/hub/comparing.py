"""What a comparison of speeds asks first: that all do the same work, and rightly.

Whoever takes part runs in turn in one process on the same task; gradients are compared with exact
ones before anything is timed.
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

from quickstudy.core import Task
from quickstudy.core.tasks import tree_map
from quickstudy.errors import RunError
from quickstudy.hub.benching import in_turn, seconds

OURS = "quickstudy"
WORST = 1e-4
"""Relative error of a gradient beyond which a speed says nothing."""


class Stepper(NamedTuple):
    """Somebody who takes a step: the net that holds the gradients, and the loss of a task."""

    net: nn.Module
    loss: Callable[[Task], Tensor]

    def step(self, task: Task) -> None:
        """Forward and backward, from no gradients at all."""
        self.net.zero_grad(set_to_none=True)
        self.loss(task).backward()

    def gradient(self, task: Task) -> Float[Tensor, " parameters"]:
        """What a step leaves, for all parameters in a row."""
        self.step(task)
        return torch.cat([p.grad.flatten() for p in self.net.parameters() if p.grad is not None])


def with_weights(net: nn.Module, weights: list[nn.Parameter]) -> nn.Module:
    """The net, with the numbers of other parameters in the same order.

    Examples:
        >>> one, other = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> torch.equal(with_weights(one, list(other.parameters())).weight, other.weight)
        True
    """
    with torch.no_grad():
        for mine, given in zip(net.parameters(), weights, strict=True):
            mine.copy_(given)
    return net


def gradient_errors(
    steppers: Mapping[str, Stepper], exact: Stepper, tasks: list[Task]
) -> dict[str, float]:
    """How far each one's gradients are from exact ones, relatively; the median over the tasks.

    Args:
        steppers: by name.
        exact: of the same weights, in float64.
        tasks: in float32.

    Raises:
        RunError: too far to compare speeds.
    """
    wanted = [exact.gradient(tree_map(Tensor.double, task)) for task in tasks]
    errors = {}
    for name, stepper in steppers.items():
        found = [stepper.gradient(task).double() for task in tasks]
        off = [float((f - w).norm() / w.norm()) for f, w in zip(found, wanted, strict=True)]
        errors[name] = median(off)
    if wrong := [f"{name} by {error:.1e}" for name, error in errors.items() if not error <= WORST]:
        raise RunError(
            f"gradients must be right to {WORST} for speeds to say something; off are "
            + ", ".join(wrong)
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

"""How fast a training step of ProtoNet is here, and with what memory, beside the plain one.

Same net, weights, task and threads, in turn in one process. Gradients are compared with those of
the plain step in float64 before anything is timed.
"""

import os
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Task
from quickstudy.hub.benching import SIDE, enough, made_up_tasks
from quickstudy.hub.comparing import OURS, Stepper, compared, gradient_errors, with_weights
from quickstudy.hub.devices import keep_freed_memory
from quickstudy.hub.peers import PlainConv4
from quickstudy.learners import ProtoNet
from quickstudy.nets import Conv4

PLAIN = "plain PyTorch"
CHECKED, TASKS = {"ways": 5, "shots": 1, "queries": 1}, 9
"""The largest tasks on which gradients are compared, and how many; the median counts.

Two values in one window of pooling can be so close that rounding chooses the other one, and the
gradient jumps. Among few images that is rare.
"""


def bench_protonet(
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    width: int = 64,
    repeats: int = 15,
    threads: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Time and memory of ProtoNet's gradient on one task, in float32.

    The net is the Conv4 of the papers with pooling, on made-up images of 28x28; batch norms use the
    statistics of the task, and distances are Euclidean. What we stand beside is Snell et al. 2017
    written down with torch's own layers, as papers' code ships it, and once more laid out in memory
    as ours is.

    Args:
        ways: classes in a task.
        shots: support images of a class.
        queries: query images of a class.
        width: filters of each block.
        repeats: how often each is timed, >= 1.
        threads: of the CPU; as many as PyTorch likes if None.
        seed: of weights and tasks.

    Returns:
        `rows` of name, ms_per_task (median), spread_ms, peak_mb (tensors alive at once beyond those
        at the start) and gradient_error (relative, median over a few small tasks);
        `speedup_over_fastest_peer`, the plain step as shipped; and the setting.

    Raises:
        RunError: a number out of range, or a gradient that is wrong.

    Examples:
        >>> found = bench_protonet(width=4, queries=2, repeats=1)
        >>> [row["name"] for row in found["rows"]]
        ['quickstudy', 'plain PyTorch', 'plain PyTorch, our layout']
    """
    used = torch.get_num_threads() if threads is None else threads
    counts = {
        "--ways": ways, "--shots": shots, "--queries": queries, "--width": width,
        "--repeats": repeats, "--threads": used,
    }  # fmt: skip
    enough(counts)
    keep_freed_memory()  # as training does
    sizes = {"ways": ways, "shots": shots, "queries": queries}
    task = made_up_tasks(1, **sizes, seed=seed)[0]
    small = {name: min(size, CHECKED[name]) for name, size in sizes.items()}
    steppers, exact = _steppers(width, seed)
    errors = gradient_errors(steppers, exact, made_up_tasks(TASKS, **small, seed=seed))
    calls = {name: partial(stepper.step, task) for name, stepper in steppers.items()}
    rows = compared(calls, errors, used, repeats)
    took = {row["name"]: row["ms_per_task"] for row in rows}
    return {
        "rows": rows,
        "speedup_over_fastest_peer": round(took[PLAIN] / took[OURS], 3),
        "threads": used,
        "device": "cpu",
        **sizes,
        "width": width, "side": SIDE, "distance": "euclidean", "dtype": "float32",
        "repeats": repeats, "seed": seed, "cores": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip


def plain_loss(net: nn.Module, task: Task) -> Float[Tensor, ""]:
    """Snell et al. 2017, algorithm 1, as usually written: one pass for support and query.

    Args:
        net: images [n, 1, size, size] to embeddings [n, d].
        task: its support stands class by class, as many of each.

    Examples:
        >>> plain_loss(nn.Flatten(), made_up_tasks(1, ways=1, shots=1, queries=1)[0]).item()
        0.0
    """
    n, ways = task.support.y.shape
    z = net(torch.cat([task.support.x, task.query.x]))
    prototypes = z[:n].view(ways, -1, z.shape[1]).mean(1)
    distances = (z[n:, None] - prototypes[None]).pow(2).sum(2)
    return nn.functional.cross_entropy(-distances, task.query.y.argmax(1))


def _steppers(width: int, seed: int) -> tuple[dict[str, Stepper], Stepper]:
    """Ourselves and the plain step in two layouts, of equal weights; and the exact one."""
    torch.manual_seed(seed)
    ours = ProtoNet(Conv4(1, width, SIDE))
    weights = list(ours.parameters())
    plain, laid_out, double = (
        _plain(width, weights, ours=layout) for layout in (False, True, False)
    )
    steppers = {
        OURS: Stepper(ours, ours.loss),
        PLAIN: Stepper(plain, partial(plain_loss, plain)),
        f"{PLAIN}, our layout": Stepper(laid_out, partial(plain_loss, laid_out)),
    }
    return steppers, Stepper(double.double(), partial(plain_loss, double))


def _plain(width: int, weights: list[nn.Parameter], ours: bool) -> nn.Module:
    net = PlainConv4(1, width, SIDE, ours)
    net.head = nn.Identity()
    return with_weights(net, weights)

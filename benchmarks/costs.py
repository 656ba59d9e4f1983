"""What a training step of MAML and of ProtoNet costs, beside the arithmetic that it cannot avoid.

    python -m benchmarks.costs                  # measures, and writes figures, pictures and tables
    python -m benchmarks.costs --threads 1 --repeats 9
    python -m benchmarks.costs --only-docs      # pictures and tables from the stored figures

Time and peak memory against tasks a step, inner steps, ways and width, on made-up 28x28 images; the
points of a curve run in turn. The floor is the number of operations (benchmarks.flops) divided by
the fastest that large matrix products or convolutions ran here, on as many threads. Nothing else
should run meanwhile.
"""

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from benchmarks import flops
from benchmarks.costs_picture import MEMORY, PAGE, TIME, draw, tables
from benchmarks.pages import write_between
from quickstudy.core import SGD, Batching, Learner, stack
from quickstudy.core.batching import accumulate_gradients
from quickstudy.hub.benching import SIDE, in_turn, made_up_tasks, seconds
from quickstudy.hub.comparing import peak_mb
from quickstudy.hub.devices import keep_freed_memory
from quickstudy.learners import MAML, ProtoNet
from quickstudy.nets import MLP, Conv4

RESULTS = Path(__file__).parent / "results" / "costs.json"
SHOTS, QUERIES, RATE = 1, 15, 0.05
BASE = {"tasks": 1, "steps": 1, "ways": 5, "width": 64}
"""What the other numbers are while one of them changes."""
GRID = {
    "tasks": (1, 2, 4, 8, 16),
    "steps": (1, 2, 3, 5, 10),
    "ways": (2, 5, 10, 20),
    "width": (16, 32, 48, 64),
}
LEARNERS = ("MAML", "ProtoNet")
HIDDEN = (64, 64)
"""Of the multilayer perceptron among the choices."""
CHOICE_TASKS = 4

Works = Mapping[Any, Callable[[], object]]


def learner(name: str, at: Mapping[str, int], **net: Any) -> Learner:
    """MAML as in the paper, with a head for each way and norms of the batch; or ProtoNet."""
    torch.manual_seed(0)
    return with_net(name, Conv4(1, at["width"], SIDE, **net), at)


def with_net(
    name: str, net: torch.nn.Module, at: Mapping[str, int], first_order: bool = False
) -> Learner:
    if name == "ProtoNet":
        return ProtoNet(net)
    return MAML(
        net, SGD(RATE), steps=at["steps"], outputs=at["ways"], transductive=True,
        first_order=first_order,
    )  # fmt: skip


def step(
    built: Learner, at: Mapping[str, int], mode: Literal["loop", "vmap"] = "loop"
) -> Callable[[], object]:
    """The gradient of a step's tasks, as `fit` takes it."""
    batch = stack(made_up_tasks(at["tasks"], at["ways"], SHOTS, QUERIES))
    batching = Batching(mode, chunk=at["tasks"])

    def run() -> None:
        built.zero_grad(set_to_none=True)
        accumulate_gradients(built, batch, batching)

    return run


def operations(name: str, at: Mapping[str, int]) -> int:
    """The floating-point operations of a step."""
    sizes = (at["ways"], SHOTS, QUERIES)
    if name == "ProtoNet":
        side = SIDE // 16
        one = flops.protonet(flops.conv4(at["width"]), at["width"] * side**2, *sizes)
    else:
        one = flops.maml(flops.conv4(at["width"], outputs=at["ways"]), at["steps"], *sizes)
    return at["tasks"] * one


def timed(works: Works, repeats: int, threads: int) -> dict[Any, dict[str, Any]]:
    """Milliseconds and peak megabytes of each."""
    peaks = {key: peak_mb(work) for key, work in works.items()}
    taken = in_turn({k: partial(seconds, w, 1, threads) for k, w in works.items()}, repeats)
    return {
        key: {
            "ms": round(1000 * median(taken[key]), 2),
            "spread_ms": [round(1000 * end(taken[key]), 2) for end in (min, max)],
            "peak_mb": round(peaks[key], 1),
        }
        for key in works
    }


def curve(
    along: str, values: Sequence[int], base: Mapping[str, int], repeats: int, threads: int
) -> list[dict[str, Any]]:
    """The costs of both learners while one number changes; ProtoNet has no inner steps."""
    places = {
        (name, value): {**base, along: value}
        for name in LEARNERS
        for value in values
        if not (name == "ProtoNet" and along == "steps")
    }
    works = {(name, v): step(learner(name, at), at) for (name, v), at in places.items()}
    found = timed(works, repeats, threads)
    return [
        {
            "learner": name,
            "at": value,
            **found[name, value],
            "gflop": round(operations(name, at) / 1e9, 4),
        }
        for (name, value), at in places.items()
    ]


def rates(threads: int, side: int = 1536, images: int = 80) -> dict[str, float]:
    """The fastest that this machine multiplies matrices and convolves images, in GFLOP/s."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    x = torch.rand(images, 64, 14, 14).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "matmul": (2 * side**3, lambda: a @ b),
        "convolution": (
            images * flops.convolution(64, 64, 14),
            lambda: torch.conv2d(x, weight, padding=1),
        ),
    }
    taken = in_turn({k: partial(seconds, w, 1, threads) for k, (_, w) in works.items()}, 10)
    return {key: round(works[key][0] / min(t) / 1e9, 1) for key, t in taken.items()}


def choices(base: Mapping[str, int], repeats: int, threads: int) -> list[dict[str, Any]]:
    """What the settings change that a user can turn; each with a few tasks a step."""
    at = {**base, "tasks": CHOICE_TASKS}
    dense = partial(MLP, SIDE * SIDE, HIDDEN, at["width"])
    conv = partial(Conv4, 1, at["width"], SIDE)
    made: dict[str, Callable[[], object]] = {
        "MAML": step(learner("MAML", at), at),
        "MAML, strides instead of pooling": step(learner("MAML", at, down="stride"), at),
        "MAML, norm after pooling": step(learner("MAML", at, norm_last=True), at),
        "MAML, first order": step(with_net("MAML", conv(), at, first_order=True), at),
        "MAML, tasks together": step(learner("MAML", at), at, "vmap"),
        "ProtoNet": step(learner("ProtoNet", at), at),
        "ProtoNet, strides instead of pooling": step(learner("ProtoNet", at, down="stride"), at),
        "ProtoNet, norm after pooling": step(learner("ProtoNet", at, norm_last=True), at),
        "MAML on an MLP": step(with_net("MAML", dense(), at), at, "loop"),
        "MAML on an MLP, tasks together": step(with_net("MAML", dense(), at), at, "vmap"),
    }
    found = timed(made, repeats, threads)
    one = {name: made[name] for name in ("MAML", "ProtoNet")}
    rows = [{"name": name, "threads": threads, **row} for name, row in found.items()]
    if threads > 1:
        alone = timed(one, repeats, 1)
        rows += [{"name": f"{n}, 1 thread", "threads": 1, **row} for n, row in alone.items()]
    for row in rows:
        row["ms_per_task"] = round(row["ms"] / CHOICE_TASKS, 2)
    return rows


def measure(
    repeats: int,
    threads: int,
    base: Mapping[str, int] = BASE,
    grid: Mapping[str, Sequence[int]] = GRID,
) -> dict[str, Any]:
    """All that the file holds; a curve's floors are in `floor_ms`."""
    load = os.getloadavg()[0]
    keep_freed_memory()  # as training does
    before = rates(threads)
    curves = {along: curve(along, v, base, repeats, threads) for along, v in grid.items()}
    told = choices(base, repeats, threads)
    after = rates(threads)
    fastest = {key: max(before[key], after[key]) for key in before}
    for rows in curves.values():
        for row in rows:
            row["floor_ms"] = round(1000 * row["gflop"] / max(fastest.values()), 2)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": threads,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "load_before": round(load, 1),
        "repeats": repeats,
        "shots": SHOTS,
        "queries": QUERIES,
        "side": SIDE,
        "base": dict(base),
        "gflop_per_second": fastest,
        "curves": curves,
        "choices": told,
        "choice_tasks": CHOICE_TASKS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    if not args.only_docs:
        found = measure(args.repeats, args.threads)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    draw(found, "ms", TIME)
    draw(found, "peak_mb", MEMORY)
    write_between(PAGE, tables(found))


if __name__ == "__main__":
    main()

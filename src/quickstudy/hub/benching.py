"""How fast the parts are on this machine, each beside what it is judged by.

What is compared runs in turn in one process, so that a busy moment meets all of it, and what is
reported is the median of the repeats with the lowest and the highest.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from quickstudy.core import Examples, Fit, Task
from quickstudy.data.episodes import Episodes
from quickstudy.data.pools import Pool
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import build_learner
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import keep_freed_memory

CLASSES, IMAGES, SIDE = 1028, 20, 28
"""What meta-train of Omniglot has (Vinyals et al. 2016, as split by Ravi and Larochelle 2017)."""
BATCHES = (1, 4, 16, 64)
"""Numbers of tasks that are sampled at once, for comparison."""
SAMPLED = 256
"""About so many tasks are sampled in each repeat: long beside the clock, short beside a step."""


def bench_sampler(
    *,
    batch: int = 4,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    repeats: int = 15,
    threads: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How fast tasks are sampled on one core, and what share of a ProtoNet training step that is.

    The pool has the shape of Omniglot's meta-train and holds noise, as what images show costs
    nothing. A step is one of `fit` with its defaults (sample, forward, backward, clip, Adam) on
    the default Conv4, with as many tasks as are sampled at once.

    Args:
        batch: tasks sampled at once and in a step, >= 1; that of `fit` if not given.
        ways: classes in a task.
        shots: support images of a class.
        queries: query images of a class.
        repeats: how often each is timed, >= 1.
        threads: of the step; as many as PyTorch likes if None. Sampling always gets one.
        seed: of pool and tasks.

    Returns:
        `tasks_per_second` and `share_of_protonet_step`, medians over the repeats; their `spread`;
        the same speed `by_batch`; and the setting.

    Raises:
        RunError: a number below 1.
        DataError: a setting that the pool has no tasks for.

    Examples:
        >>> found = bench_sampler(repeats=1)
        >>> found["tasks_per_second"] > 0, 0 < found["share_of_protonet_step"] < 1
        (True, True)
    """
    step_threads = torch.get_num_threads() if threads is None else threads
    enough({"--batch": batch, "--repeats": repeats, "--threads": step_threads})
    keep_freed_memory()  # as training does
    source = Episodes(made_up_pool(seed), ways, shots, queries)
    learner = build_learner(TrainConfig(learner="ProtoNet"), (1, SIDE, SIDE))
    fit = Fit(learner, source, steps=repeats + 2, tasks_per_step=batch, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    works: dict[int | str, Callable[[], float]] = {
        size: _sampling(source, size, generator) for size in sorted({batch, *BATCHES})
    }
    works["step"] = lambda: seconds(lambda: next(fit), 1, step_threads)
    timed = in_turn(works, repeats)
    steps = timed.pop("step")
    speeds = {size: [int(size) / s for s in taken] for size, taken in timed.items()}
    shares = [s / step for s, step in zip(timed[batch], steps, strict=True)]
    return {
        "tasks_per_second": round(median(speeds[batch]), 1),
        "share_of_protonet_step": round(median(shares), 6),
        "spread": {
            "tasks_per_second": _ends(speeds[batch], 1),
            "share_of_protonet_step": _ends(shares, 6),
        },
        "batch": batch,
        "by_batch": {str(size): round(median(values), 1) for size, values in speeds.items()},
        "step_seconds": round(median(steps), 6),
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "pool": {"classes": CLASSES, "images_a_class": IMAGES, "side": SIDE, "made_up": True},
        "backbone": "Conv4",
        "repeats": repeats,
        "seed": seed,
        "threads": {"sampler": 1, "step": step_threads},
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }


def enough(counts: Mapping[str, int]) -> None:
    """Refuse to measure none of something, or to tell one class from no other.

    Args:
        counts: numbers by the option that gave them.

    Raises:
        RunError: one of them is below 1, or ways below 2.

    Examples:
        >>> enough({"--ways": 2, "--shots": 1})
    """
    for name, value in counts.items():
        least = 2 if name == "--ways" else 1
        if value < least:
            raise RunError(f"{name} must be at least {least}, got {value}")


def made_up_tasks(count: int, ways: int, shots: int, queries: int, seed: int = 0) -> list[Task]:
    """Tasks of noise, images [n, 1, 28, 28] class by class; for what does not look at them.

    Args:
        count: how many.
        ways: classes in a task.
        shots: support images of a class.
        queries: query images of a class.
        seed: of the noise.

    Examples:
        >>> made_up_tasks(1, ways=2, shots=1, queries=3)[0].query.x.shape
        torch.Size([6, 1, 28, 28])
    """
    generator = torch.Generator().manual_seed(seed)

    def half(each: int) -> Examples:
        x = torch.rand(ways * each, 1, SIDE, SIDE, generator=generator)
        return Examples(x, torch.eye(ways).repeat_interleave(each, 0), torch.ones(ways * each))

    return [Task(half(shots), half(queries)) for _ in range(count)]


def made_up_pool(seed: int = 0) -> Pool:
    """Noise in the shape of Omniglot's meta-train: uint8 images [20560, 1, 28, 28]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (CLASSES * IMAGES, 1, SIDE, SIDE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Pool.from_labels(images, torch.arange(CLASSES).repeat_interleave(IMAGES))


def in_turn(works: Mapping[Any, Callable[[], float]], repeats: int) -> dict[Any, list[float]]:
    """Time several things one after the other, again and again; a first round is not counted.

    Args:
        works: by name, each run and its time taken by itself (see `seconds`).
        repeats: rounds that count.

    Returns:
        [repeats] seconds for each name, in the order of the rounds.

    Examples:
        >>> in_turn({"a": lambda: 2.0, "b": lambda: 3.0}, repeats=2)
        {'a': [2.0, 2.0], 'b': [3.0, 3.0]}
    """
    rounds = [{name: work() for name, work in works.items()} for _ in range(repeats + 1)]
    return {name: [taken[name] for taken in rounds[1:]] for name in works}


def seconds(work: Callable[[], object], calls: int, threads: int) -> float:
    """Seconds of one call by the clock on the wall, the mean over `calls` of them.

    Args:
        work: what is timed.
        calls: how often in a row.
        threads: of the CPU while it runs.
    """
    with _threads(threads):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) / calls


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sampling(source: Episodes, size: int, generator: torch.Generator) -> Callable[[], float]:
    calls = max(1, SAMPLED // size)
    return lambda: seconds(lambda: source.sample(size, generator), calls, threads=1)


def _ends(values: list[float], digits: int) -> list[float]:
    return [round(min(values), digits), round(max(values), digits)]

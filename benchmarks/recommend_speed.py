"""How fast a recommender reads a history and ranks a large catalogue, on one core; what it holds.

    python -m benchmarks.recommend_speed                # 100,000 items, 1,000,000 interactions
    python -m benchmarks.recommend_speed --items 20000
    python -m benchmarks.recommend_speed --train --interactions 10000000    # all of training
    python -m benchmarks.recommend_speed --states 1000000    # of 50 interactions, held at once

Interactions are drawn: popularity falls as a cube, users like what they like. What is measured does
not depend on what the heads have learned, so their weights are those they begin with. Adapting and
ranking are timed together, the parts also alone, in turns; the file holds medians and spreads.
Training is whole: tables are read, statistics counted twice, heads learned. Peaks of memory are the
process's, with the tables that were drawn.
"""

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.apps.recommend import Log, Recommender, items, train
from quickstudy.apps.recommend.evidence import RANKING, RATING
from quickstudy.apps.recommend.heads import Head
from quickstudy.apps.recommend.reader import Reader
from quickstudy.apps.recommend.statistics import Statistics

RESULTS = Path(__file__).parent / "results" / "recommend_speed.json"
TRAINING = RESULTS.with_name("recommend_training.json")
REPEATS = 50


def drawn(count: int, rows: int, seed: int = 0) -> Log:
    """Interactions of one user in fifty rows with items of falling popularity."""
    random = np.random.default_rng(seed)
    users = max(rows // 50, 10)
    item = np.minimum((count * random.random(rows) ** 3).astype(np.int64), count - 1)
    pairs = np.unique(random.integers(0, users, rows) * count + item)
    return Log(
        user=pairs // count,
        item=pairs % count,
        value=random.integers(1, 6, len(pairs)).astype(np.float32),
        time=random.random(len(pairs)) * 1e7,
        users=[str(user) for user in range(users)],
        items=[f"{item:07d}" for item in range(count)],
        scale=(1.0, 5.0),
    )


def features(names: Sequence[str]) -> dict[str, Any]:
    """A table of items."""
    return {
        "item": names,
        "kind": [f"k{place % 20}|t{place % 50}" for place in range(len(names))],
        "price": np.random.default_rng(0).random(len(names)),
    }


def recommender(log: Log) -> Recommender:
    names = list(log.items)
    heads = [Head(len(names)).eval() for names in (RANKING, RATING)]
    content = items(features(names)).of(names)
    return Recommender(Reader(Statistics.of(log), content, *heads), names)


def machine() -> str:
    return platform.processor() or platform.machine()


def peak() -> float:
    """The most memory that this process held so far, in GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def measure_training(count: int, rows: int) -> dict[str, Any]:
    """Tables in memory to a recommender."""
    log = drawn(count, rows)
    names, users = list(log.items), len(log.users)
    table = {"user": log.user, "item": log.item, "rating": log.value, "time": log.time}
    # Names as the interactions' are when read.
    known = features([str(place) for place in range(len(names))])
    del log
    began = time.perf_counter()

    def looked(done: int, total: int) -> None:
        took = time.perf_counter() - began
        print(f"{done} of {total}, {took:.0f} s, {peak()} GB", file=sys.stderr, flush=True)

    made = train(table, known, looked=looked)
    seconds = time.perf_counter() - began
    assert len(made.items) == count
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "users": users,
        "items": count,
        "interactions": len(table["user"]),
        "seconds": round(seconds, 1),
        "peak_gigabytes": peak(),
    }


def measure_states(count: int, known: int, states: int, size: int = 50) -> dict[str, Any]:
    """States of that many users, alive at once beside the recommender that made them."""
    log = drawn(count, known)
    made = recommender(log)
    before = peak()
    random = np.random.default_rng(0)
    began = time.perf_counter()
    held = []
    for _ in range(states):
        start = int(random.integers(count - size))
        held.append(made.adapt(log.items[start : start + size]))
    return {
        "machine": machine(),
        "states": len(held),
        "interactions_each": size,
        "bytes_each": sum(tensor.nbytes for tensor in held[-1].values()),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_gigabytes_before": before,
        "peak_gigabytes": peak(),
    }


def store(kind: str, key: str, told: dict[str, Any]) -> None:
    """Put one measurement among those of training."""
    results = json.loads(TRAINING.read_text(encoding="utf-8")) if TRAINING.exists() else {}
    results.setdefault(kind, {})[key] = told
    TRAINING.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(count: int, rows: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    log = drawn(count, rows)
    began = time.perf_counter()
    made = recommender(log)
    told: dict[str, Any] = {
        "machine": machine(),
        "items": count,
        "interactions": len(log.user),
        "statistics_seconds": round(time.perf_counter() - began, 2),
        "peak_gigabytes": peak(),
    }
    for size in (1, 10, 100):
        history = [log.items[place] for place in range(0, size * 7, 7)]
        state = made.adapt(history)
        told[f"history_{size}"] = _timed(
            {
                "adapt_and_top20": lambda history=history: made.top(made.adapt(history), 20),
                "adapt": lambda history=history: made.adapt(history),
                "top20": lambda state=state: made.top(state, 20),
            }
        )
        told[f"history_{size}"]["state_bytes"] = sum(t.nbytes for t in state.values())
    return told


def _timed(things: dict[str, Callable[[], object]]) -> dict[str, Any]:
    """Milliseconds of each, taken in turns: median, and the 10th and 90th in a hundred."""
    taken: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(REPEATS):
        for name, run in things.items():
            began = time.perf_counter()
            run()
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {
        name: [round(float(value), 3) for value in np.quantile(times, (0.5, 0.1, 0.9))]
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--train", action="store_true", help="time all of training")
    parser.add_argument("--states", type=int, help="hold the states of so many users")
    options = parser.parse_args()
    if options.train:
        told = measure_training(options.items, options.interactions)
        store("training", str(options.interactions), told)
    elif options.states:
        told = measure_states(options.items, options.interactions, options.states)
        store("states", str(options.states), told)
    else:
        told = measure(options.items, options.interactions)
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

"""How fast a recommender reads a history and ranks a large catalogue, on one core.

    python -m benchmarks.recommend_speed                # 100,000 items, 1,000,000 interactions
    python -m benchmarks.recommend_speed --items 20000

Interactions are drawn: popularity falls as a cube, users like what they like. What is measured does
not depend on what the heads have learned, so their weights are those they begin with. Adapting and
ranking are timed together, the parts also alone, in turns; the file holds medians and spreads.
"""

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.apps.recommend import Log, Recommender, items
from quickstudy.apps.recommend.evidence import RANKING, RATING
from quickstudy.apps.recommend.heads import Head
from quickstudy.apps.recommend.reader import Reader
from quickstudy.apps.recommend.statistics import Statistics

RESULTS = Path(__file__).parent / "results" / "recommend_speed.json"
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


def recommender(log: Log) -> Recommender:
    random = np.random.default_rng(0)
    names = list(log.items)
    features = {
        "item": names,
        "kind": [f"k{place % 20}|t{place % 50}" for place in range(len(names))],
        "price": random.random(len(names)),
    }
    heads = [Head(len(names)).eval() for names in (RANKING, RATING)]
    return Recommender(Reader(Statistics.of(log), items(features).of(names), *heads), names)


def measure(count: int, rows: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    log = drawn(count, rows)
    began = time.perf_counter()
    made = recommender(log)
    told: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "items": count,
        "interactions": len(log.user),
        "statistics_seconds": round(time.perf_counter() - began, 2),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
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
    options = parser.parse_args()
    told = measure(options.items, options.interactions)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

"""What three questions gain a user of MovieLens small, by ways to choose them: a line in the docs.

    python -m benchmarks.recommend_asking

Users of the first fold, in two groups: meta-validation (its training users, each judged by a
recommender of the others) and test. A user's first interactions are known, or none; three items
are asked about and answered by what the user rated later, where they did. nDCG@10 is of all other
later interactions; what any of the ways asks about is no candidate, so all rank the same.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.apps.recommend import movielens
from quickstudy.apps.recommend.asking import questions
from quickstudy.apps.recommend.evaluate import by_folds
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.metrics import interval, ranked, top
from quickstudy.apps.recommend.reader import INNER_FOLDS, Reader, meta_train
from quickstudy.apps.recommend.statistics import History
from quickstudy.apps.recommend.tasks import Timelines, folds, of_users
from quickstudy.apps.recommend.training import joined

RESULTS = Path(__file__).parent / "results" / "recommend_asking.json"
SHOTS = (0, 1, 3)
ASKED = 3
OURS, NOBODY, POPULAR = "quickstudy", "nothing asked", "most popular"

Way = Callable[[History], NDArray[np.int64]]
Figures = dict[tuple[str, int, str], list[float]]


def ways(reader: Reader, log: Log) -> dict[str, Way]:
    """Each chooses items to ask about after a history."""
    generator = np.random.default_rng(0)
    counts = reader.known.counts.astype(np.float64)
    entropy = _entropy(log)

    def first(scores: NDArray[np.float64]) -> Way:
        def choose(history: History) -> NDArray[np.int64]:
            unseen = scores.copy()
            unseen[history.items] = -np.inf
            return top(unseen, ASKED)

        return choose

    return {
        OURS: lambda history: questions(reader, history, ASKED)[0],
        NOBODY: lambda history: np.empty(0, np.int64),
        "random": lambda history: first(generator.random(len(counts)))(history),
        POPULAR: first(counts),
        "popularity x entropy": first(counts * entropy),
        "log-popularity x entropy": first(np.log1p(counts) * entropy),
    }


def _entropy(log: Log) -> NDArray[np.float64]:
    """Of each item's ratings, in nats."""
    levels, level = np.unique(log.value, return_inverse=True)
    table = np.zeros((len(log.items), len(levels)))
    np.add.at(table, (log.item, level), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    entropy: NDArray[np.float64] = -(share * np.log(np.where(share > 0, share, 1))).sum(1)
    return entropy


def judge(
    reader: Reader, known: Log, timelines: Timelines, users: list[int], group: str, figures: Figures
) -> None:
    chosen = ways(reader, known)
    for user in users:
        for shots in SHOTS:
            if timelines.count(user) <= max(shots, 1):
                continue
            task = timelines.task(user, shots)
            history = task.history
            if not shots:
                history = history._replace(time=timelines.task(user, 1).history.time)
            asked = {name: choose(history) for name, choose in chosen.items()}
            union = np.unique(np.concatenate(list(asked.values())))
            wanted = np.setdiff1d(task.relevant(reader.known.liked_from), union)
            after = [_answered(history, items, task) for items in asked.values()]
            seen = np.union1d(history.items, union)
            for name, scores in zip(asked, reader.rank(after), strict=True):
                found = ranked(scores, seen, wanted)
                figures[group, shots, name].append(found.ndcg10)


def _answered(history: History, asked: NDArray[np.int64], task: Any) -> History:
    """The history after the answers of one who only knows what they rated later."""
    there = np.isin(task.later, asked)
    return History(
        np.concatenate([history.items, task.later[there]]),
        np.concatenate([history.values, task.values[there]]),
        history.time,
    )


def measure() -> dict[str, Any]:
    log, content = joined(*movielens())
    split = next(iter(by_folds(log, 1)))
    figures: Figures = defaultdict(list)
    timelines = Timelines(log, split.seed)
    for train, users in folds(split.known, INNER_FOLDS, split.seed):
        known = of_users(split.known, train)
        reader = meta_train(known, content, seed=split.seed)
        judge(reader, known, timelines, users.tolist(), "meta-validation", figures)
        print("a fold of meta-validation users done", file=sys.stderr, flush=True)
    reader = meta_train(split.known, content, seed=split.seed)
    judge(reader, split.known, timelines, split.users.tolist(), "test", figures)
    rows = []
    for (group, shots, name), values in figures.items():
        mine = np.array(figures[group, shots, OURS])
        gap = mine - np.array(values)
        row = {"users": group, "known": shots, "way": name, "ndcg10": float(np.nanmean(values))}
        if name != OURS:
            row |= {"ours_less_this": float(np.nanmean(gap)), "interval95": interval(gap)}
        rows.append(row)
    return {"asked": ASKED, "rows": rows}


def main() -> None:
    told = measure()
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for row in told["rows"]:
        gap = ""
        if "interval95" in row:
            gap = f"  ours {row['ours_less_this']:+.4f} ± {row['interval95']:.4f}"
        print(f"{row['users']:15} {row['known']} {row['way']:25} {row['ndcg10']:.4f}{gap}")


if __name__ == "__main__":
    main()

"""New categories, never-seen items, and regret in the made-up shop: tables in docs/recommend.md.

    python -m benchmarks.recommend_categories                 # all stages that are not stored yet
    python -m benchmarks.recommend_categories --stage items   # one, anew
    python -m benchmarks.recommend_categories --only-docs     # writes the stored figures into docs

Stages: categories (each genre of MovieLens small new in turn, 5 seeds), cut (the same behind a cut
in time, 2 seeds: the moment is given, so that they differ in ties and users), items (a fifth of the
films never seen, 5 seeds), shop (5 made-up shops, each category new in turn, after 12 interactions:
regret against the true preferences). The design was looked at on the genres in LOOKED_AT and on the
shop of seed 0, so the others are also told alone, and the shops are those of seeds 1 to 5. The data
lie in the cache (QUICKSTUDY_DATA): movielens_latest_small_ratings.parquet and
movielens_latest_small_movies.parquet.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_between
from benchmarks.recommend import PAGE, looked, movielens, table
from quickstudy.apps.recommend import evaluate_openings as judging
from quickstudy.apps.recommend import interactions, items, shop
from quickstudy.apps.recommend.figures import OURS
from quickstudy.apps.recommend.launches import Launches
from quickstudy.apps.recommend.metrics import interval, top
from quickstudy.apps.recommend.training import joined

RESULTS = Path(__file__).parent / "results"
SIZES = (10, 50, 200)
SEEDS = 5
CUT = 0.5
LOOKED_AT = ("Animation", "Horror", "Western", "Comedy", "Sci-Fi", "Romance", "Children", "War")
FIRST, SERVED = 12, 10
"""Interactions with the shop's new category, and items that are served."""
NO_GENRE = "(no genres listed)"


def categories(cut: float | None) -> dict[str, Any]:
    log, content = movielens()
    groups = judging.categories(log, content, "genres")
    groups.pop(NO_GENRE, None)
    seeds = SEEDS if cut is None else 2
    told = judging.evaluate_categories(
        log, content, groups, SIZES, seeds, time_cut=cut, looked=looked
    )
    return {**told, "others": _others(told["categories"])}


def _others(each: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 over the genres that were not looked at, and ours less each control, by size."""
    names = [name for name in each if name not in LOOKED_AT]
    found: dict[str, Any] = {}
    for size in map(str, SIZES):
        models = {
            m: np.array([each[name][size][m] for name in names]) for m in each[names[0]][size]
        }
        found[size] = {
            model: {
                "ndcg10": float(values.mean()),
                "ours_less": float((models[OURS] - values).mean()),
                "interval95": interval(models[OURS] - values),
            }
            for model, values in models.items()
        }
    return found


def never_seen() -> dict[str, Any]:
    return judging.evaluate_items(*movielens(), SEEDS, looked=looked)


def regret() -> dict[str, Any]:
    """Mean regret of the ten items served, over categories of each shop; pairs of shops."""
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(1, SEEDS + 1):
        made = shop(seed)
        log, content = joined(interactions(made.interactions), items(made.items))
        people = {name: place for place, name in enumerate(made.users["user"])}
        things = {name: place for place, name in enumerate(made.items["item"])}
        rows = [people[name] for name in log.users]
        utility = made.utility[np.ix_(rows, [things[name] for name in log.items])]
        groups = judging.categories(log, content, "category")
        here: dict[str, list[float]] = defaultdict(list)
        for place, (name, members) in enumerate(groups.items()):
            for model, regrets in _regrets(log, content, members, utility, seed).items():
                here[model].append(float(np.mean(regrets)))
            print(f"shop {seed}: {name}, {place + 1} of {len(groups)}", file=sys.stderr, flush=True)
        for model, values in here.items():
            found[model].append(float(np.mean(values)))
    ours = np.array(found[OURS])
    rows_told = []
    for model, values in found.items():
        gap = np.array(values) - ours
        rows_told.append(
            {
                "model": model,
                "control": model != OURS,
                "regret": float(np.mean(values)),
                "interval95": interval(np.array(values)),
                "ours_less": -float(gap.mean()),
                "ours_less_interval95": interval(gap),
                "ratio": float(ours.mean() / np.mean(values)),
            }
        )
    return {"shops": SEEDS, "first": FIRST, "rows": rows_told}


def _regrets(
    log: Any, content: Any, members: Any, utility: Any, seed: int
) -> dict[str, list[float]]:
    judge = judging.Judge(log, content, [FIRST])
    known = judge.learn(members, seed)
    generator = np.random.default_rng([seed, 2])
    launches = Launches(log, generator.permutation(members))
    opening = judge.opening(launches, known, FIRST, generator)
    assert opening is not None
    opened, asked, _ = opening
    scores = judge.scores(opened, asked, known, FIRST)
    scores["random"] = generator.random((len(asked), len(members))).astype(np.float32)
    found: dict[str, list[float]] = defaultdict(list)
    for row, one in enumerate(asked):
        worth = utility[one.user, launches.items].astype(np.float64)
        could = np.delete(worth, one.seen)
        for model, ranking in scores.items():
            wanted = ranking[row].astype(np.float64)
            wanted[one.seen] = -np.inf
            served = top(wanted, SERVED)
            best = np.sort(could)[-len(served) :]
            found[model].append(float(best.mean() - worth[served].mean()))
    return found


STAGES = {
    "categories": lambda: categories(None),
    "cut": lambda: categories(CUT),
    "items": never_seen,
    "shop": regret,
}


def path(stage: str) -> Path:
    return RESULTS / f"recommend_new_{stage}.json"


def regret_table(result: dict[str, Any]) -> str:
    lines = ["| | regret | ours less it |", "|---|---|---|"]
    for row in sorted(result["rows"], key=lambda row: row["regret"]):
        ours = row["model"] == OURS
        gap = "" if ours else f"{row['ours_less']:.2f} ± {row['ours_less_interval95']:.2f}"
        name = f"**{row['model']}**" if ours else row["model"]
        lines.append(f"| {name} | {row['regret']:.2f} ± {row['interval95']:.2f} | {gap} |")
    return "\n".join(lines)


def write_page() -> None:
    for stage in STAGES:
        if path(stage).exists():
            told = json.loads(path(stage).read_text(encoding="utf-8"))
            sizes = (0,) if stage == "items" else SIZES
            part = regret_table(told) if stage == "shop" else table(told, "ndcg10", sizes)
            write_between(PAGE, {f"new {stage}": part})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stage", choices=list(STAGES), action="append")
    parser.add_argument("--only-docs", action="store_true")
    options = parser.parse_args()
    wanted = options.stage or [stage for stage in STAGES if not path(stage).exists()]
    for stage in [] if options.only_docs else wanted:
        told = STAGES[stage]()
        path(stage).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    write_page()


if __name__ == "__main__":
    main()

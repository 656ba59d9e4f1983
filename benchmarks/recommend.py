"""New users of MovieLens small, by ours and by every control: the table in docs/recommend.md.

    python -m benchmarks.recommend                 # 5 seeds of 5 folds, and the time cut
    python -m benchmarks.recommend --learners      # one seed of 5 folds, with learned readers
    python -m benchmarks.recommend --only-docs     # writes the stored figures into the docs

The data lie in the cache (QUICKSTUDY_DATA): movielens_latest_small_ratings.parquet and
movielens_latest_small_movies.parquet.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_between
from quickstudy.apps.recommend import Content, Log, interactions, items
from quickstudy.apps.recommend import evaluate as judging
from quickstudy.apps.recommend.figures import OURS
from quickstudy.apps.recommend.training import joined
from quickstudy.data.cache import find

RESULTS = Path(__file__).parent / "results" / "recommend.json"
LEARNED = RESULTS.with_name("recommend_learned.json")
LEARNERS = ("R2D2", "ANIL", "ProtoNet", "SetTransformer")
PAGE = Path(__file__).parents[1] / "docs" / "recommend.md"
SHOTS = (1, 3, 5, 10)
CUT = 0.8


def movielens() -> tuple[Log, Content]:
    ratings, movies = (
        find(f"movielens_latest_small_{part}.parquet") for part in ("ratings", "movies")
    )
    if ratings is None or movies is None:
        sys.exit("error: MovieLens small is not in the cache (QUICKSTUDY_DATA)")
    return joined(interactions(ratings), items(movies))


def looked(done: int, total: int) -> None:
    print(f"{done} of {total}", file=sys.stderr, flush=True)


def measure(seeds: int) -> dict[str, Any]:
    log, content = movielens()
    told = {"machine": platform.processor() or platform.machine(), "seeds": seeds, "cut": CUT}
    folds = judging.evaluate(list(judging.by_folds(log, seeds)), content, SHOTS, looked=looked)
    cut = judging.evaluate(list(judging.by_time(log, CUT, seeds)), content, SHOTS, looked=looked)
    return {**told, "folds": folds, "time_cut": cut}


def measure_learned(names: Sequence[str]) -> dict[str, Any]:
    """Learned readers beside ours and every control: one seed of five folds."""
    log, content = movielens()
    splits = list(judging.by_folds(log, 1))
    told = judging.evaluate(splits, content, SHOTS, learners=names, looked=looked)
    return {"machine": platform.processor() or platform.machine(), "seeds": 1, "folds": told}


def table(result: dict[str, Any], metric: str, sizes: Sequence[int] = SHOTS) -> str:
    """A markdown table of one metric, the best model after a middling support set first."""
    found = {(row["model"], row["shots"]): row for row in result["rows"] if row[metric] is not None}
    models = dict.fromkeys(model for model, _ in found)  # ties stay in the order of the results
    sign = 1 if metric == "rmse" else -1
    middle = sizes[len(sizes) // 2]
    lines = ["| after | " + " | ".join(map(str, sizes)) + " |", "|---" * (1 + len(sizes)) + "|"]
    for model in sorted(models, key=lambda m: sign * found[m, middle][metric]):
        cells = [
            f"{found[model, size][metric]:.3f} ± {found[model, size]['interval95'][metric]:.3f}"
            for size in sizes
        ]
        name = f"**{model}**" if model == OURS else model
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_page() -> None:
    told = json.loads(RESULTS.read_text(encoding="utf-8"))
    learned = json.loads(LEARNED.read_text(encoding="utf-8"))
    for key in ("folds", "time_cut"):
        for metric in ("ndcg10", "rmse"):
            write_between(PAGE, {f"{key} {metric}": table(told[key], metric)})
    write_between(PAGE, {"learned ndcg10": table(learned["folds"], "ndcg10")})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learners", nargs="*", metavar="NAME", help="all of the table if none")
    parser.add_argument("--only-docs", action="store_true")
    options = parser.parse_args()
    if options.learners is not None:
        told = measure_learned(options.learners or LEARNERS)
        LEARNED.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    elif not options.only_docs:
        RESULTS.write_text(json.dumps(measure(options.seeds), indent=1) + "\n", encoding="utf-8")
    write_page()


if __name__ == "__main__":
    main()

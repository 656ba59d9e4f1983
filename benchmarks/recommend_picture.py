"""Accuracy against the number of interactions, ours and controls: docs/images/recommend.png.

python -m benchmarks.recommend_picture   # from what the other benchmarks of recommending stored
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.recommend import RESULTS, SHOTS
from benchmarks.recommend_categories import SIZES, path
from quickstudy.apps.recommend.figures import OURS
from quickstudy.plots.canvas import sheet

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "recommend.png"
USERS = (OURS, "item neighbours + recent popularity", "item neighbours + log-popularity",
         "popularity", "implicit ALS", "content neighbours")  # fmt: skip
CATEGORIES = (OURS, "implicit ALS from content + log-popularity",
              "content neighbours + log-popularity",
              "popularity", "implicit ALS", "content neighbours")  # fmt: skip
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#999999")
MARKERS = "osD^vx"


def panel(axes: Any, rows: list[dict[str, Any]], models: tuple[str, ...], sizes: Any) -> None:
    found = {(row["model"], row["shots"]): row for row in rows}
    for model, colour, marker in zip(models, COLOURS, MARKERS, strict=True):
        mean = [found[model, size]["ndcg10"] for size in sizes]
        half = [found[model, size]["interval95"]["ndcg10"] for size in sizes]
        axes.errorbar(sizes, mean, half, color=colour, marker=marker, capsize=2, label=model,
                      linewidth=2 if model == OURS else 1)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, None)


def main() -> None:
    users = json.loads(RESULTS.read_text(encoding="utf-8"))["folds"]["rows"]
    categories = json.loads(path("categories").read_text(encoding="utf-8"))["rows"]
    with sheet(PICTURE, 9.6, 4.4) as figure:
        left = figure.add_axes((0.07, 0.31, 0.42, 0.62))
        panel(left, users, USERS, SHOTS)
        left.set(title="New users", xlabel="interactions of the user", ylabel="nDCG@10, ± 95 %")
        right = figure.add_axes((0.56, 0.31, 0.42, 0.62))
        panel(right, categories, CATEGORIES, SIZES)
        right.set(title="New categories", xlabel="interactions with the category, by anybody")
        for axes, where in ((left, 0.07), (right, 0.56)):
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(where, 0.0), ncols=2,
                          fontsize=7)  # fmt: skip
    print(PICTURE)


if __name__ == "__main__":
    main()

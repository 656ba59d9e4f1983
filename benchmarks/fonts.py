"""Printed to handwritten: what the recipes reach on alphabets never seen, as README quotes it.

    python -m benchmarks.fonts                         # trains what is missing, then judges all
    python -m benchmarks.fonts --recipes demo --seeds 0 1 2
    python -m benchmarks.fonts --only-readme           # writes the stored figures into README

Needs omniglot_28.npz in the data cache. Runs are kept in runs/benchmark and taken up again where
they stopped; figures go to benchmarks/results/fonts.json and from there into README.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.pages import write_between

RESULTS = Path(__file__).parent / "results" / "fonts.json"
README = Path(__file__).parents[1] / "README.md"
RUNS = Path("runs/benchmark")
SETTINGS = ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot")
NAMES = {
    "demo": "`make demo`",
    "fonts": "`quickstudy train --recipe fonts`",
}


def train(recipe: str, seed: int, tasks: int) -> dict[str, object]:
    """The run of a recipe and seed, from its folder if it has ended; and its figures."""
    from quickstudy.hub.catalogue import load
    from quickstudy.hub.demo import RELATIVE, measure
    from quickstudy.hub.sources import open_source

    folder = RUNS / f"{recipe}-{seed}"
    command = [sys.executable, "-m", "quickstudy"]
    if (folder / "config.json").exists():
        subprocess.run([*command, "resume", folder], check=True)
    else:
        told = ["--recipe", recipe, "--seed", str(seed), "--out", folder]
        subprocess.run([*command, "train", *told], check=True)
    report = json.loads((folder / "report.json").read_text())
    handwriting = open_source("omniglot")
    sources = [
        ("Armenian, Georgian, drawn from print", open_source("glyphs")),
        ("Omniglot, handwritten", handwriting),
        ("Omniglot without Old Church Slavonic", handwriting.without(RELATIVE)),
    ]
    return {
        "recipe": recipe,
        "seed": seed,
        "steps": report["steps"],
        "training_s": report["seconds"],
        "threads": report["threads"],
        "validation": report["validation"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "rows": list(measure(load(folder), iter(sources), tasks)),
    }


def table(runs: list[dict]) -> str:
    """The stored runs as Markdown: mean over seeds, the interval of the first seed's tasks."""
    lines = [
        "| trained on fonts only, tested on | " + " | ".join(SETTINGS) + " |",
        "|---|" + "--:|" * len(SETTINGS),
    ]
    for recipe in NAMES:
        mine = [run for run in runs if run["recipe"] == recipe]
        for data in dict.fromkeys(row["label"] for run in mine for row in run["rows"]):
            cells = [_cell(mine, data, setting) for setting in SETTINGS]
            lines.append(f"| {NAMES[recipe]}: {data} | " + " | ".join(cells) + " |")
    first = runs[0]
    for data in dict.fromkeys(row["label"] for row in first["rows"]):
        cells = [_cell([first], data, setting, control=True) for setting in SETTINGS]
        lines.append(
            f"| nothing learned (raw pixels, nearest mean): {data} | " + " | ".join(cells) + " |"
        )
    how = []
    for recipe in NAMES:
        mine = [run for run in runs if run["recipe"] == recipe]
        if mine:
            minutes = statistics.median(run["training_s"] for run in mine) / 60
            how.append(
                f"{NAMES[recipe]} {mine[0]['steps']:,} steps in {minutes:.1f} minutes, "
                f"{len(mine)} seed{'s' if len(mine) > 1 else ''}"
            )
    tasks = first["rows"][0]["tasks"]
    return (
        "\n".join(lines)
        + f"\n\nAccuracy in per cent with 95 % interval over {tasks:,} tasks, 5 queries a class, "
        f"inductive. Omniglot: the 423 meta-test classes of Vinyals et al. 2016. "
        f"Training on {first['threads']} CPU threads: {'; '.join(how)}."
    )


def _cell(runs: list[dict], data: str, setting: str, control: bool = False) -> str:
    rows = [
        row
        for run in runs
        for row in run["rows"]
        if row["label"] == data and f"{row['ways']}-way {row['shots']}-shot" == setting
    ]
    if control:
        rows = [row["control"] for row in rows]
    mean = 100 * statistics.mean(row["accuracy"] for row in rows)
    return f"{mean:.1f} ± {100 * rows[0]['interval95']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recipes", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--only-readme", action="store_true")
    args = parser.parse_args()
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if not args.only_readme:
        for recipe in args.recipes:
            for seed in args.seeds:
                runs = [run for run in runs if (run["recipe"], run["seed"]) != (recipe, seed)]
                runs.append(train(recipe, seed, args.tasks))
                runs.sort(key=lambda run: (run["recipe"], run["seed"]))
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
    write_between(README, {"figures": table(runs)})


if __name__ == "__main__":
    main()

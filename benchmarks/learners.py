"""Nine learners on the same budget: the table in docs/learners.md.

    python -m benchmarks.learners                      # trains what is missing, then judges all
    python -m benchmarks.learners --learners MAML ANIL
    python -m benchmarks.learners --only-docs          # writes the stored figures into the docs

Each is meta-trained by `quickstudy train` on printed characters, 5-way 1-shot, for 1,500 steps of
two tasks, and judged on writing systems that it never saw. `OPTIONS` is what single learners are
told beside that; it is empty, as none is tuned for this. Runs are kept in runs/benchmark and taken
up again where they stopped; one that was told something else is trained anew.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.pages import write_between
from benchmarks.runs import flags, trained

RESULTS = Path(__file__).parent / "results" / "learners.json"
PAGE = Path(__file__).parents[1] / "docs" / "learners.md"
RUNS = Path("runs/benchmark/learners")
COMMON: dict[str, Any] = {
    "data": "glyphs", "ways": 5, "shots": 1, "queries": 5, "rotations": True, "steps": 1500,
    "tasks_per_step": 2, "evaluate_every": 500, "validation_tasks": 100,
}  # fmt: skip
NINE = (
    "ANIL", "MAML", "MatchingNet", "MetaSGD", "ProtoNet", "R2D2", "RelationNet", "Reptile",
    "SetTransformer",
)  # fmt: skip
"""Those of the table; of the others `benchmarks.accuracy` says what they reach."""
OPTIONS: dict[str, dict[str, Any]] = {}
"""What a learner is told beside `COMMON`."""
ALIKE = ("seed", "tasks", "steps", "ways", "shots", "queries")
"""What the rows of one table agree in."""


def train(name: str, seed: int) -> Path:
    """The folder of a learner's run, trained or taken up again if need be."""
    return trained(RUNS / f"{name}-{seed}", given(name, seed))


def given(name: str, seed: int) -> dict[str, Any]:
    return {**COMMON, **OPTIONS.get(name, {}), "learner": name, "seed": seed}


def figures(name: str, seed: int, tasks: int) -> dict[str, object]:
    """What a learner reaches, what it took, and the control on the same tasks."""
    from quickstudy.hub.evaluating import Setting, evaluate_run
    from quickstudy.hub.platform import Platform

    folder = train(name, seed)
    report = json.loads((folder / "report.json").read_text())
    judged = evaluate_run(folder, Setting(tasks=tasks))
    return {
        "learner": name,
        "options": " ".join(flags(OPTIONS.get(name, {}))),
        "seed": seed,
        "steps": report["steps"],
        "training_s": report["seconds"],
        "parameters": report["parameters"],
        "threads": report["threads"],
        "validation": report["validation"],
        "adapt_ms": adapting(Platform.load(folder)),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        **judged,
    }


def adapting(trained: object) -> float:
    """Milliseconds to adapt to one 5-way 1-shot task, the median of 30."""
    import torch

    tasks = trained.source.tasks("test", 5, 1, 5)
    batch = tasks.sample(30, torch.Generator().manual_seed(0))
    from quickstudy.core import unstack

    took = []
    for task in unstack(batch):
        start = time.perf_counter()
        trained.deploy(task)
        took.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(took), 2)


def table(rows: list[dict]) -> str:
    """The stored figures as Markdown, best first.

    Raises:
        SystemExit: the rows are of different seeds, tasks or steps, and cannot be compared.
    """
    first = rows[0]
    for row in rows:
        for key in ALIKE:
            if row[key] != first[key]:
                raise SystemExit(
                    f"the rows of one table must be alike, {row['learner']} has {key} {row[key]}, "
                    f"{first['learner']} {first[key]}: judge all learners again"
                )
    lines = [
        "| learner | family | accuracy | ECE | training | adapting |",
        "|---|---|--:|--:|--:|--:|",
    ]
    families = {row["name"]: row["family"] for row in described()}
    lines += [
        f"| {row['learner']} | {families[row['learner']]} | {_said(row)} | "
        f"{100 * row['ece']:.1f} | {row['training_s'] / 60:.1f} min | {row['adapt_ms']:.1f} ms |"
        for row in sorted(rows, key=lambda row: -row["accuracy"])
    ]
    control = rows[0]["control"]
    lines.append(f"| {control['name']}, raw pixels, nothing learned | control | {_said(control)} | "
                 f"{100 * control['ece']:.1f} | – | – |")  # fmt: skip
    return "\n".join(lines) + (
        f"\n\nAccuracy in per cent, 95 % interval over {first['tasks']:,} 5-way 1-shot tasks of "
        f"Armenian and Georgian letters, {first['queries']} queries a class, inductive; expected "
        f"calibration error in per cent. {first['steps']:,} outer steps of "
        f"{COMMON['tasks_per_step']} tasks each, seed {first['seed']}, {first['threads']} CPU "
        "threads."
    )


def described() -> list[dict]:
    from quickstudy.hub.commands.learners import described as known

    return known()


def _said(row: dict) -> str:
    return f"{100 * row['accuracy']:.1f} ± {100 * row['interval95']:.1f}"


def main() -> None:
    from quickstudy.hub.catalogue import TRAINABLE

    known = [name for name, cls in TRAINABLE.items() if "classes" in cls.tasks]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--learners", nargs="+", default=NINE, choices=known)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if not args.only_docs:
        for name in args.learners:
            rows = [row for row in rows if row["learner"] != name]
            rows.append(figures(name, args.seed, args.tasks))
            rows.sort(key=lambda row: row["learner"])
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_between(PAGE, {"figures": table(rows)})


if __name__ == "__main__":
    main()

"""Omniglot as in the papers: what every learner reaches, as docs/learners.md and README quote it.

    python -m benchmarks.accuracy                        # trains what is missing, then judges all
    python -m benchmarks.accuracy --learners ProtoNet PTMAP
    python -m benchmarks.accuracy --threads 1            # of training and judging
    python -m benchmarks.accuracy --only-docs            # writes the stored figures into the docs

Needs omniglot_28.npz in the data cache. Learners of `FULL` are meta-trained by their recipe
(`quickstudy train --recipe paper-20way-1shot --learner NAME`), once for all four settings, and the
methods of `READERS` read the net of one of those; all others get a budget of ten minutes and are
judged at 5-way 1-shot. Runs are kept in runs/benchmark/accuracy and taken up again where they
stopped; what is judged already is judged again only if its run has changed.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.accuracy_table import budget_table, full_table
from benchmarks.pages import write_between
from benchmarks.runs import trained

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
ROOT = Path(__file__).parents[1]
PAGES = {
    ROOT / "docs" / "learners.md": ("omniglot full", "omniglot budget"),
    ROOT / "README.md": ("omniglot full",),
}
"""Which table stands on which page."""
RUNS = Path("runs/benchmark/accuracy")
RECIPE = {True: "paper-20way-1shot", False: "paper-5way-1shot"}
"""Of the full protocol, and of the budget. The four recipes train alike and differ in the tasks of
meta-validation, which pick the weights that are kept: the hardest ones in the full protocol."""
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
FULL = ("ProtoNet", "MAML", "R2D2")
READERS = {
    "PTMAP": "ProtoNet",
    "TIM": "ProtoNet",
    "BDCSPN": "ProtoNet",
    "LaplacianShot": "ProtoNet",
}
"""Methods that train nothing of their own here, and whose net they read."""
QUERIES = {False: 5, True: 15}
"""A class, inductive and transductive: the more there are, the more a transductive method sees."""
BESIDE: dict[str, Any] = {}
"""What a run is told beside its recipe: nothing, but in trials."""
TRANSDUCTIVE = {"transductive": True}
"""What a learner is told whose norms may use the queries' statistics, as the papers on MAML do."""


def train(name: str, seed: int, threads: int | None) -> Path:
    """The folder of a learner's run, trained or taken up again if need be."""
    given = {**BESIDE, "learner": name, "seed": seed}
    if threads is not None:
        given["threads"] = threads
    return trained(RUNS / f"{name}-{seed}", given, RECIPE[name in FULL])


def judge(name: str, seed: int, tasks: int, threads: int | None, kept: list[dict]) -> list[dict]:
    """A learner's rows, from those that are kept where they are of the same run."""
    whose = READERS.get(name, name)
    folder = train(whose, seed, threads)
    run = {"run_id": (folder / "manifest.json").stat().st_mtime_ns, "seed": seed, "tasks": tasks}
    full = whose in FULL
    rows = []
    for way, shot in SETTINGS if full else SETTINGS[:1]:
        for mode in modes(name):
            key = {"learner": name, "way": way, "shot": shot, "transductive": mode, **run}
            same = [row for row in kept if key.items() <= row.items()]
            rows.append(same[0] if same else {**key, **figures(folder, key, threads), "full": full})
            print(said(rows[-1]), flush=True)
    return rows


def modes(name: str) -> tuple[bool, ...]:
    """Whether a learner is judged inductive, transductive or both."""
    from quickstudy.hub.catalogue import LEARNERS, parameters

    cls = LEARNERS[name]
    if "transductive" in parameters(cls):
        return False, True
    return (cls.transductive,)


def figures(folder: Path, key: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """What a run's learner, or a method on its net, reaches in one setting."""
    from quickstudy.hub.catalogue import LEARNERS, parameters
    from quickstudy.hub.evaluating import Setting, evaluate_run

    name, mode = key["learner"], key["transductive"]
    report = json.loads((folder / "report.json").read_text())
    told = TRANSDUCTIVE if mode and "transductive" in parameters(LEARNERS[name]) else None
    setting = Setting(
        ways=key["way"],
        shots=key["shot"],
        queries=QUERIES[mode],
        tasks=key["tasks"],
        seed=key["seed"],
    )
    judged = evaluate_run(
        folder,
        setting,
        learner=name if name in READERS else None,
        learner_options=told,
        threads=threads,
    )
    return {
        **{k: judged[k] for k in ("accuracy", "interval95", "ece", "queries", "control")},
        "embedding_of": READERS.get(name),
        "steps": report["steps"],
        "training_s": report["seconds"],
        "threads": report["threads"],
        "device": report["device"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def said(row: dict[str, Any]) -> str:
    """A row for whoever watches."""
    mode = "transductive" if row["transductive"] else "inductive"
    return (
        f"{row['learner']}: {row['way']}-way {row['shot']}-shot, {mode}: "
        f"{100 * row['accuracy']:.2f} ± {100 * row['interval95']:.2f} %"
    )


def write_pages(rows: list[dict]) -> None:
    """Put the tables between the markers of the pages that quote them."""
    tables = {"omniglot full": full_table(rows), "omniglot budget": budget_table(rows)}
    for page, parts in PAGES.items():
        write_between(page, {part: tables[part] for part in parts})


def names() -> list[str]:
    """The learners of classes, those of the full protocol first."""
    from quickstudy.hub.catalogue import TRAINABLE

    others = [n for n, c in TRAINABLE.items() if "classes" in c.tasks]
    return list(dict.fromkeys([*FULL, *READERS, *others]))


def main() -> None:
    known = names()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--learners", nargs="+", default=known, choices=known)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if not args.only_docs:
        for name in args.learners:
            made = judge(name, args.seed, args.tasks, args.threads, rows)
            rows = [row for row in rows if row["learner"] != name] + made
            rows.sort(key=lambda row: known.index(row["learner"]))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_pages(rows)


if __name__ == "__main__":
    main()

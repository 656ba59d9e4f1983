"""Few-shot images by the papers' protocols: what learners reach, as docs and README quote it.

    python -m benchmarks.accuracy                        # trains what is missing, then judges all
    python -m benchmarks.accuracy --protocols grocery    # of the three: full, budget, grocery
    python -m benchmarks.accuracy --learners ProtoNet PTMAP
    python -m benchmarks.accuracy --threads 1            # of training and judging
    python -m benchmarks.accuracy --only-docs            # writes the stored figures into the docs

Needs omniglot_28.npz and grocery_81_jpeg84.npz in the data cache. Every protocol meta-trains its
learners by a recipe of its own (`quickstudy train --recipe paper-20way-1shot --learner NAME` for
"full", paper-5way-1shot for "budget", grocery), once for all its settings; the methods of `READERS`
read the net of one of those. Runs are kept in
runs/benchmark/accuracy and taken up again where they stopped; what is judged already is judged
again only if its run, or how it is judged, has changed.
"""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.accuracy_table import SETTINGS, TABLES
from benchmarks.pages import write_between
from benchmarks.runs import trained

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
ROOT = Path(__file__).parents[1]
PAGES = {
    ROOT / "docs" / "learners.md": ("omniglot full", "omniglot budget", "grocery"),
    ROOT / "README.md": ("omniglot full",),
}
"""Which protocol's table stands on which page."""
RUNS = Path("runs/benchmark/accuracy")


class Protocol(NamedTuple):
    """How a table comes about.

    Attributes:
        recipe: what its learners are trained by.
        settings: way and shot of the columns.
        learners: None for those of classes that the other protocols leave.
        inner: steps and their rate at meta-test, of those that take others than in meta-training.
    """

    recipe: str
    settings: Sequence[tuple[int, int]]
    learners: Sequence[str] | None = None
    inner: Mapping[str, tuple[int, float]] = MappingProxyType({})


PROTOCOLS = {
    # The papers' recipes train alike and differ in the tasks of meta-validation, which pick the
    # weights that are kept: here the hardest ones.
    # Finn et al. 2017 take more inner steps as well. On meta-validation smaller ones are better at
    # 5 shots, of which meta-training had none, and no worse at 1.
    "omniglot full": Protocol(
        "paper-20way-1shot", SETTINGS, ("ProtoNet", "MAML", "R2D2"), {"MAML": (10, 0.01)}
    ),
    "omniglot budget": Protocol("paper-5way-1shot", SETTINGS[:1]),
    "grocery": Protocol("grocery", SETTINGS[:2], ("ProtoNet", "MAML", "R2D2", "SimpleShot")),
}
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


def train(protocol: str, name: str, seed: int, threads: int | None) -> Path:
    """The folder of a learner's run, trained or taken up again if need be."""
    given = {**BESIDE, "learner": name, "seed": seed}
    if threads is not None:
        given["threads"] = threads
    folder = RUNS / protocol.replace(" ", "-") / f"{name}-{seed}"
    return trained(folder, given, PROTOCOLS[protocol].recipe)


def judge(
    protocol: str, name: str, seed: int, tasks: int, threads: int | None, kept: list[dict]
) -> list[dict]:
    """A learner's rows, from those that are kept where they are of the same run."""
    folder = train(protocol, READERS.get(name, name), seed, threads)
    run = {"run_id": (folder / "manifest.json").stat().st_mtime_ns, "seed": seed, "tasks": tasks}
    steps, rate = PROTOCOLS[protocol].inner.get(name, (None, None))
    inner = {"inner_steps": steps, "inner_rate": rate}
    rows = []
    for way, shot in PROTOCOLS[protocol].settings:
        for mode in modes(name):
            what = {"protocol": protocol, "learner": name, "way": way, "shot": shot}
            key = {**what, "transductive": mode, "queries": QUERIES[mode], **run, **inner}
            same = [row for row in kept if key.items() <= row.items()]
            rows.append(same[0] if same else {**key, **figures(folder, key, threads)})
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
        queries=key["queries"],
        tasks=key["tasks"],
        seed=key["seed"],
        inner_steps=key["inner_steps"],
        inner_rate=key["inner_rate"],
    )
    judged = evaluate_run(
        folder,
        setting,
        learner=name if name in READERS else None,
        learner_options=told,
        threads=threads,
    )
    return {
        **{k: judged[k] for k in ("accuracy", "interval95", "ece", "control")},
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
    for page, names in PAGES.items():
        mine = {n: [row for row in rows if row["protocol"] == n] for n in names}
        write_between(page, {n: TABLES[n](mine[n]) for n in names})


def members() -> list[tuple[str, str]]:
    """Protocol and learner of all that is judged, in the order of the tables."""
    from quickstudy.hub.catalogue import TRAINABLE

    full = [*(PROTOCOLS["omniglot full"].learners or ()), *READERS]
    others = [n for n, c in TRAINABLE.items() if "classes" in c.tasks and n not in full]
    named = {"omniglot full": full}
    return [(p, n) for p, told in PROTOCOLS.items() for n in named.get(p, told.learners or others)]


def main() -> None:
    known = members()
    names = list(dict.fromkeys(name for _, name in known))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--protocols", nargs="+", default=[*PROTOCOLS], choices=[*PROTOCOLS])
    parser.add_argument("--learners", nargs="+", default=names, choices=names)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    wanted = [(p, n) for p, n in known if p in args.protocols and n in args.learners]
    for protocol, name in [] if args.only_docs else wanted:
        made = judge(protocol, name, args.seed, args.tasks, args.threads, rows)
        # Another process may have judged other learners meanwhile.
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        rows = [row for row in rows if (row["protocol"], row["learner"]) != (protocol, name)] + made
        rows.sort(key=lambda row: known.index((row["protocol"], row["learner"])))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_pages(rows)


if __name__ == "__main__":
    main()

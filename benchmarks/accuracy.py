"""Few-shot images by the papers' protocols: what learners reach, as docs and README quote it.

    python -m benchmarks.accuracy                        # trains what is missing, then judges all
    python -m benchmarks.accuracy --protocols grocery    # one of the tables
    python -m benchmarks.accuracy --learners ProtoNet PTMAP
    python -m benchmarks.accuracy --threads 1            # of training and judging
    python -m benchmarks.accuracy --only-docs            # writes the stored figures into the docs

Needs omniglot_28.npz and grocery_81_jpeg84.npz in the data cache. What is judged, and how, is in
`benchmarks.accuracy_protocols`. Every protocol meta-trains its learners by a recipe of its own
(`quickstudy train --recipe paper-20way-1shot --learner NAME` for "full" and "unbalanced",
paper-5way-1shot for "budget", grocery), once for all its settings; the methods of `READERS` read
the net of one of those. Runs are kept in runs/benchmark/accuracy and taken up again where they
stopped; what is judged already is judged again only if its run, or how it is judged, has changed.
"""

import argparse
import json
import os
import platform
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.accuracy_protocols import PROTOCOLS, QUERIES, READERS, Variant, members, variants
from benchmarks.accuracy_table import TABLES, title
from benchmarks.pages import write_between
from benchmarks.runs import trained

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
ROOT = Path(__file__).parents[1]
PAGES = {
    ROOT / "docs" / "learners.md": tuple(TABLES),
    ROOT / "README.md": ("omniglot full",),
}
"""Which protocol's table stands on which page."""
RUNS = Path("runs/benchmark/accuracy")
SAME = ("queries", "tasks", "seed", "inner_steps", "inner_rate", "dirichlet", "unlabelled")
"""What a row and a setting call alike."""
BESIDE: dict[str, Any] = {}
"""What a run is told beside its recipe: nothing, but in trials."""


def train(protocol: str, name: str, variant: Variant, seed: int, threads: int | None) -> Path:
    """The folder of a learner's run, trained or taken up again if need be."""
    given = {**BESIDE, "learner": name, "seed": seed}
    if variant.trained:
        given["learner_options"] = dict(variant.trained)
    if threads is not None:
        given["threads"] = threads
    whose = PROTOCOLS[protocol].runs or protocol
    folder = RUNS / whose.replace(" ", "-") / variant.run_of(name, seed)
    return trained(folder, given, PROTOCOLS[protocol].recipe)


def judge(
    protocol: str, name: str, seed: int, tasks: int, threads: int | None, kept: list[dict]
) -> list[dict]:
    """A learner's rows, from those that are kept where they are of the same run."""
    asked = PROTOCOLS[protocol]
    steps, rate = asked.inner.get(name, (None, None))
    inner = {"inner_steps": steps, "inner_rate": rate}
    made = []
    for variant in variants(protocol, name):
        folder = train(protocol, READERS.get(name, name), variant, seed, threads)
        own = {
            "embedding_of": READERS.get(name),
            "transductive": variant.transductive,
            "variant": variant.name,
            "trained": dict(variant.trained),
            "told": dict(variant.told),
            "unlabelled": variant.unlabelled,
            "run_id": (folder / "manifest.json").stat().st_mtime_ns,
            "queries": asked.queries or QUERIES[variant.transductive],
        }
        made.append((folder, own))
    rows = []
    for (way, shot), dirichlet, (folder, own) in product(asked.settings, asked.shares, made):
        what = {"protocol": protocol, "learner": name, "way": way, "shot": shot, **own}
        key = {**what, "seed": seed, "tasks": tasks, **inner, "dirichlet": dirichlet}
        same = [row for row in kept if key.items() <= row.items()]
        rows.append(same[0] if same else {**key, **figures(folder, key, threads)})
        print(said(rows[-1]), flush=True)
    return rows


def figures(folder: Path, key: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """What a run's learner, or a method on its net, reaches in one setting.

    Raises:
        SystemExit: what was judged is not what the row says.
    """
    from quickstudy.hub.evaluating import Setting, evaluate_run

    reader = key["learner"] if key["embedding_of"] else None
    report = json.loads((folder / "report.json").read_text())
    setting = Setting(ways=key["way"], shots=key["shot"], **{k: key[k] for k in SAME})
    judged = evaluate_run(
        folder, setting, learner=reader, learner_options=key["told"], threads=threads
    )
    was = {k: judged[k] for k in ("transductive", "queries", "dirichlet")}
    if not was.items() <= key.items():
        raise SystemExit(f"{folder} was judged as {was}, and the row is of {key}")
    return {
        **{k: judged[k] for k in ("accuracy", "interval95", "ece", "control")},
        "steps": report["steps"],
        "training_s": report["seconds"],
        "threads": report["threads"],
        "device": report["device"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def said(row: dict[str, Any]) -> str:
    """A row for whoever watches."""
    shares = "" if row["dirichlet"] is None else f", Dirichlet {row['dirichlet']:g}"
    return (
        f"{title(row)}: {row['way']}-way {row['shot']}-shot{shares}: "
        f"{100 * row['accuracy']:.2f} ± {100 * row['interval95']:.2f} %"
    )


def write_pages(rows: list[dict]) -> None:
    """Put the tables between the markers of the pages that quote them."""
    for page, names in PAGES.items():
        mine = {n: [row for row in rows if row["protocol"] == n] for n in names}
        write_between(page, {n: TABLES[n](mine[n]) for n in names})


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

"""What the way of parting Omniglot is worth: meta-test of other alphabets, or of all, shuffled.

    python -m benchmarks.alphabets               # trains what is missing, then judges all
    python -m benchmarks.alphabets --only-docs   # writes the stored figures into the docs

The split of Vinyals et al. 2016 leaves meta-test alphabets of its own, but for four characters.
The published code of Finn et al. 2017 shuffles all characters and parts those, so that meta-test's
are of alphabets that meta-train saw. MAML by the papers' recipe, cut short, on as many classes of
each. The two are judged on different classes, so that the control beside them says how much of a
difference is the tasks' own: it is no measure of having seen the alphabets alone. Needs
omniglot_28.npz in the data cache.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy_protocols import SETTINGS
from benchmarks.accuracy_table import cell
from benchmarks.pages import write_between

RESULTS = Path(__file__).parent / "results" / "alphabets.json"
PAGE = Path(__file__).parents[1] / "docs" / "learners.md"
RUNS = Path("runs/benchmark/alphabets")
SHUFFLED = "omniglot-shuffled"
SPLITS = {"omniglot": "of other alphabets", SHUFFLED: "of all alphabets, shuffled"}
"""Data by name, and what its meta-test is of."""
RECIPE, LEARNER, STEPS, SEED, TASKS, QUERIES = "paper-20way-1shot", "MAML", 4000, 0, 400, 5
INNER = (10, 0.01)
"""Steps and their rate at meta-test, as `benchmarks.accuracy` takes them."""


def open_shuffled(wanted: Any) -> Any:
    """Omniglot with all characters shuffled, in parts as large as those of Vinyals' split."""
    from quickstudy.data.omniglot import omniglot
    from quickstudy.data.pools import join, split_classes
    from quickstudy.hub.image_source import INK, Images

    parts = omniglot()
    whole = join(parts)
    sizes = tuple(part.classes / whole.classes for part in parts)
    pools = split_classes(whole, sizes, seed=SEED)._asdict()
    return Images(SHUFFLED, pools, INK, curated=True, device=wanted.device)


def run_on(data: str, threads: int | None) -> Path:
    """The folder of the run on that data, trained if it is not there."""
    from quickstudy.hub.config import make_config
    from quickstudy.hub.runs import REPORT, open_run
    from quickstudy.hub.training import Stepped, train

    given = {"learner": LEARNER, "data": data, "steps": STEPS, "seed": SEED, "threads": threads}
    config = make_config({k: v for k, v in given.items() if v is not None}, RECIPE)
    folder = RUNS / f"{data}-{SEED}"
    if (folder / REPORT).exists() and open_run(folder).config == config:
        return folder
    for event in train(config, folder, overwrite=folder.exists()):
        if isinstance(event, Stepped) and event.progress.step % 100 == 0:
            print(f"{data}: step {event.progress.step} of {STEPS}", flush=True)
    return folder


def judged(data: str, threads: int | None) -> list[dict[str, Any]]:
    """A row for each setting, inductive."""
    from quickstudy.hub.evaluating import Setting, evaluate_run

    folder = run_on(data, threads)
    rows = []
    for way, shot in SETTINGS:
        setting = Setting(
            ways=way,
            shots=shot,
            queries=QUERIES,
            tasks=TASKS,
            seed=SEED,
            inner_steps=INNER[0],
            inner_rate=INNER[1],
        )
        found = evaluate_run(folder, setting, threads=threads)
        kept = {k: found[k] for k in ("accuracy", "interval95", "control")}
        rows.append({"data": data, "way": way, "shot": shot, **kept})
        print(f"{data}: {way}-way {shot}-shot: {cell(rows[-1])} %", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each split, and one for its control."""
    lines = [
        "| meta-test | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in SETTINGS) + " |",
        "|---|" + "--:|" * len(SETTINGS),
    ]
    for data, said in SPLITS.items():
        mine = [row for row in rows if row["data"] == data]
        lines.append(f"| {said} | " + " | ".join(cell(row) for row in mine) + " |")
        controls = " | ".join(cell(row["control"]) for row in mine)
        lines.append(f"| the same, raw pixels | {controls} |")
    return "\n".join(lines) + (
        f"\n\n{LEARNER}, {STEPS:,} tasks, inductive: accuracy in per cent with 95 % interval over "
        f"{TASKS:,} meta-test tasks, {QUERIES} queries a class, {INNER[0]} inner steps at a rate "
        f"of {INNER[1]}. Seed {SEED}."
    )


def main() -> None:
    from quickstudy.hub.sources import SOURCES

    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    if not args.only_docs:
        SOURCES[SHUFFLED] = open_shuffled
        rows = [row for data in SPLITS for row in judged(data, args.threads)]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    write_between(PAGE, {"alphabets": table(json.loads(RESULTS.read_text()))})


if __name__ == "__main__":
    main()

"""MAML's gradient beside other libraries, as docs/performance.md quotes it.

    python -m benchmarks.maml                # takes the figures, then writes them into the page
    python -m benchmarks.maml --only-docs

Wants higher and torchopt (`pip install quickstudy[peers]`) and a machine that does nothing else.
Memory at 50 inner steps is taken in float64, where everybody's gradients agree; in float32 some
number lies close enough to a kink in so many steps for gradients to part.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.pages import write_between

RESULTS = Path(__file__).parent / "results" / "maml.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PEERS = "higher,torchopt"


def take(threads: int) -> list[dict[str, Any]]:
    """The runs of the bench, one after the other."""
    from quickstudy.hub.bench_maml import bench_maml

    short = [
        bench_maml(peers=PEERS, inner_steps=steps, compiled=True, threads=threads)
        for steps in (1, 5)
    ]
    deep = [
        bench_maml(
            peers="torchopt", inner_steps=steps, compiled=True, threads=threads,
            dtype="float64", repeats=3,
        )
        for steps in (1, 50)
    ]  # fmt: skip
    return [*short, *deep]


def tables(runs: list[dict[str, Any]]) -> str:
    """The stored runs as Markdown: speed at 1 and 5 inner steps, memory at 1 and 50."""
    one, five, flat, deep = runs
    names = [row["name"] for row in one["rows"]]
    rows = [{row["name"]: row for row in run["rows"]} for run in runs]
    lines = ["| | 1 inner step | peak | 5 inner steps | peak |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {name} | {rows[0][name]['ms_per_task']:.1f} ms | {rows[0][name]['peak_mb']:.0f} MB | "
        f"{rows[1][name]['ms_per_task']:.1f} ms | {rows[1][name]['peak_mb']:.0f} MB |"
        for name in names
    ]
    worst = max(row["gradient_error"] for run in (one, five) for row in run["rows"])
    lines.append(
        f"\n{one['speedup_over_fastest_peer']:.2f} times the fastest peer as shipped at 1 inner "
        f"step, {five['speedup_over_fastest_peer']:.2f} times at 5, our faster row each; compiling "
        f"took {one['compile_s'] or 0:.0f} s (torch keeps what it compiled on disk). Milliseconds "
        f"a task, median of {one['repeats']}; {one['ways']}-way {one['shots']}-shot, "
        f"{one['queries']} queries a class, Conv4 of {one['width']} filters with pooling, second "
        f"order, float32, {one['threads']} threads of {one['cores']} cores, torch {one['torch']}. "
        f"Gradients within {worst:.0e} of those in float64.\n"
    )
    lines += ["| float64 | peak at 1 inner step | at 50 | | time at 50 |", "|---|--:|--:|--:|--:|"]
    for name in rows[2]:
        first, last = rows[2][name]["peak_mb"], rows[3][name]["peak_mb"]
        lines.append(
            f"| {name} | {first:.0f} MB | {last:.0f} MB | {last / first:.2f}x | "
            f"{rows[3][name]['ms_per_task'] / 1000:.2f} s |"
        )
    worst = max(row["gradient_error"] for run in (flat, deep) for row in run["rows"])
    lines.append(f"\nGradients within {worst:.0e}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    if not args.only_docs:
        RESULTS.write_text(json.dumps(take(args.threads), indent=1) + "\n")
    write_between(PAGE, {"bench maml": tables(json.loads(RESULTS.read_text()))})


if __name__ == "__main__":
    main()

"""What `quickstudy --help` costs above the barest app on the same libraries, in CPU seconds.

    python -m benchmarks.startup [--runs 15] [--json]

The two run in turn, each in a new process; the difference is taken pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

BARE = """
import typer
from rich.console import Console
app = typer.Typer(rich_markup_mode="rich")
@app.command()
def one(): "One command."
@app.command()
def two(): "And another."
app()
"""


def cpu_seconds(*command: str) -> float:
    """User and system time of one run of a Python process."""
    before = os.times()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ours = ("-m", "quickstudy", "--help")
    bare = ("-c", BARE, "--help")
    cpu_seconds(*ours), cpu_seconds(*bare)  # bytecode and disk caches
    pairs = [(cpu_seconds(*ours), cpu_seconds(*bare)) for _ in range(args.runs)]
    found = {
        "quickstudy_s": round(statistics.median(a for a, _ in pairs), 3),
        "bare_s": round(statistics.median(b for _, b in pairs), 3),
        "above_bare_s": round(statistics.median(a - b for a, b in pairs), 3),
        "runs": args.runs,
    }
    print(json.dumps(found) if args.json else found)


if __name__ == "__main__":
    main()

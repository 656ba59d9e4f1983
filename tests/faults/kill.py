"""Kill a run at random moments, again and again, and see that nothing is lost.

    python -m tests.faults.kill --times 200

One run folder; each time `quickstudy train` or `resume` begins in a process of its own, which is
killed by SIGKILL: while it starts, while it trains, writes a checkpoint, or stores what it ends
with. After each kill the folder is read; in the end the run is compared with one that nobody
killed. The last line counts what went wrong, as JSON; the exit code is 1 if anything did.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quickstudy.errors import QuickstudyError
from quickstudy.hub.checkpoints import Checkpoints
from quickstudy.hub.runs import open_run

INTERVAL = 25
"""Steps between checkpoints."""
FORWARD = 2 * INTERVAL
"""A process gets so many steps on at most."""
STARTING = 0.2
"""Share of the kills that come while a process starts."""
ENDING = 5
"""So many kills at most come after the last step, while model and report are stored."""
PROGRAM = (sys.executable, "-m", "quickstudy")


def options(steps: int) -> list[str]:
    """A small run, whose steps take a millisecond or so."""
    return [
        "--data", "blobs", "--learner", "protonet", "--threads", "1", "--steps", str(steps),
        "--evaluate-every", str(steps // 4), "--validation-tasks", "5",
        "--checkpoint-every", str(INTERVAL),
    ]  # fmt: skip


def recorded(folder: Path) -> int:
    """How many steps stand in the record."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_once(folder: Path, steps: int, chance: random.Random) -> bool:
    """Begin or go on, and kill; whether it was killed before it ended by itself."""
    begin = ("resume", folder) if (folder / "config.json").exists() else ()
    command = [*PROGRAM, *(begin or ("train", *options(steps), "--out", folder))]
    before = recorded(folder)
    ending = before >= steps
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wanted = before + chance.randint(1, FORWARD)
    late = 0.5 if ending else 0.02
    if chance.random() < STARTING:
        time.sleep(chance.uniform(0, 3))
    else:
        # A checkpoint first takes away what stands behind it, so that the record may shrink.
        while not ending and recorded(folder) < wanted and process.poll() is None:
            time.sleep(0.001)
        while ending and not (folder / "manifest.json").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, late))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def look(folder: Path, newest_before: int, found: dict[str, Any]) -> int:
    """Read a folder after a kill; the step of its newest checkpoint."""
    if not folder.exists():  # killed before there was a run
        return 0
    try:
        run = open_run(folder)
        rows = run.metrics()
        held = Checkpoints(folder).newest()
    except (QuickstudyError, OSError) as error:
        found["unreadable"] += 1
        print(f"unreadable: {error}", flush=True)
        return newest_before
    step = held.tree["fit"]["step"] if held else 0
    if held and held.damaged:
        found["unreadable"] += 1
    if step < newest_before or len(rows) - step > INTERVAL:
        found["lost intervals"] += 1
        print(f"lost: at {step} of {len(rows)}, before at {newest_before}", flush=True)
    if [row["step"] for row in rows] != [*range(1, len(rows) + 1)]:
        found["wrong metrics"] += 1
    return step


def compare(folder: Path, whole: Path, found: dict[str, Any]) -> None:
    """Count what a run that was killed differs in from one that was not."""
    if (folder / "metrics.jsonl").read_bytes() != (whole / "metrics.jsonl").read_bytes():
        found["wrong metrics"] += 1
    ends = [Checkpoints(place).newest() for place in (folder, whole)]
    generators = [end.tree["fit"]["generator"].tolist() if end else None for end in ends]
    weights = [[p.read_bytes() for p in place.glob("weights-*")] for place in (folder, whole)]
    if generators[0] != generators[1] or weights[0] != weights[1] or not weights[0]:
        found["wrong ends"] += 1


def torment(times: int, place: Path, seed: int) -> dict[str, Any]:
    """Kill a run so many times; how often, and what went wrong."""
    chance = random.Random(seed)
    steps = max(times, 8) * FORWARD // 2
    folder, whole = place / "killed", place / "whole"
    found: dict[str, Any] = {
        "kills": 0, "unreadable": 0, "lost intervals": 0, "wrong metrics": 0, "wrong ends": 0,
    }  # fmt: skip
    newest = ended = 0
    while found["kills"] < times and ended < ENDING:
        killed = kill_once(folder, steps, chance)
        ended += not killed or recorded(folder) >= steps
        found["kills"] += killed
        newest = look(folder, newest, found)
        if sys.stderr.isatty():
            print(f"\r{found['kills']} of {times} kills", end="", file=sys.stderr, flush=True)
    for command in (("resume", folder), ("train", *options(steps), "--out", whole)):
        subprocess.run([*PROGRAM, *map(str, command)], check=True, capture_output=True)
    compare(folder, whole, found)
    return found | {"steps": steps, "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, help="Of the moments. Default: another each time.")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory() as place:
        found = torment(args.times, Path(place), seed)
    print(json.dumps(found))
    wrong = ("unreadable", "lost intervals", "wrong metrics", "wrong ends")
    raise SystemExit(int(any(found[name] for name in wrong)))


if __name__ == "__main__":
    main()

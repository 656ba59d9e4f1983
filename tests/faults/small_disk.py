"""Trains on a small real disk that runs full or becomes read-only, and goes on when it is better.

A script, for a mount namespace of its own: `unshare -rm python -m tests.faults.small_disk FOLDER`.
Prints what each fault said, as JSON, and exits 0 where every run ended as one on a good disk.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.artefacts.samples import alike
from tests.faults.test_disk import CONFIG, STEPS, begin, end_of, step_of, steps

from quickstudy.errors import QuickstudyError
from quickstudy.hub.training import train

SIZES = (24, 64, 104)
"""Of the disk, in KiB: no room for a checkpoint, for its copy that is the best, for a second."""


def mount(options: str, place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)


def said_by(folder: Path, until: int = STEPS) -> str:
    try:
        steps(begin(folder), until)
    except QuickstudyError as error:
        return str(error)
    return ""


def main() -> None:
    place, told = Path(sys.argv[1]), []
    good = place / "good" / "run"
    steps(train(CONFIG, good))
    for size in SIZES:
        disk = place / str(size)
        disk.mkdir()
        mount(f"size={size}k", disk)
        told.append(said_by(disk / "run"))
        before = step_of(disk / "run")
        mount("remount,size=8m", disk)
        assert said_by(disk / "run") == ""
        assert step_of(disk / "run") >= before
        assert alike(end_of(disk / "run"), end_of(good))
    disk = place / "read-only"
    disk.mkdir()
    mount("size=8m", disk)
    said_by(disk / "run", until=1)
    mount("remount,ro", disk)
    told.append(said_by(disk / "run"))
    assert step_of(disk / "run") == 1
    mount("remount,rw", disk)
    assert said_by(disk / "run") == ""
    assert alike(end_of(disk / "run"), end_of(good))
    print(json.dumps(told))


if __name__ == "__main__":
    main()

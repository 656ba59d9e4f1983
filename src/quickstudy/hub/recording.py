"""What happens in a run, on its way to the disk by a thread of its own.

Two files grow line by line: `metrics.jsonl` holds what was computed, the same bytes whenever and
wherever the same run is done on one CPU thread, `times.jsonl` when each step was done.
"""

import json
import os
import queue
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from quickstudy.artefacts.atomic import reported
from quickstudy.errors import RunError

METRICS, TIMES = "metrics.jsonl", "times.jsonl"
TIME = "seconds"
"""What of a row goes into `times.jsonl`."""
_WAITING = 4096
"""Rows that may wait for the disk before training waits too."""


class Recorder:
    """The append-only record of a run.

    Args:
        folder: the run's.
        sizes: bytes to keep of each file that is there, as a checkpoint noted them; what stands
            behind them is dropped.

    Raises:
        RunError: a file is shorter than that.
        ArtefactError: a file cannot be written.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int] | None = None) -> None:
        kept = sizes or {}
        # Times first: whoever finds a step finds its time.
        with ExitStack() as opened:
            self._files = [
                opened.enter_context(closing(_Lines(folder / name, kept.get(name, 0))))
                for name in (TIMES, METRICS)
            ]
            opened.pop_all()
        self._queue: queue.Queue[dict[str, Any] | threading.Event | None] = queue.Queue(_WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="quickstudy-recorder", daemon=True)
        self._thread.start()

    def append(self, row: Mapping[str, Any]) -> None:
        """Hand over what happened in a step; it is written soon, and safe after `settle`.

        Raises:
            ArtefactError: an earlier row could not be written.
        """
        self._check()
        self._queue.put(dict(row))

    def settle(self) -> dict[str, int]:
        """Make all rows safe on the disk; how many bytes each file has.

        Raises:
            ArtefactError: they could not be written.
        """
        written = threading.Event()
        self._queue.put(written)
        written.wait()
        self._check()
        return {file.path.name: file.settle() for file in self._files}

    def close(self) -> None:
        """Write what waits, and close the files.

        Raises:
            ArtefactError: it could not be written.
        """
        self._queue.put(None)
        self._thread.join()
        with ExitStack() as closed:  # each of them, whatever another says
            for file in self._files:
                closed.callback(file.close)
        self._check()

    def _check(self) -> None:
        if self._error:
            raise self._error

    def _work(self) -> None:
        while True:
            rows: list[dict[str, Any]] = []
            told: dict[str, Any] | threading.Event | None = self._queue.get()
            try:  # all that waits is one write
                while isinstance(told, dict):
                    rows.append(told)
                    told = self._queue.get_nowait()
            except queue.Empty:
                self._write(rows)
                continue
            self._write(rows)
            if told is None:
                return
            told.set()

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows or self._error:  # behind what was lost nothing may stand
            return
        times, metrics = self._files
        try:
            times.extend({"step": row.get("step"), TIME: row[TIME]} for row in rows if TIME in row)
            metrics.extend({k: v for k, v in row.items() if k != TIME} for row in rows)
        except Exception as error:  # the training thread raises it
            self._error = error


def recorded(folder: Path) -> list[dict[str, Any]]:
    """What a run recorded, one mapping a step; a last line that was cut off is left out.

    Raises:
        OSError: a file is there and cannot be read.
    """
    times = {row.get("step"): row.get(TIME) for row in _rows(folder / TIMES)}
    return [
        {**row, TIME: times[row.get("step")]} if row.get("step") in times else row
        for row in _rows(folder / METRICS)
    ]


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, or no text at all
            continue
        if isinstance(row, dict):
            yield row


class _Lines:
    """A file of JSON lines to whose end one process writes."""

    def __init__(self, path: Path, size: int) -> None:
        held = path.stat().st_size if path.exists() else 0
        if held < size:
            raise RunError(f"{path} has {held} bytes, the checkpoint wants {size}: it was cut off")
        self.path = path
        with reported("write", path), ExitStack() as opened:
            self._file = opened.enter_context(path.open("ab", buffering=0))
            if size < held:
                os.truncate(path, size)
            opened.pop_all()

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        told = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        with reported("write", self.path):
            while told:  # a disk that is almost full takes a part and refuses the next
                told = told[self._file.write(told) :]

    def settle(self) -> int:
        with reported("write", self.path):
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        with reported("write", self.path):
            self._file.close()

"""The folder of a run: what lies in it, how it is made, opened, locked and replaced.

config.json               what the run was told to do
metrics.jsonl             what happened, one object a step
checkpoint.safetensors    where it is, so that it can go on
manifest.json, weights-*  the model, once the run has ended
report.json               how it ended, written last
learning_curve.png, task.png; inner_rates.png where the inner loop's rates are learned
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from quickstudy.artefacts.atomic import read_bytes, reported, write_atomically, write_bytes
from quickstudy.artefacts.schema import check_stamp, stamp
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.config import TrainConfig, explain

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.jsonl", "checkpoint.safetensors"
REPORT, CURVE, PICTURE = "report.json", "learning_curve.png", "task.png"
RATES = "inner_rates.png"


class Run:
    """A run folder that exists and whose configuration could be read.

    Args:
        folder: where it is.
        config: what it was told to do.
        kept: of the folder that it is trained on, as JSON; see `kept.Kept`.
    """

    def __init__(self, folder: Path, config: TrainConfig, kept: JsonValue = None) -> None:
        self.folder = folder
        self.config = config
        self.kept = kept

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def finished(self) -> bool:
        """Whether it has ended: the report is written last."""
        return (self / REPORT).is_file()

    def report(self) -> dict[str, Any]:
        """How it ended.

        Raises:
            RunError: the report cannot be read.
        """
        told = _read_json(self / REPORT)
        if not isinstance(told, dict):
            raise RunError(f"{self / REPORT} cannot be read: wanted a JSON object")
        return told

    def metrics(self) -> list[dict[str, Any]]:
        """What was recorded, one mapping a step; a last line that was cut off is left out."""
        rows = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self / METRICS).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    rows.append(json.loads(line))
        return rows

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while it is trained; the kernel lets go for a killed process.

        Raises:
            RunError: another process holds it.
        """
        with _locked(self.folder):
            yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / CONFIG).open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{folder} is being trained by another process; wait for it or stop it"
            ) from None
        except OSError:  # a file system that has no locks
            pass
        yield


def open_run(path: Path | str) -> Run:
    """The run in a folder; see `put_back` for one that was being replaced.

    Raises:
        RunError: there is no such folder, it is not a run, or its configuration cannot be read.

    Examples:
        >>> open_run("no/such/run")
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: there is no run no/such/run: no such folder
    """
    folder = Path(path)
    put_back(folder)
    if not folder.exists():
        raise RunError(f"there is no run {path}: no such folder")
    if not (folder / CONFIG).is_file():
        raise RunError(f"{path} is not a run: wanted a folder with a {CONFIG}")
    return Run(folder, *_read_config(folder / CONFIG))


def _read_config(path: Path) -> tuple[TrainConfig, JsonValue]:
    told = _read_json(path)
    try:
        check_stamp(told, "run", path)
        return TrainConfig.model_validate(_known(told.get("config"))), told.get("kept")
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error, prefix='')}") from None
    except ArtefactError as error:
        raise RunError(str(error)) from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ArtefactError as error:
        raise RunError(str(error)) from None
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise RunError(f"{path} cannot be read: {said}") from None


def _known(options: Any) -> Any:
    """Stored options without those of another release that asked for nothing."""
    if not isinstance(options, dict):
        return options
    return {
        name: value
        for name, value in options.items()
        if name in TrainConfig.model_fields or value not in (None, False, {}, [])
    }


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a run folder that could not be made, before any work is done.

    A run that is missing because its replacement was killed is put back first.

    Raises:
        RunError: it exists and may not be replaced, or its place cannot be written.
    """
    put_back(path)
    if path.is_symlink() or path.exists():
        _check_replaceable(path, overwrite)
    check_writable(path)


def check_writable(path: Path) -> None:
    """Refuse a place where nothing can be written; looking leaves nothing behind.

    Raises:
        RunError: the folder of `path` cannot be made, or no file can be made in it.
    """
    parent = path.absolute().parent
    missing = [place for place in (parent, *parent.parents) if not place.exists()]
    held = next(place for place in (parent, *parent.parents) if place.exists())
    if not held.is_dir():
        raise RunError(f"cannot write {path}: {held} is no folder")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()


def _check_replaceable(path: Path, overwrite: bool) -> None:
    if not path.is_dir():
        raise RunError(f"{path} is a file; wanted a folder to put the run in")
    if not any(path.iterdir()):
        return
    if not (path / CONFIG).is_file():
        raise RunError(f"{path} holds other files and is not a run; wanted a new or empty folder")
    open_run(path)  # a config.json of another program is no run of ours
    if not overwrite:
        raise RunError(f"{path} exists; name another folder, or replace it with --overwrite")


def create_run(
    path: Path, config: TrainConfig, overwrite: bool = False, kept: JsonValue = None
) -> Run:
    """Make a run folder that holds its configuration; from outside it appears in one step.

    Args:
        path: the folder; its parents are made.
        config: what the run is told to do.
        overwrite: replace a run that is there. Nothing but a run or an empty folder is replaced.
        kept: what it has to find again in its data.

    Raises:
        RunError: it exists and may not be replaced, or cannot be written.
    """
    check_output(path, overwrite)
    document = {**stamp("run"), "config": config.model_dump(mode="json"), "kept": kept}

    def write(partial: Path) -> None:
        partial.mkdir()
        (partial / CONFIG).write_text(_json(document), encoding="utf-8")

    with _set_aside(path):
        write_atomically(path, write)
    return Run(path, config, kept)


@contextlib.contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Move a run out of the way: for good, or until making the new one has failed.

    The run stays locked meanwhile; so `put_back` can tell a process at work from a killed one.
    """
    if not (path / CONFIG).is_file():
        yield
        return
    with open_run(path).lock():
        target = Path(os.path.realpath(path))
        aside = _aside(target)
        _discard(aside)
        with reported("replace", path):
            target.rename(aside)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # another process's run is in its place by now
                aside.rename(target)
            raise
        _discard(aside)


def put_back(path: Path) -> None:
    """Where a process was killed while it replaced a run, give the old run its place again.

    Nothing is done where something is in that place, or where the process is still at work.
    """
    target = Path(os.path.realpath(path))
    aside = _aside(target)
    if (aside / CONFIG).is_file() and not target.exists():
        with contextlib.suppress(RunError, OSError), _locked(aside):
            aside.rename(target)


def _aside(target: Path) -> Path:
    """Where a run waits while it is replaced: one place for each name, which nothing sweeps."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.parent / f".quickstudy-{name}.replaced"


def _discard(aside: Path) -> None:
    """Remove a run that was replaced; from the first step on it is a temporary to be swept."""
    rubbish = aside.parent / f".quickstudy-{secrets.token_hex(8)}.partial"
    with contextlib.suppress(OSError):
        aside.rename(rubbish)
        shutil.rmtree(rubbish, ignore_errors=True)


class Metrics:
    """The append-only record of a run, one JSON object a line.

    Args:
        path: the file.
        size: bytes to keep of what is there; what stands behind them is dropped.

    Raises:
        RunError: the file is shorter than that.
        ArtefactError: it cannot be written.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        held = path.stat().st_size if path.exists() else 0
        if held < size:
            raise RunError(f"{path} has {held} bytes, the checkpoint wants {size}: it was cut off")
        self._path = path
        with reported("write", path):
            self._file = path.open("ab", buffering=0)
            self._file.truncate(size)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line; it is on its way to the disk, not yet safe there.

        Raises:
            ArtefactError: the disk is full.
        """
        line = json.dumps(row).encode() + b"\n"
        with reported("write", self._path):
            while line:  # a disk that is almost full takes a part and refuses the next
                line = line[self._file.write(line) :]

    def settle(self) -> int:
        """Make all lines safe on the disk; how many bytes they are."""
        with reported("write", self._path):
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step: readers see the old file or the new one, whole.

    Raises:
        ArtefactError: it cannot be written; what was there is still there.
    """
    write_bytes(path, _json(value).encode())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

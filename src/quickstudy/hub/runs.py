"""The folder of a run: what lies in it, how it is made, opened, locked and replaced.

config.json                 what the run was told to do, and where it comes from; see `origin`
metrics.jsonl, times.jsonl  what happened and when, one object a step; see `recording`
checkpoints/                where it is, so that it can go on; see `checkpoints`
manifest.json, weights-*    the model, once the run has ended
report.json                 how it ended, written last
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
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from quickstudy.artefacts.atomic import read_bytes, reported, write_atomically, write_bytes
from quickstudy.artefacts.manifest import MANIFEST
from quickstudy.artefacts.schema import check_stamp, stamp
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.config import TrainConfig, explain
from quickstudy.hub.origin import origin
from quickstudy.hub.recording import recorded

CONFIG, REPORT = "config.json", "report.json"
_ATTEMPTS = 10
"""To take the lock: whoever asks whether a run is busy holds it for an instant."""
CURVE, PICTURE = "learning_curve.png", "task.png"
RATES = "inner_rates.png"


class Run:
    """A run folder that exists and whose configuration could be read.

    Args:
        folder: where it is.
        config: what it was told to do.
        kept: of the folder that it is trained on, as JSON; see `kept.Kept`.
        origin: where it comes from, as JSON; see `origin`. Empty of a run that says nothing of it.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        kept: JsonValue = None,
        origin: Mapping[str, JsonValue] | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.kept = kept
        self.origin = dict(origin or {})

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def finished(self) -> bool:
        """Whether it has ended: the report is written last."""
        return (self / REPORT).is_file()

    @property
    def id(self) -> str:
        """Of its origin; of a run that says nothing of it, of its folder's path."""
        told = self.origin.get("id")
        if isinstance(told, str) and told:
            return told
        return hashlib.sha256(os.fsencode(self.folder.absolute())).hexdigest()[:32]

    @property
    def busy(self) -> bool:
        """Whether a process is training it."""
        with (self / CONFIG).open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

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
        return recorded(self.folder)

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
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(0.02)
                    continue
                raise RunError(
                    f"{folder} is being trained by another process; wait for it or stop it"
                ) from None
            except OSError:  # a file system that has no locks
                pass
            break
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


def check_ended(path: Path | str) -> None:
    """Refuse a folder that is not there, or is a run's that has no model yet; see `put_back` too.

    Raises:
        RunError: that is so.

    Examples:
        >>> check_ended("no/such/run")
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: there is no run no/such/run: no such folder
    """
    folder = Path(path)
    put_back(folder)
    if not folder.exists():
        raise RunError(f"there is no run {path}: no such folder")
    if (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file():
        raise RunError(
            f"{path} has no model yet, its training has not ended; "
            f"`quickstudy resume {path}` goes on with it"
        )


def _read_config(path: Path) -> tuple[TrainConfig, JsonValue, dict[str, JsonValue]]:
    told = _read_json(path)
    try:
        check_stamp(told, "run", path)
        came = told.get("origin")
        config = TrainConfig.model_validate(_known(told.get("config")))
        return config, told.get("kept"), came if isinstance(came, dict) else {}
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
    came = origin()
    told = {"origin": came, "config": config.model_dump(mode="json"), "kept": kept}
    document = {**stamp("run"), **told}

    def write(partial: Path) -> None:
        partial.mkdir()
        (partial / CONFIG).write_text(_json(document), encoding="utf-8")

    with _set_aside(path):
        write_atomically(path, write)
    return Run(path, config, kept, came)


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


def discard(folder: Path) -> None:
    """Remove a run; from the first step on it is a temporary to be swept.

    Raises:
        OSError: it cannot be moved away; it is still there then.
    """
    rubbish = folder.parent / f".quickstudy-{secrets.token_hex(8)}.partial"
    folder.rename(rubbish)
    shutil.rmtree(rubbish, ignore_errors=True)


def _discard(aside: Path) -> None:
    """Remove a run that was replaced."""
    with contextlib.suppress(OSError):
        discard(aside)


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step: readers see the old file or the new one, whole.

    Raises:
        ArtefactError: it cannot be written; what was there is still there.
    """
    write_bytes(path, _json(value).encode())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

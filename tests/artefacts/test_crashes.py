"""Kills, full disks and broken disks: what was saved last stays whole."""

import itertools
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from artefacts.killing import KINDS, Kind
from artefacts.samples import Trip, broken_disk, full_disk, moments
from quickstudy.artefacts.atomic import write_atomically
from quickstudy.errors import ArtefactError

SCRIPT = Path(__file__).parent / "killing.py"

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
every_fault = pytest.mark.parametrize("fault", [full_disk, broken_disk])


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no machine crashes, waiting for the disk changes nothing but the time a test takes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_kills_in_the_middle_of_saves(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, tmp_path, "20"], check=True, timeout=120)


@pytest.mark.slow
def test_many_kills_in_the_middle_of_saves(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, tmp_path, "1000"], check=True, timeout=3600)


@pytest.mark.usefixtures("quick_disk")
@every_kind
@every_fault
@pytest.mark.parametrize("onwards", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("existing", [False, True], ids=["new", "replacing"])
def test_a_disk_that_fails_at_any_call(
    tmp_path: Path, kind: Kind, fault: Callable[[], None], onwards: bool, existing: bool
) -> None:
    failed = 0
    for call, partly in moments():
        folder = tmp_path / f"{call}{partly}"
        folder.mkdir()
        path = folder / "saved"
        if existing:
            kind.save(path, 1)
        before = entries(folder)
        trip = Trip(fault, call, onwards=onwards, partly=partly)
        message = ""
        try:
            with trip:
                kind.save(path, 2)
        except ArtefactError as error:
            message = str(error)
            assert message.startswith("cannot write ")
            assert message.endswith(("No space left on device", "Input/output error"))
        if not trip.tripped:
            assert not message
            break
        failed += bool(message)
        after = entries(folder)
        assert not any(name.endswith(".partial") for name in after)
        if path.exists():
            # Whole: the old one; or the new one, where the disk failed after the rename.
            assert kind.load(path) in ((1, 2) if existing else (2,))
        else:
            assert message
            assert not existing
        if message and existing and kind.load(path) == 1:
            assert after == before
        if message and not path.exists():
            assert after == []
        kind.save(path, 3)  # a disk that works again is written to as ever
        assert kind.load(path) == 3
        assert len(entries(folder)) == (3 if path.is_dir() else 1)
    assert failed >= 4


@every_kind
def test_what_a_name_stands_for_is_on_the_disk_first(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pulled plug loses what was not forced to the disk: bytes first, then their name."""
    events: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        events.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        events.append(("replace", source.stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    path = tmp_path / "deep" / "saved"
    kind.save(path, 1)
    made = [tmp_path, path.parent] if path.is_dir() else [tmp_path]
    parent = path if path.is_dir() else path.parent
    expected = [("fsync", folder.stat().st_ino) for folder in made]
    for file in sorted(path.iterdir(), reverse=True) if path.is_dir() else [path]:
        inode = file.stat().st_ino  # the weights, then the manifest
        expected += [("fsync", inode), ("replace", inode), ("fsync", parent.stat().st_ino)]
    assert events == expected


@every_kind
def test_a_disk_with_little_room(tmp_path: Path, kind: Kind) -> None:
    """The kernel itself refuses: no file of this process may grow beyond a limit."""
    path = tmp_path / "saved"
    kind.save(path, 1)
    before = entries(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 100, 1000, 1500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(ArtefactError, match=r"^cannot write .*: File too large$"):
                kind.save(path, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert kind.load(path) == 1
        assert entries(tmp_path) == before
    kind.save(path, 2)
    assert kind.load(path) == 2


@every_kind
def test_a_folder_where_nothing_may_be_written(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match=r"^cannot write .*file/saved: "):
        kind.save(tmp_path / "file" / "saved", 1)
    assert entries(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        partial.mkdir()
        for name in "abc":
            (partial / name).write_bytes(name.encode() * 100)

    for call in itertools.count():
        with Trip(full_disk, call, partly=True) as trip, suppress(ArtefactError):
            write_atomically(tmp_path / "run", write)
        if (tmp_path / "run").exists():
            assert entries(tmp_path) == ["run", "run/a", "run/b", "run/c"]
            for path in (tmp_path / "run").iterdir():
                assert path.read_bytes() == path.name.encode() * 100
            if not trip.tripped:
                break
            for path in (tmp_path / "run").iterdir():
                path.unlink()
            (tmp_path / "run").rmdir()
        assert entries(tmp_path) == []
    assert call > 5


@pytest.mark.usefixtures("quick_disk")
@every_kind
def test_readers_and_writers_at_the_same_time(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "saved"
    kind.save(path, 0)
    writers = [
        threading.Thread(target=lambda first=first: [kind.save(path, first + i) for i in range(30)])
        for first in (100, 200)
    ]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(kind.load(path))
    assert len(seen) > 1
    assert kind.load(path) in (129, 229)
    assert len(entries(tmp_path)) == (3 if path.is_dir() else 1)


def test_writers_in_other_processes(tmp_path: Path) -> None:
    """Every process of a training run saves the same model at the same time."""
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parents[1])!r})\n"
        "from artefacts.killing import KINDS, without_waiting; from pathlib import Path\n"
        "with without_waiting():\n"
        "    for step in range(20): KINDS['model'].save(Path(sys.argv[1]), step)"
    )
    path = tmp_path / "saved"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert KINDS["model"].load(path) == 19
    assert len(os.listdir(path)) == 2

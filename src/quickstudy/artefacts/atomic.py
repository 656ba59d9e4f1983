"""Files that are replaced whole or not at all.

The scheme: everything is first written under a temporary name in the folder where it will live,
and forced to the disk; then one `rename`, which the file system makes atomic, gives it its name;
then the folder itself is forced to the disk. A process killed at any point, a full disk and a
pulled plug all leave what was there before, or what was to come, and nothing between.

A rename can replace a file, but no folder that holds something. What lives in a folder and is to
be replaced therefore needs one file that names the others; see `save_model`.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quickstudy.errors import ArtefactError

STALE_SECONDS = 3600
"""A temporary this much older than the one just written belongs to a process that was killed."""

_PREFIX, _SUFFIX = ".quickstudy-", ".partial"


def write_atomically(path: Path | str, write: Callable[[Path], object]) -> None:
    """Make a file or a folder appear at a path, whole or not at all.

    Missing parents are made. A link at `path` is followed, as `open` would do. Temporaries that
    killed processes left in the same folder are removed once they are an hour old.

    Args:
        path: where the file or folder is to be. A file there is replaced; so is an empty folder,
            by a folder.
        write: makes a file or a folder at the temporary path it is given, in the same parent.

    Raises:
        ArtefactError: it cannot be written, or a folder that is not empty is in the way. What was
            there is still there (if only the last step failed, forcing the new name to the disk,
            the new one is), and no temporary is left behind.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/note.txt", lambda path: path.write_text("whole"))
        ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
        [('note.txt', 'whole')]
    """
    with reported("write", path):
        target = Path(os.path.realpath(path))
        if target.is_dir() and any(target.iterdir()):
            raise ArtefactError(f"cannot write {path}: there is a folder that holds something")
        make_folder(target.parent)
        partial = target.parent / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        try:
            write(partial)
            for part in (*partial.rglob("*"), partial):
                _to_disk(part)
            age = partial.stat().st_mtime
            os.replace(partial, target)
            _to_disk(target.parent)
        finally:
            _remove(partial)
        _remove_stale(target.parent, before=age - STALE_SECONDS)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Replace one file by these bytes, atomically.

    Raises:
        ArtefactError: see `write_atomically`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(f"{folder}/new/file", b"whole")
        ...     read_bytes(f"{folder}/new/file")
        b'whole'
    """
    write_atomically(path, lambda partial: partial.write_bytes(content))


def read_bytes(path: Path | str) -> bytes:
    """All bytes of a file.

    Raises:
        ArtefactError: it cannot be read.

    Examples:
        >>> read_bytes("no/such/file")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: cannot read no/such/file: No such file or directory
    """
    with reported("read", path):
        return Path(path).read_bytes()


@contextmanager
def reported(verb: str, path: Path | str) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line.

    Args:
        verb: what was tried, "read" or "write".
        path: on what.

    Raises:
        ArtefactError: in place of any OSError.

    Examples:
        >>> with reported("read", "a.json"):
        ...     raise PermissionError(13, "Permission denied")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: cannot read a.json: Permission denied
    """
    try:
        yield
    except OSError as error:
        raise ArtefactError(f"cannot {verb} {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each one's name forced to the disk.

    Raises:
        OSError: it cannot be made.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(Path(folder, "a", "b"))
        ...     Path(folder, "a", "b").is_dir()
        True
    """
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        _to_disk(part.parent)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other writers that ask the same out of a folder; wait for one that is in it.

    The lock is the kernel's (flock), so a killed process leaves none behind. On a file system
    that has no locks, nothing is kept out.

    Raises:
        OSError: there is no such folder.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, exclusive(Path(folder)):
        ...     print("alone")
        alone
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # A child forked meanwhile holds the descriptor too: closing alone would not unlock.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(descriptor)


def _remove_stale(folder: Path, before: float) -> None:
    """Remove the temporaries in a folder that were last written before a time of its clock."""
    for partial in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            if partial.stat().st_mtime < before:
                _remove(partial)


def _remove(path: Path) -> None:
    """Remove a file or a folder; what cannot be removed is left to a later write."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

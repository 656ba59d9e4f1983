"""Where data lies on this machine, and how a file gets there without ever being half there."""

import logging
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from quickstudy.errors import DataError

VARIABLE = "QUICKSTUDY_DATA"
"""The environment variable that names the cache folder."""

_logger = logging.getLogger(__name__)


def cache_folders(cache: Path | str | None = None) -> list[Path]:
    """The folders that data is looked for in, the first first; none of them need exist.

    Args:
        cache: look here and nowhere else. Where it is None: in the folder that $QUICKSTUDY_DATA
            names, if it does, then in the platform's cache folder.

    Raises:
        DataError: one of them exists and is no folder.

    Examples:
        >>> [str(folder) for folder in cache_folders("some/cache")]
        ['some/cache']
    """
    if cache is not None:
        folders = [Path(cache).expanduser()]
    else:
        named = os.environ.get(VARIABLE, "")
        folders = [Path(named).expanduser()] if named else []
        folders.append(platformdirs.user_cache_path("quickstudy", appauthor=False))
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise DataError(f"the data cache must be a folder, got the file {folder}")
    return folders


def cache_folder(cache: Path | str | None = None) -> Path:
    """The folder that new data is written to: the first of `cache_folders` that can be written.

    Where there is none, a temporary folder of this user's, and a warning in the log.

    Args:
        cache: as for `cache_folders`.

    Returns:
        A folder that exists.

    Raises:
        DataError: the named folder is a file.
    """
    folder = writable_folder(cache)
    if folder is not None:
        return folder
    temporary = _temporary_folder()
    _logger.warning(
        "no data cache can be written (%s): using %s, which may not outlive this machine's uptime",
        ", ".join(map(str, cache_folders(cache))),
        temporary,
    )
    return temporary


def writable_folder(cache: Path | str | None = None) -> Path | None:
    """The first of `cache_folders` that can be written, made if need be; None where none can.

    Raises:
        DataError: the named folder is a file.

    Examples:
        >>> writable_folder("/dev/null/cache") is None
        True
    """
    for folder in cache_folders(cache):
        if _writable(folder):
            return folder
    return None


def find(name: str, cache: Path | str | None = None) -> Path | None:
    """The file of that name in the first of `cache_folders` that holds it, or None.

    Raises:
        DataError: the named folder is a file.

    Examples:
        >>> find("no_such_file.npz", cache="no/such/folder") is None
        True
    """
    for folder in cache_folders(cache):
        try:
            if (folder / name).is_file():
                return folder / name
        except OSError:  # a folder that may not be entered holds nothing for us
            continue
    return None


def free_bytes(folder: Path | str) -> int:
    """Free bytes on the disk that holds `folder`, or will hold it once it is made.

    Examples:
        >>> free_bytes("/not/made/yet") > 0
        True
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz file; no Python object is ever unpickled.

    Raises:
        DataError: the file is missing, truncated, no npz file, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is no whole npz file of arrays: {reason}") from error
    raise DataError(f"{path} must be an npz file of several arrays, got a single array")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write an npz file in one step: readers see the old file or the new one, whole.

    Args:
        path: the file; its folder exists.
        arrays: name to array, no Python objects among them.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with written(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `path` once all is written.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # a temporary file is its owner's only; a cache may be shared
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, which is made if it can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_folder() -> Path:
    """A folder of this user's under the system's temporary one, the same from run to run."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"quickstudy-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_symlink() and folder.stat().st_uid == user and _writable(folder):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="quickstudy-"))  # somebody else made that name their own

"""A disk that refuses one call, or all from one on, below a folder.

It stands between this process and the operating system, at the functions through which Python's own
`open`, `pathlib`, `shutil` and `tempfile` change a disk. What is read is left alone.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FREES = ("unlink", "rmdir")
"""Calls that a full disk allows."""
LOOKS = "look"
"""Opening a folder or a file of one's own to force it to the disk; only a broken one refuses it."""
_CALLS = ("mkdir", "rename", "replace", "truncate", "link", "symlink", *FREES)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_TOKEN = ".quickstudy-"


class Disk:
    """Counts the calls that change what lies below a folder, and refuses some of them.

    A context manager. The calls: opening, writing, flushing, closing what was written, fsync, and
    those that give, change and take names.

    Args:
        folder: below which the disk is bad.
        code: of the error, such as errno.ENOSPC.
        at: which call is refused, from 0; None refuses none.
        onwards: all later ones too.
        partly: half of the bytes are written, where bytes are refused.

    Attributes:
        calls: what was called so far, each as its name and the file's.
    """

    def __init__(
        self,
        folder: Path,
        code: int = errno.EIO,
        at: int | None = None,
        *,
        onwards: bool = False,
        partly: bool = False,
    ) -> None:
        self.folder, self.code, self.at = folder, code, at
        self.onwards, self.partly = onwards, partly
        self.calls: list[str] = []
        self._paths: dict[int, object] = {}
        self._real: list[tuple[Any, str, Any]] = []

    @property
    def refused(self) -> bool:
        """Whether the call that was to be refused came."""
        return self.at is not None and len(self.calls) > self.at

    def holds(self, path: object) -> bool:
        """Whether a path lies below the folder; a relative one is of a folder being emptied."""
        if not isinstance(path, str | os.PathLike):
            return False
        return not os.path.isabs(path) or Path(path).is_relative_to(self.folder)

    def _plain(self, path: object) -> str:
        """A file's name, of which what is random is left out."""
        name = Path(str(path)).name
        if path == self.folder or name.startswith("tmp"):
            return "the folder" if path == self.folder else "temporary"
        return "partial" if name.startswith(_TOKEN) else name

    def call(self, name: str, path: object, before: Callable[[], object] = lambda: None) -> None:
        """Count a call, and refuse it if it is due."""
        number = len(self.calls)
        self.calls.append(f"{name} {self._plain(path)}")
        if self.at is None or number < self.at or (number > self.at and not self.onwards):
            return
        if (self.code == errno.ENOSPC and name in FREES) or (
            self.code != errno.EIO and name == LOOKS
        ):
            return
        before()
        raise OSError(self.code, os.strerror(self.code), str(path))

    def __enter__(self) -> "Disk":
        for name in _CALLS:
            self._wrap(os, name, self._named)
        self._wrap(os, "open", self._opened)
        self._wrap(os, "fsync", self._forced)
        self._wrap(io, "open", self._file)
        self._wrap(builtins, "open", self._file)
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, real in self._real:
            setattr(owner, name, real)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        real = getattr(owner, name)
        self._real.append((owner, name, real))
        setattr(owner, name, lambda *args, **kwargs: wrapper(real, name, *args, **kwargs))

    def _named(self, real: Callable[..., Any], name: str, path: Any, *args: Any, **how: Any) -> Any:
        if self.holds(path):
            self.call(name, path)
        return real(path, *args, **how)

    def _opened(
        self, real: Callable[..., Any], name: str, path: Any, flags: int, *args: Any, **how: Any
    ) -> Any:
        if self.holds(path):
            self.call("open" if flags & _WRITES else LOOKS, path)
        descriptor = real(path, flags, *args, **how)
        self._paths[descriptor] = path
        return descriptor

    def _forced(self, real: Callable[..., Any], name: str, descriptor: int) -> Any:
        path = self._paths.get(descriptor)
        if self.holds(path):
            self.call(name, path)
        return real(descriptor)

    def _file(
        self,
        real: Callable[..., Any],
        name: str,
        path: Any,
        mode: str = "r",
        *args: Any,
        **how: Any,
    ) -> Any:
        if not self.holds(path) or not set(mode) & set("wax+") or how.get("opener"):
            return real(path, mode, *args, **how)
        self.call("open", path)
        file = real(path, mode, *args, **how)
        self._paths[file.fileno()] = path
        return _Written(file, path, self)


class _Written:
    """A file that was opened to write to it."""

    def __init__(self, file: Any, path: object, disk: Disk) -> None:
        self._file, self._path, self._disk = file, path, disk

    def write(self, content: Any) -> Any:
        self._disk.call("write", self._path, lambda: self._half(content))
        return self._file.write(content)

    def _half(self, content: Any) -> None:
        if self._disk.partly:
            self._file.write(content[: len(content) // 2])

    def flush(self) -> None:
        self._disk.call("flush", self._path)
        self._file.flush()

    def close(self) -> None:
        was_open = not self._file.closed
        self._file.close()  # as the operating system does: closed, whatever it says
        if was_open:
            self._disk.call("close", self._path)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

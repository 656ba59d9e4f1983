"""Where a run comes from: which program, which code, which machine, and when it began."""

import platform
import socket
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from quickstudy._version import __version__

_LIBRARIES = ("torch", "numpy")
_SECONDS = 5
"""Longest wait for git, which may have a large tree to look at."""


def origin() -> dict[str, JsonValue]:
    """What the record of a new run says of its beginning.

    Returns:
        "id", drawn at random; "began" in UTC; "command"; "host"; "versions" by name; "git", see
        `git_state`.
    """
    versions = {"quickstudy": __version__, "python": platform.python_version()}
    return {
        "id": uuid.uuid4().hex,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else [],
        "host": socket.gethostname(),
        "versions": {**versions, **{name: metadata.version(name) for name in _LIBRARIES}},
        "git": git_state(Path.cwd()),
    }


def git_state(folder: Path) -> dict[str, JsonValue] | None:
    """The commit that a folder's checkout is at, and whether tracked files differ from it.

    Returns:
        "commit" and "changed" (None where git took too long); None where there is no checkout, no
        commit or no git.

    Examples:
        >>> git_state(Path("/")) is None
        True
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

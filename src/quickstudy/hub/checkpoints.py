"""The checkpoints of a run: the last few and the best, and the newest whole one of them.

checkpoints/step-00001200.safetensors    as of that step
checkpoints/best-00000800.safetensors    as of the best meta-validation so far
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.artefacts.atomic import read_bytes, write_bytes
from quickstudy.artefacts.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.errors import ArtefactError, RunError

CHECKPOINTS = "checkpoints"
_LAST, _BEST = "step", "best"


class Found(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        tree: what was saved.
        path: its file.
        damaged: what is wrong with newer ones, which were passed over.
    """

    tree: dict[str, Any]
    path: Path
    damaged: list[str]


class Checkpoints:
    """The checkpoints in a run's folder.

    Args:
        folder: the run's.
        keep: how many of the last ones stay, >= 1, beside the best.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder / CHECKPOINTS
        self.keep = keep

    def save(self, step: int, tree: dict[str, Any], *, best: bool = False) -> None:
        """Store a checkpoint, then remove those that are no longer wanted.

        Args:
            step: how many steps are done.
            tree: what to store; see `save_checkpoint`.
            best: whether this is the best so far.

        Raises:
            ArtefactError: it cannot be written. All earlier ones are still there then.
        """
        path = self._named(_LAST, step)
        save_checkpoint(path, tree)
        if best:
            write_bytes(self._named(_BEST, step), read_bytes(path))  # no link: damage stays alone
        last = self._steps(_LAST)
        for old in last[: -self.keep] + (self._steps(_BEST)[:-1] if best else []):
            with contextlib.suppress(OSError):  # one too many is no harm
                old.unlink()

    def newest(self) -> Found | None:
        """The newest checkpoint that is whole; None where none was ever saved.

        Raises:
            RunError: all of them are damaged.
        """
        damaged: list[str] = []
        for path in self._newest_first():
            try:
                return Found(load_checkpoint(path), path, damaged)
            except ArtefactError as error:
                damaged.append(str(error))
        if damaged:
            raise RunError(f"no checkpoint can be read: {'; '.join(damaged)}")
        return None

    def _newest_first(self) -> Iterator[Path]:
        found = self._steps(_LAST) + self._steps(_BEST)
        # Of two of one step the second is a link to the first, or a copy.
        yield from sorted(found, key=lambda path: (_step_of(path), path.name), reverse=True)

    def _named(self, kind: str, step: int) -> Path:
        return self.folder / f"{kind}-{step:08d}.safetensors"

    def _steps(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-{'[0-9]' * 8}*.safetensors"), key=_step_of)


def _step_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])

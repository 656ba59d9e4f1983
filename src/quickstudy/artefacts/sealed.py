"""One safetensors file that holds a tree and carries the digest of all its own bytes.

The file's first bytes are always `_OPENING` after safetensors' eight bytes of length: the
metadata comes first, it has one key, and its value is a JSON object whose first field is
"sha256". So the digest lies at a fixed place. It is that of the whole file with zeros there;
nothing is parsed before it is checked, and no flipped bit or missing byte escapes it. It guards
against accidents, not against a forger, who can compute a digest too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue

from quickstudy.artefacts import atomic
from quickstudy.artefacts.plain import plain
from quickstudy.artefacts.schema import check_stamp, stamp
from quickstudy.artefacts.tensors import from_bytes, to_bytes, usable
from quickstudy.artefacts.tree import Tree, flatten, unflatten
from quickstudy.errors import ArtefactError

_KEY = "quickstudy"
_OPENING = rb'{"__metadata__":{"quickstudy":"{\"sha256\":\"'
_START = 8 + len(_OPENING)
_DIGEST = slice(_START, _START + 64)
_BLANK = "0" * 64


class Sealed(NamedTuple):
    """A sealed file, read and checked.

    Attributes:
        header: its fields.
        raw: all its bytes.
        path: where it was, for messages.
    """

    header: dict[str, Any]
    raw: bytes
    path: Path

    def tree(self, device: torch.device | str = "cpu") -> Tree:
        """The tree in it.

        Args:
            device: where its tensors go.

        Raises:
            ArtefactError: the device cannot be used.

        Examples:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     write_sealed(f"{folder}/a", "state", {"mean": torch.zeros(2)}, {})
            ...     read_sealed(f"{folder}/a", "state").tree()
            {'mean': tensor([0., 0.])}
        """
        tensors = from_bytes(self.raw, self.path)
        with usable(device):
            tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        try:
            return unflatten(tensors, self.header.get("structure"))
        except ArtefactError as error:
            raise ArtefactError(f"{self.path}: {error}") from error


def write_sealed(path: Path | str, kind: str, tree: Tree, fields: Mapping[str, object]) -> None:
    """Store a tree and some fields in one file, atomically.

    Args:
        path: of the file; one that is there is replaced.
        kind: "state" or "checkpoint".
        tree: see `tree.Tree`.
        fields: JSON values for the header.

    Raises:
        ArtefactError: what came cannot be stored, or not there; see `write_atomically`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_sealed(f"{folder}/a", "state", (1, 2.5), {"labels": ["a", "b"]})
        ...     sealed = read_sealed(f"{folder}/a", "state")
        >>> sealed.header["labels"], sealed.tree()
        (['a', 'b'], (1, 2.5))
    """
    tensors, structure = flatten(tree)
    header = {"sha256": _BLANK, **stamp(kind), **_plain(fields), "structure": structure}
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":"))
    except ValueError as error:  # an int of more digits than Python prints
        raise ArtefactError(f"cannot write {path}: {error}") from error
    raw = bytearray(to_bytes(tensors, {_KEY: text}))
    if not _has_opening(raw):
        raise RuntimeError("this release of safetensors begins its files in another way")
    raw[_DIGEST] = hashlib.sha256(raw).hexdigest().encode()
    atomic.write_bytes(path, bytes(raw))


def read_sealed(path: Path | str, kind: str) -> Sealed:
    """Read a file that `write_sealed` wrote, and check every byte of it.

    Args:
        path: of the file.
        kind: "state" or "checkpoint".

    Raises:
        ArtefactError: the file is missing, damaged, of another kind or of a newer schema.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_sealed(f"{folder}/a", "state", {"way": 5}, {})
        ...     read_sealed(f"{folder}/a", "checkpoint")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: .../a is a quickstudy state; wanted a quickstudy checkpoint
    """
    raw = atomic.read_bytes(path)
    if not _has_opening(raw):
        raise ArtefactError(
            f"{path} ({len(raw)} bytes) does not begin as a quickstudy {kind} does; it is another "
            "kind of file, or damaged"
        )
    blank = bytearray(raw)
    blank[_DIGEST] = _BLANK.encode()
    digest = hashlib.sha256(blank).hexdigest()
    if raw[_DIGEST] != digest.encode():
        raise ArtefactError(
            f"{path} is damaged: its {len(raw)} bytes have the SHA-256 digest {digest}; it says "
            f"{raw[_DIGEST].decode('ascii', 'backslashreplace')}"
        )
    end = 8 + int.from_bytes(raw[:8], "little")
    try:
        header = json.loads(json.loads(raw[8:end])["__metadata__"][_KEY])
    except (ValueError, LookupError, TypeError, RecursionError) as error:  # a forger's digest
        raise ArtefactError(f"{path} has no header that can be read: {error}") from error
    check_stamp(header, kind, path)
    return Sealed(header, raw, Path(path))


def _has_opening(raw: bytes | bytearray) -> bool:
    return raw[8:_START] == _OPENING


def _plain(fields: Mapping[str, object]) -> dict[str, JsonValue]:
    return {name: plain(value, name) for name, value in fields.items()}

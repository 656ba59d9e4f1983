"""Files that do something when they are unpickled: they make a folder, the canary."""

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

from quickstudy.artefacts.sealed import _DIGEST, _OPENING


class Bomb:
    """Whoever unpickles one calls `os.mkdir`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.canary),)


class Poison(NamedTuple):
    """A file's content, and the reader for which it is meant."""

    content: bytes
    careless: Callable[[io.BytesIO], object]


def written(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def forged(content: bytes) -> bytes:
    """With the opening and the digest of a state or a checkpoint, as a forger can write them."""
    head = _OPENING + b"0" * 64 + content
    raw = bytearray(len(head).to_bytes(8, "little") + head)
    raw[_DIGEST] = hashlib.sha256(raw).hexdigest().encode()
    return bytes(raw)


def poisons(canary: Path) -> dict[str, Poison]:
    """All of them, by name."""
    bomb = Bomb(canary)
    objects = np.array([bomb], dtype=object)

    def unpickle(file: io.BytesIO) -> object:
        return pickle.load(file)  # noqa: S301 - what nothing in the package does

    def from_torch(file: io.BytesIO) -> object:
        return torch.load(file, weights_only=False)

    def from_numpy(file: io.BytesIO) -> object:
        loaded = np.load(file, allow_pickle=True)
        return loaded["a"] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded

    def from_yaml(file: io.BytesIO) -> object:
        return yaml.unsafe_load(file)

    def behind(opening: int) -> Callable[[io.BytesIO], object]:
        def read(file: io.BytesIO) -> object:
            file.seek(opening)
            return unpickle(file)

        return read

    pickled = pickle.dumps(bomb)
    old = {"_use_new_zipfile_serialization": False}
    called = f"!!python/object/apply:os.mkdir ['{canary}']\n"
    return {
        "pickle": Poison(pickled, unpickle),
        "oldest pickle": Poison(pickle.dumps(bomb, protocol=0), unpickle),
        "torch": Poison(written(lambda file: torch.save(bomb, file)), from_torch),
        "old torch": Poison(written(lambda file: torch.save(bomb, file, **old)), from_torch),
        "npz": Poison(written(lambda f: np.savez(f, a=objects, allow_pickle=True)), from_numpy),
        "npy": Poison(written(lambda f: np.save(f, objects, allow_pickle=True)), from_numpy),
        "yaml": Poison(called.encode(), from_yaml),
        "yaml option": Poison(f"steps: {called}".encode(), from_yaml),
        "sealed": Poison(forged(pickled), behind(len(forged(b"")))),
        "safetensors": Poison(len(pickled).to_bytes(8, "little") + pickled, behind(8)),
    }

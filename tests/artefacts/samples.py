"""A small learner with a net, a rule, a buffer and a head; ways to compare and to break."""

import errno
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Rule:
    """No module: a plain object that keeps its arguments."""

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate


class Net(nn.Module):
    def __init__(self, widths: list[int] | tuple[int, ...] = (3, 4), bias: bool = True) -> None:
        super().__init__()
        self.widths = list(widths)
        self.bias = bias
        self.layer = nn.Linear(*self.widths, bias=bias)
        self.register_buffer("mean", torch.zeros(widths[-1]))
        self.register_buffer("count", torch.tensor(0))


class Learner(nn.Module):
    def __init__(
        self, net: nn.Module, rule: Rule | None = None, steps: int = 5, title: str | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.rule = rule if rule is not None else Rule()
        self.steps = steps
        self.title = title
        self.head = nn.Parameter(torch.ones(4))


CATALOGUE = {"Learner": Learner, "Net": Net, "Rule": Rule}


def filled(fill: float = 1.0, net: nn.Module | None = None, **arguments: Any) -> Learner:
    """A learner whose every weight and buffer is filled with a number."""
    learner = Learner(net or Net(), **arguments)
    for tensor in learner.state_dict(keep_vars=True).values():
        tensor.data.fill_(fill)
    return learner


def raw(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def alike(a: Any, b: Any) -> bool:
    """Equal to the last bit, with the same types and orders; all NaN are one."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and raw(a) == raw(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(
            type(x) is type(y) and alike(a[x], b[y]) for x, y in zip(a, b, strict=True)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (a != a and b != b) or struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def damaged(content: bytes) -> Iterator[bytes]:
    """A file's content cut at every 64th byte and everywhere near its end, then lengthened."""
    for end in (*range(0, len(content), 64), *range(max(0, len(content) - 8), len(content))):
        yield content[:end]
    yield content + b"\0"
    yield b"\0" + content


def flips(file: Path) -> Iterator[int]:
    """Flips each bit of a file in turn, in place, and leaves the file as it was."""
    content = file.read_bytes()
    with file.open("r+b", buffering=0) as handle:
        for place in range(len(content) * 8):
            byte = content[place // 8]
            for value in (byte ^ 1 << place % 8, byte):
                handle.seek(place // 8)
                handle.write(bytes([value]))
                if value != byte:
                    yield place


class Trip:
    """Counts the calls that change a disk, and does something at one of them.

    A context manager. The calls: the writing of bytes, fsync, rename, mkdir, unlink, rmdir.

    Args:
        action: called in place of the call; raises or kills.
        at: at which call, from 0.
        onwards: at all later ones too (but for unlink and rmdir, which a full disk allows).
        partly: write half of the bytes first, where bytes are written.
    """

    def __init__(
        self, action: Callable[[], None], at: int, onwards: bool = False, partly: bool = False
    ) -> None:
        self.action, self.at, self.onwards, self.partly = action, at, onwards, partly
        self.calls = 0
        self._real: list[tuple[object, str, Any]] = []

    @property
    def tripped(self) -> bool:
        return self.calls > self.at

    def _due(self, frees: bool) -> bool:
        self.calls += 1
        before = self.calls - 1
        return before == self.at or (self.onwards and before > self.at and not frees)

    def _wrap(self, owner: object, name: str, frees: bool = False) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._due(frees):
                if self.partly and name == "write_bytes":
                    path, content = args
                    real(path, content[: len(content) // 2])
                self.action()
            return real(*args, **kwargs)

        self._real.append((owner, name, real))
        setattr(owner, name, wrapped)

    def __enter__(self) -> "Trip":
        self._wrap(Path, "write_bytes")
        for name in ("fsync", "replace", "mkdir"):
            self._wrap(os, name)
        for name in ("unlink", "rmdir"):
            self._wrap(os, name, frees=True)
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, real in self._real:
            setattr(owner, name, real)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken_disk() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def moments() -> Iterator[tuple[int, bool]]:
    """Where a `Trip` may trip: each call, before it and partly through it."""
    return ((call, partly) for call in itertools.count() for partly in (False, True))

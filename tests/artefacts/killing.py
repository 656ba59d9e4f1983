"""Saves again and again until it is killed, and looks at what the kills leave behind.

A script, so that each kill is a real SIGKILL of a real process: `python killing.py FOLDER KILLS`.
It forks its savers, because a fresh interpreter would take a second to import torch for each.
Prints nothing and exits 0 where every kill left a whole file or model behind.
"""

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from artefacts.samples import CATALOGUE, Net, Trip, filled, moments
from quickstudy.artefacts import (
    load_checkpoint,
    load_model,
    load_state,
    save_checkpoint,
    save_model,
    save_state,
)


class Kind(NamedTuple):
    """Saves a number's worth of tensors at a path, and tells from a whole one which it was."""

    save: Callable[[Path, int], object]
    load: Callable[[Path], int]


def tree(number: int) -> dict[str, object]:
    return {"step": number, "weights": [torch.full((20_000,), float(number)) for _ in range(3)]}


def number(stored: object) -> int:
    match stored:
        case {"step": int(step), "weights": [a, b, c]}:
            assert all(bool((tensor == step).all()) for tensor in (a, b, c))
            return step
    raise AssertionError(stored)


def load_filled(path: Path) -> int:
    model = load_model(path, catalogue=CATALOGUE)
    step = model.manifest.training["step"]
    assert isinstance(step, int)
    assert all(bool((tensor == step).all()) for tensor in model.learner.state_dict().values())
    return step


KINDS = {
    "checkpoint": Kind(
        lambda path, n: save_checkpoint(path, tree(n)),
        lambda path: number(load_checkpoint(path)),
    ),
    "state": Kind(
        lambda path, n: save_state(path, tree(n), artefact="a", digest="d", labels=None),
        lambda path: number(load_state(path).state),
    ),
    "model": Kind(
        lambda path, n: save_model(
            path, filled(n, net=Net((100, 4))), catalogue=CATALOGUE, training={"step": n}
        ),
        load_filled,
    ),
}


@contextmanager
def without_waiting() -> Iterator[None]:
    """Leaves out fsync: a kill loses nothing that was written, and most would hit the waiting."""
    real = os.fsync
    os.fsync = lambda descriptor: None
    try:
        yield
    finally:
        os.fsync = real


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Forks; the child works until it is killed, or exits with 1."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def kill_at_any_moment(kind: Kind, path: Path, kills: int, chance: random.Random) -> None:
    """Each saver is killed at a random moment after its first save."""
    newest = 0
    kind.save(path, newest)
    for _ in range(kills):
        told, tell = os.pipe()

        def work(start: int = newest + 1, tell: int = tell) -> None:
            for step in itertools.count(start):
                kind.save(path, step)
                os.write(tell, b".")

        child = in_child(work)
        os.close(tell)
        os.read(told, 1)
        begun = time.perf_counter()
        os.read(told, 1)
        duration = time.perf_counter() - begun
        time.sleep(chance.uniform(0.0, 2 * duration))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        os.close(told)
        assert kind.load(path) > newest, "an older one came back"
        newest = kind.load(path)


def kill_at_every_call(kind: Kind, path: Path) -> None:
    """One saver a call that changes the disk: it is killed right before it, or halfway through."""
    saved = 0
    kind.save(path, saved)
    for call, partly in moments():

        def work(call: int = call, partly: bool = partly, step: int = saved + 1) -> None:
            with Trip(die, call, partly=partly):
                kind.save(path, step)

        status = os.waitpid(in_child(work), 0)[1]
        assert kind.load(path) in (saved, saved + 1)
        saved = kind.load(path)
        if not os.WIFSIGNALED(status):
            assert call >= 4, "the calls were not counted"
            break


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)  # a fork takes no threads along
    chance = random.Random(0)
    for name, kind in KINDS.items():
        with without_waiting():
            kill_at_any_moment(kind, folder / f"{name}-any", kills, chance)
        kill_at_every_call(kind, folder / f"{name}-every")
        kind.save(folder / f"{name}-every", 0)  # what the killed left behind is in no one's way
        assert kind.load(folder / f"{name}-every") == 0


if __name__ == "__main__":
    main()

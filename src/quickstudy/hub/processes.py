"""One job on many processes, as `torchrun` starts them: how they meet and speak with one voice."""

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from quickstudy.core.distributed import peers_there, ranks
from quickstudy.errors import JobError, PeerLost, QuickstudyError, RunError

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another that is there and does not answer."""


def join() -> None:
    """Meet the other processes that the environment speaks of; alone, nothing happens.

    `torchrun` sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. They part when the
    program ends.

    Raises:
        RunError: the environment is not whole, or the others do not come.

    Examples:
        >>> join()
        >>> first()
        True
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"the processes of this job do not find each other: {reason}") from None
    atexit.register(_part)


def _part() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def first() -> bool:
    """Whether this process writes and speaks for all: the only one there is, or rank 0."""
    return ranks()[0] == 0


def local_rank() -> int:
    """Which of this machine's processes of the job this one is; 0 where it is alone.

    Examples:
        >>> local_rank()
        0
    """
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world() -> int:
    """How many processes of the job run on this machine.

    Examples:
        >>> local_world()
        1
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def one_voice() -> Iterator[None]:
    """What any process of the job finds wrong stops all of them, with the first one's words.

    Every process has to enter and leave this together.

    Raises:
        QuickstudyError: this process raised it, and it is alone or the first.
        JobError: another one did; all but the first raise this one even where they too found
            something wrong, as one is to speak.
    """
    failed: QuickstudyError | None = None
    try:
        yield
    except PeerLost:
        raise
    except QuickstudyError as error:
        failed = error
    said = gathered(str(failed) if failed else None)
    if failed and first():
        raise failed
    for rank, words in enumerate(said):
        if words is not None:
            raise JobError(f"process {rank}: {words}" if rank else words) from failed


def gathered(said: str | None) -> list[str | None]:
    """What each process says, by rank; as bytes, since objects would have to be unpickled.

    Examples:
        >>> gathered("ready")
        ['ready']
    """
    world = ranks()[1]
    if world == 1:
        return [said]
    own = torch.tensor(list(json.dumps(said).encode()))
    with peers_there():
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(world)]
        distributed.all_gather(lengths, torch.tensor([len(own)]))
        padded = torch.zeros(int(max(lengths)), dtype=torch.long)
        padded[: len(own)] = own
        everybody = [torch.zeros_like(padded) for _ in range(world)]
        distributed.all_gather(everybody, padded)
    texts = [bytes(one[:n].tolist()) for one, n in zip(everybody, lengths, strict=True)]
    return [json.loads(text) for text in texts]


def only_first(context: Any) -> Any:
    """A context that the first process enters, and the others do not."""
    return context if first() else nullcontext()

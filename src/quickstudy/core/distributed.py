"""Meta-training on many processes: tasks divided among ranks, one all-reduce an outer step.

Every rank draws the whole batch from the same generator and keeps its share, so that the number
of processes changes no random number. Gradients are reduced here, by hand: a module wrapped in
DistributedDataParallel and then called functionally leaves them unsynchronised without an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from quickstudy.core.tasks import tree_map
from quickstudy.errors import PeerLost

if distributed.is_available():
    # Its functions take the process group of their import as a default. Imported after processes
    # have met (torch's optimizers do so), it would keep the group and its threads alive beyond
    # destroy_process_group, and such a thread can abort a program that ends.
    import torch.distributed.nn.functional


def ranks() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) where none were started together.

    Examples:
        >>> ranks()
        (0, 1)
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(batch: Any) -> Any:
    """The tasks of a batch that are this rank's: every world-th, from its own rank on.

    Examples:
        >>> share(torch.arange(3))
        tensor([0, 1, 2])
    """
    rank, world = ranks()
    return batch if world == 1 else tree_map(lambda t: t[rank::world], batch)


def add_up(parameters: list[nn.Parameter], numbers: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Sum gradients and some numbers over all ranks, in one all-reduce of one flat tensor.

    Args:
        parameters: the same on every rank; their `.grad` is replaced by the sum. One without a
            gradient on all ranks stays without, so that an optimizer leaves it alone.
        numbers: [k], of this rank.

    Returns:
        The sums of the numbers, [k].

    Raises:
        PeerLost: another process is gone.

    Examples:
        >>> add_up([], torch.tensor([2.0]))
        tensor([2.])
    """
    if ranks()[1] == 1:
        return numbers
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = torch.tensor([float(p.grad is not None) for p in parameters]).to(grads[0])
    flat = torch.cat([*(g.flatten() for g in grads), there, numbers.to(grads[0])])
    with peers_there():
        distributed.all_reduce(flat)
    *sums, counts, numbers = flat.split([*(g.numel() for g in grads), len(grads), len(numbers)])
    for parameter, total, count in zip(parameters, sums, counts.tolist(), strict=True):
        parameter.grad = total.view_as(parameter) if count else None
    return numbers


def put_together(mine: Tensor, count: int) -> Tensor:
    """The rows of all ranks' shares, [count, ...], in the order before `share` divided them.

    Args:
        mine: what this rank made of its share, one row a task; empty where it had none, but with
            the others' number of dimensions.
        count: how many tasks there were before.

    Raises:
        PeerLost: another process is gone.

    Examples:
        >>> put_together(torch.tensor([3.0, 4.0]), 2)
        tensor([3., 4.])
    """
    rank, world = ranks()
    if world == 1:
        return mine
    whole = mine.new_zeros(count, *mine.shape[1:])
    whole[rank::world] = mine
    with peers_there():
        distributed.all_reduce(whole)
    return whole


@contextmanager
def peers_there() -> Iterator[None]:
    """What a collective call says where another process is gone, in one clear line.

    Raises:
        PeerLost: it is, or it has not answered for too long.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # also a RuntimeError, and nobody else's fault
        raise
    except RuntimeError as error:  # of gloo and of NCCL, which have no kind of their own
        world = ranks()[1]
        raise PeerLost(
            f"another of the {world} processes of this job was killed or has failed, so it cannot "
            "go on"
        ) from error

"""Meta-training on many processes: tasks divided among ranks, one all-reduce an outer step.

Every rank draws the whole batch from the same generator and keeps its share, so that the number
of processes changes no random number. Gradients are reduced here, by hand: a module wrapped in
DistributedDataParallel and then called functionally leaves them unsynchronised without an error.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from quickstudy.core.tasks import tree_map


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


def add_up(parameters: list[nn.Parameter], total: Tensor) -> Tensor:
    """Sum gradients and a scalar over all ranks, in one all-reduce of one flat tensor.

    Args:
        parameters: the same on every rank; their `.grad` is replaced by the sum.
        total: a scalar of this rank.

    Returns:
        The scalar's sum.

    Examples:
        >>> add_up([], torch.tensor(2.0))
        tensor(2.)
    """
    if ranks()[1] == 1:
        return total
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(g.flatten() for g in grads), total.reshape(1).to(grads[0].dtype)])
    distributed.all_reduce(flat)
    start = 0
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = flat[start : start + grad.numel()].view_as(grad)
        start += grad.numel()
    return flat[-1]

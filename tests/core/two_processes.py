"""One of two processes that add up their gradients; says what came of it.

Usage: python two_processes.py MEETING RANK
"""

import sys
import weakref

import torch
from torch import distributed, nn

from quickstudy.core.distributed import add_up


def main(meeting, rank):
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    names = ("both", "one", "neither")
    parameters = {name: nn.Parameter(torch.ones(2, 2)) for name in names}
    parameters["both"].grad = torch.full((2, 2), 1.0 + rank)
    if rank == 1:
        parameters["one"].grad = torch.full((2, 2), 5.0)
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1, weight_decay=0.5)
    numbers = add_up(list(parameters.values()), torch.tensor([1.0, 10.0]))
    grads = [p.grad if p.grad is None else p.grad.tolist() for p in parameters.values()]
    optimizer.step()
    sys.stdout.write(repr((numbers.tolist(), grads, parameters["neither"].tolist())))
    distributed.barrier()  # who leaves first would cut off one that still receives
    group = weakref.ref(distributed.group.WORLD)
    distributed.destroy_process_group()
    assert group() is None, "its threads outlive it and abort a program that ends"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""One of several processes: trains every learner with the others; the first one also alone.

Usage: python many_processes.py MEETING RANK WORLD
"""

import sys
from pathlib import Path

import torch
from torch import distributed

from quickstudy.core import fit

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contract import zoo


class Batches:
    """Five tasks a step, which two processes cannot divide evenly, nor four."""

    def __init__(self, net):
        self.net = net

    def sample(self, count, generator):
        return zoo.batch(self.net, count)


def weights(learner):
    source = Batches("mlp")
    # Not Adam: it divides gradients that are zero but for rounding by their own size.
    for _ in fit(
        learner,
        source,
        steps=3,
        tasks_per_step=5,
        calibration_tasks=5,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1),
    ):
        pass
    return torch.cat([p.detach().flatten() for p in learner.parameters()])


def main(meeting, rank, world):
    torch.set_num_threads(1)
    names = [name for name, row in zoo.LEARNERS.items() if row.trains]
    alone = {name: weights(zoo.build(name, "mlp")) for name in names if rank == 0}
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    for name in names:
        mine = weights(zoo.build(name, "mlp"))
        wanted = alone[name] if rank == 0 else torch.empty_like(mine)
        distributed.broadcast(wanted, src=0)
        difference = float((mine - wanted).abs().max())
        sys.stdout.write(f"{name}: largest difference {difference:.1e}\n")
        assert difference < 1e-12, name
    distributed.barrier()  # who leaves first would cut off one that still receives
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

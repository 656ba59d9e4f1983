"""How other libraries take a step of MAML, for `quickstudy bench maml` to stand beside.

Each peer is one function of a net, a task and the inner loop to a loss, whose backward pass leaves
the gradients on the net's parameters. They are optional: `pip install quickstudy[peers]`.
"""

from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.core import Task
from quickstudy.errors import RunError

Step = Callable[[nn.Module, Task, int, float], Tensor]
"""Net, task, inner steps and inner rate to the loss on the query."""


class PlainConv4(nn.Module):
    """The net that peers' examples ship: torch's own layers, in the papers' order.

    Args:
        ways: outputs.
        width: filters of each block.
        size: height and width of the images, which have one channel.
        ours: lay it out as `Conv4` is: channels last, the relu after the pooling.
    """

    def __init__(self, ways: int, width: int, size: int, ours: bool = False) -> None:
        super().__init__()
        self.ours = ours
        blocks: list[nn.Module] = []
        for channels in (1, width, width, width):
            pool = [nn.MaxPool2d(2), nn.ReLU()] if ours else [nn.ReLU(), nn.MaxPool2d(2)]
            norm = nn.BatchNorm2d(width, track_running_stats=False)
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            blocks.append(nn.Sequential(convolution, norm, *pool))
        self.blocks = nn.Sequential(*blocks)
        self.head: nn.Module = nn.Linear(width * (size // 16) ** 2, ways)
        if ours:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, ways] of images [n, 1, size, size]."""
        if self.ours:
            x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.blocks(x).flatten(1))
        return logits


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, y.argmax(1))


def by_hand(net: nn.Module, task: Task, steps: int, rate: float) -> Tensor:
    """The loop that everybody writes: `torch.autograd.grad` with `create_graph`."""
    params: dict[str, Tensor] = dict(net.named_parameters())
    for _ in range(steps):
        logits = torch.func.functional_call(net, params, (task.support.x,))
        grads = torch.autograd.grad(
            _loss(logits, task.support.y), list(params.values()), create_graph=True
        )
        params = {n: p - rate * g for (n, p), g in zip(params.items(), grads, strict=True)}
    return _loss(torch.func.functional_call(net, params, (task.query.x,)), task.query.y)


def with_higher(net: nn.Module, task: Task, steps: int, rate: float) -> Tensor:
    """Grefenstette et al. 2019, Generalized inner loop meta-learning."""
    higher: Any = import_module("higher")
    inner = torch.optim.SGD(net.parameters(), rate)
    with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (adapted, optimizer):
        for _ in range(steps):
            optimizer.step(_loss(adapted(task.support.x), task.support.y))
        return _loss(adapted(task.query.x), task.query.y)


def with_torchopt(net: nn.Module, task: Task, steps: int, rate: float) -> Tensor:
    """Ren et al. 2023, TorchOpt: an efficient library for differentiable optimization."""
    torchopt: Any = import_module("torchopt")
    optimizer = torchopt.MetaSGD(net, lr=rate)
    start = torchopt.extract_state_dict(net, by="reference")
    for _ in range(steps):
        optimizer.step(_loss(net(task.support.x), task.support.y))
    loss = _loss(net(task.query.x), task.query.y)
    torchopt.recover_state_dict(net, start)
    return loss


PEERS: dict[str, Step] = {"higher": with_higher, "torchopt": with_torchopt}


def peers_named(names: str) -> dict[str, Step]:
    """The peers that a list such as "higher,torchopt" names; none for "".

    Raises:
        RunError: an unknown peer, or one that is not installed.

    Examples:
        >>> peers_named("")
        {}
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in PEERS:
            raise RunError(f"--peers must be among {', '.join(PEERS)}, got {name!r}")
        if util.find_spec(name) is None:
            raise RunError(f"--peers {name} is not installed; `pip install {name}` brings it")
    return {name: PEERS[name] for name in wanted}

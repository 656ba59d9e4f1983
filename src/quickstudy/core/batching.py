"""How a batch of tasks runs: one by one, or together under `torch.func.vmap` in chunks.

Learners are written for one task, so this is the one place that knows of batches. One by one is
best on a CPU for convolutions (vmap over adapted weights makes grouped convolutions, several times
slower there and with many times the memory); together is best for small dense nets and on GPUs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from quickstudy.core.tasks import leaves, tree_map, unstack
from quickstudy.errors import TaskError


@dataclass(frozen=True)
class Batching:
    """How a batch of tasks runs.

    Args:
        mode: "loop" one task after another, "vmap" together, "auto" by device and learner.
        chunk: how many tasks run together under vmap; bounds the memory.

    Raises:
        TaskError: an unknown mode, or a chunk below one.

    Examples:
        >>> Batching("vmap", chunk=8)
        Batching(mode='vmap', chunk=8)
    """

    mode: Literal["auto", "loop", "vmap"] = "auto"
    chunk: int = 32

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "loop", "vmap"):
            raise TaskError(f"batching must be auto, loop or vmap, got {self.mode!r}")
        if self.chunk < 1:
            raise TaskError(f"a chunk holds at least one task, got {self.chunk}")

    def resolve(self, module: nn.Module, device: torch.device) -> Literal["loop", "vmap"]:
        """The mode that "auto" stands for: a loop for convolutions on a CPU, else vmap."""
        if self.mode != "auto":
            return self.mode
        convolves = any(isinstance(m, _ConvNd) for m in module.modules())
        return "loop" if convolves and device.type == "cpu" else "vmap"


AUTO = Batching()


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters lie; the CPU where it has none.

    Examples:
        >>> device_of(nn.Linear(2, 2))
        device(type='cpu')
    """
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def accumulate_gradients(
    module: nn.Module, batch: Any, batching: Batching = AUTO, count: int | None = None
) -> Float[Tensor, " tasks"]:
    """Add the gradient of the mean loss over a batch to the parameters' `.grad`.

    Each task (or chunk) runs its own backward pass at once, so that memory does not grow with the
    number of tasks.

    Args:
        module: has `loss(task)`, a scalar.
        batch: a task whose tensors carry a leading task dimension; any tree of tensors will do.
        batching: how it runs.
        count: what the sum of losses is divided by; the number of tasks where not given. Larger
            where other processes hold the rest of the batch.

    Returns:
        The losses, detached, [tasks].

    Examples:
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = nn.Parameter(torch.tensor(1.0))
        ...     def loss(self, x):
        ...         return (self.w * x).sum()
        >>> module = Scale()
        >>> accumulate_gradients(module, torch.tensor([[1.0], [3.0]]))
        tensor([1., 3.])
        >>> module.w.grad
        tensor(2.)
    """
    count = count or leaves(batch)[0].shape[0]
    losses = []
    for part in map_tasks(module.loss, batch, module, batching):  # type: ignore[arg-type]
        (part.sum() / count).backward()
        losses.append(part.detach())
    return torch.cat(losses) if losses else torch.zeros(0, device=device_of(module))


def map_tasks(
    function: Callable[[Any], Any], batch: Any, module: nn.Module, batching: Batching = AUTO
) -> Iterator[Any]:
    """Apply a function of one task to each task of a batch, yielding chunk by chunk.

    Args:
        function: one task to a tensor or a tree of tensors.
        batch: a task whose tensors carry a leading task dimension.
        module: what `function` runs; decides, with the device, what "auto" means.
        batching: how it runs.

    Yields:
        The results of the next tasks, with a leading task dimension.

    Examples:
        >>> two = Batching("vmap", chunk=2)
        >>> parts = map_tasks(lambda x: x.sum(), torch.ones(5, 3), nn.Identity(), two)
        >>> [part.tolist() for part in parts]
        [[3.0, 3.0], [3.0, 3.0], [3.0]]
    """
    first = leaves(batch)[0]
    if batching.resolve(module, first.device) == "loop":
        for task in unstack(batch):
            yield tree_map(lambda t: t[None], function(task))
        return
    together = torch.func.vmap(function, randomness="different")
    for start in range(0, first.shape[0], batching.chunk):
        part = tree_map(lambda t, s=start: t[s : s + batching.chunk], batch)
        if leaves(part)[0].shape[0] > 1:
            yield together(part)
        else:  # alone it is quicker; and inside of vmap its images may lie in a layout, channels
            # last, that torch's second backward pass through pooling refuses there
            yield tree_map(lambda t: t[None], function(unstack(part)[0]))

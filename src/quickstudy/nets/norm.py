"""Batch normalisation that is right under vmap, to second order, with masks, and as a value.

A net is any module. Whether its batch norms use the statistics of the batch at hand, of another
batch, or of the population is said by *how it is run*, not by a flag on the module:

    net(x)                                       population buffers; only `calibrate` sets them
    with_batch_statistics(net, x, mask=mask)     those of x, padding left out; returned as a value
    with_statistics(net, x, statistics)          those of an earlier call
    in_training(net, x, mask=mask)               those of x, where nobody needs them afterwards

so that statistics of a support set can travel in the adapted state and no forward pass changes a
module. Ioffe & Szegedy 2015; differs: no running average of past batches.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quickstudy.core.tasks import Examples
from quickstudy.errors import TaskError

Statistics = tuple[tuple[Tensor, Tensor], ...]
"""Mean and variance, [features] each, of every batch norm in the order in which they ran."""


@dataclass
class _Tape:
    """What the batch norms of one forward pass use: `given` statistics, or their own batch's."""

    mask: Tensor | None = None
    given: Statistics | None = None
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    replayed: int = 0
    keep: bool = True


# A context variable, not a global: threads that serve different tasks do not see each other's.
_tape: ContextVar[_Tape | None] = ContextVar("tape", default=None)


@contextmanager
def _run_with(tape: _Tape) -> Iterator[None]:
    token = _tape.set(tape)
    try:
        yield
    finally:
        _tape.reset(token)


class BatchNorm(nn.Module):
    """Batch normalisation over all dimensions but the second; see the module's text.

    Args:
        features: channels, the size of the second dimension.
        eps: added to the variance.

    Examples:
        >>> norm = BatchNorm(3)
        >>> z, statistics = with_batch_statistics(norm, 5 + 2 * torch.randn(64, 3))
        >>> bool(z.mean().abs() < 1e-5), len(statistics)
        (True, 1)
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.features = features
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))

    def forward(self, x: Float[Tensor, "n features *rest"]) -> Float[Tensor, "n features *rest"]:
        """Normalise x [n, features, ...] with the statistics that this run is made with."""
        tape = _tape.get()
        if tape is None:
            mean, variance = self.mean, self.variance
        elif tape.given is not None:
            mean, variance = tape.given[tape.replayed]
            tape.replayed += 1
        elif not tape.keep and _fused_is_right(x, tape.mask):
            return F.batch_norm(x, None, None, self.weight, self.bias, True, eps=self.eps)
        else:
            mean, variance = _moments(x, tape.mask)
            tape.seen.append((mean, variance))
        # One multiply and one add over the large tensor; the rest happens on [features].
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x * scale.view(shape) + shift.view(shape)


def _moments(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the real rows."""
    dims = (0, *range(2, x.ndim))
    if _real_values(x, mask) < 2:
        raise TaskError(
            "a batch norm takes statistics of two values a channel or more, got one example of one "
            'value: one more example is wanted, or a net with norm="group" or "none"'
        )
    if mask is None:
        variance, mean = torch.var_mean(x, dims, correction=0)
        return mean, variance
    weight = mask.to(x.dtype).view(-1, *(1,) * (x.ndim - 1))
    count = (mask.sum() * (x[0, 0].numel())).clamp(min=1)
    mean = (x * weight).sum(dims) / count
    centred = (x - mean.view(1, -1, *(1,) * (x.ndim - 2))) * weight
    return mean, (centred * centred).sum(dims) / count


def _real_values(x: Tensor, mask: Tensor | None) -> int:
    """Values a channel; padding counts where asking whether it is padding does not slow us down."""
    if mask is None or mask.device.type != "cpu" or torch._C._functorch.is_batchedtensor(mask):
        return x[:, 0].numel()
    return int(mask.sum()) * x[0, 0].numel()


def _fused_is_right(x: Tensor, mask: Tensor | None) -> bool:
    """Whether torch's own kernel, 1.5x faster in a training step, computes the same.

    Not under vmap or torch.func.grad, where its second-order gradients are wrong; not with
    padding; and it refuses one value a channel.
    """
    if torch._C._are_functorch_transforms_active() or x[:, 0].numel() < 2:
        return False
    return mask is None or bool(mask.all())


def _call(net: nn.Module, params: Mapping[str, Tensor] | None, x: Any) -> Tensor:
    if params is None:
        return net(x)  # type: ignore[no-any-return]
    return torch.func.functional_call(net, dict(params), (x,))  # type: ignore[no-any-return]


def with_batch_statistics(
    net: nn.Module,
    x: Any,
    *,
    mask: Float[Tensor, " n"] | None = None,
    params: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Statistics]:
    """Run a net whose batch norms use the statistics of this very batch.

    Args:
        net: any module; batch norms in it are `BatchNorm`.
        x: inputs, [n, *input].
        mask: [n], 1 for a real row; padding counts in no statistic.
        params: used instead of the net's own, where given.

    Returns:
        The net's output, and the statistics for `with_statistics`.
    """
    tape = _Tape(mask=mask)
    with _run_with(tape):
        z = _call(net, params, x)
    return z, tuple(tape.seen)


def in_training(
    net: nn.Module,
    x: Any,
    mask: Float[Tensor, " n"] | None = None,
    params: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The output of `with_batch_statistics` alone; faster, as no statistics have to be kept.

    Examples:
        >>> net, x = nn.Sequential(nn.Linear(4, 3), BatchNorm(3)), torch.randn(8, 4)
        >>> torch.allclose(in_training(net, x), with_batch_statistics(net, x)[0], atol=1e-5)
        True
    """
    with _run_with(_Tape(mask=mask, keep=False)):
        return _call(net, params, x)


def with_statistics(
    net: nn.Module,
    x: Any,
    statistics: Statistics,
    *,
    params: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Run a net whose batch norms use given statistics, as `with_batch_statistics` returned them.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 3), BatchNorm(3))
        >>> x = torch.randn(8, 4)
        >>> z, statistics = with_batch_statistics(net, x)
        >>> torch.allclose(with_statistics(net, x[:1], statistics), z[:1], atol=1e-6)
        True
    """
    with _run_with(_Tape(given=statistics)):
        return _call(net, params, x)


def calibrate(net: nn.Module, batches: Iterable[Examples]) -> None:
    """Set every batch norm's population buffers to its mean statistics over some batches.

    One batch is in memory at a time. Wu & Johnson 2021, section 3 (precise batch norm).

    Args:
        net: any module.
        batches: x [n, *input] and mask [n] of each; y is not looked at.
    """
    norms: list[BatchNorm] = []
    # Hooks tell in which order the norms run, which is the order of the statistics.
    hooks = [
        m.register_forward_hook(lambda module, *_: norms.append(module))
        for m in net.modules()
        if isinstance(m, BatchNorm)
    ]
    seen: list[Statistics] = []
    try:
        with torch.no_grad():
            for batch in batches:
                norms.clear()
                seen.append(with_batch_statistics(net, batch.x, mask=batch.mask)[1])
    finally:
        for hook in hooks:
            hook.remove()
    for norm, of_norm in zip(norms, zip(*seen, strict=True), strict=True):
        means, variances = map(torch.stack, zip(*of_norm, strict=True))
        norm.mean.copy_(means.mean(0))
        norm.variance.copy_(variances.mean(0))


def has_batch_statistics(net: nn.Module) -> bool:
    """Whether a net holds a `BatchNorm`.

    Raises:
        TaskError: it holds one of torch's own, whose second-order gradients under vmap are wrong
            without an error and whose buffers change in every forward pass.

    Examples:
        >>> has_batch_statistics(nn.Sequential(nn.Linear(4, 3), BatchNorm(3)))
        True
    """
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            raise TaskError(
                f"the net's {name or 'top module'} is torch.nn.{type(module).__name__}, whose "
                "second-order gradients are wrong under vmap; wanted quickstudy.nets.BatchNorm, "
                "GroupNorm or LayerNorm"
            )
    return any(isinstance(m, BatchNorm) for m in net.modules())


def make_norm(kind: str, features: int) -> nn.Module:
    """A norm by name: "batch", "group" (8 channels a group; Wu & He 2018) or "none".

    Raises:
        TaskError: another name.

    Examples:
        >>> make_norm("group", 64).num_groups
        8
    """
    if kind == "batch":
        return BatchNorm(features)
    if kind == "group":
        return nn.GroupNorm(max(1, features // 8), features)
    if kind == "none":
        return nn.Identity()
    raise TaskError(f"norm must be batch, group or none, got {kind!r}")

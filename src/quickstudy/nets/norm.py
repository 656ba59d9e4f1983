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
class Tape:
    """What the batch norms of one forward pass use: `given` statistics, or their own batch's."""

    mask: Tensor | None = None
    given: Statistics | None = None
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    replayed: int = 0
    keep: bool = True


# A context variable, not a global: threads that serve different tasks do not see each other's.
_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


def running() -> Tape | None:
    """What the forward pass that is under way is made with; None for population statistics."""
    return _tape.get()


@contextmanager
def _run_with(tape: Tape) -> Iterator[None]:
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
        if tape is not None and tape.given is None and not tape.keep and whole(x, tape.mask):
            return F.batch_norm(x, None, None, self.weight, self.bias, True, eps=self.eps)
        return self.affine(x, *self.statistics(x, tape))

    def statistics(self, x: Tensor, tape: Tape | None) -> tuple[Tensor, Tensor]:
        """Mean and variance [features] that this run is made with."""
        if tape is None:
            return self.mean, self.variance
        if tape.given is not None:
            tape.replayed += 1
            return tape.given[tape.replayed - 1]
        tape.seen.append(_moments(x, tape.mask))
        return tape.seen[-1]

    def affine(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """X with zero mean and unit variance, then the learned scale and shift."""
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
    if whole(x, mask):
        mean, variance = Moments.apply(x)  # type: ignore[no-untyped-call]
        return mean, variance
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


class Moments(torch.autograd.Function):
    """Mean and biased variance of each channel by the kernel that torch's batch norm has for it.

    On CPUs it takes a twentieth of the time of `var_mean`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [features] of x [n, features, ...]."""
        mean, variance = moments(x)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Made of differentiable parts, so that there are second derivatives."""
        return of_moments(*ctx.saved_tensors, *grads)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of x [n, features, ...], without a gradient."""
    if x.ndim != 4:
        mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
        return mean, variance
    # The kernel adds up one by one, which costs digits where there are many values: so each column
    # (or row) of the images by itself, and then these together.
    n, c, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        parts = torch.ops.aten.batch_norm_update_stats(
            x.permute(0, 2, 3, 1).reshape(n * h, w * c), None, None, 0.0
        )
        means, variances = (part.view(w, c) for part in parts)
    else:
        parts = torch.ops.aten.batch_norm_update_stats(x.reshape(n, c * h, w), None, None, 0.0)
        means, variances = (part.view(c, h).T for part in parts)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def of_moments(x: Tensor, mean: Tensor, for_mean: Tensor, for_variance: Tensor) -> Tensor:
    """The gradient for x of something whose gradients for its mean and variance are given."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    count = x.numel() // x.shape[1]
    slope = 2 * for_variance / count
    start = for_mean / count - slope * mean
    return torch.addcmul(start.view(shape), x, slope.view(shape))


_checked: ContextVar[bool] = ContextVar("checked", default=False)


@contextmanager
def checked_before() -> Iterator[None]:
    """While a pass is traced: there is no padding, and scales are positive; numbers are not asked.

    Whoever runs what was traced has to see to it.
    """
    token = _checked.set(True)
    try:
        yield
    finally:
        _checked.reset(token)


def known(numbers: Tensor) -> bool:
    """Whether all numbers are true, or were checked before."""
    return _checked.get() or bool(numbers.all())


def whole(x: Tensor, mask: Tensor | None) -> bool:
    """Whether torch's own kernels, several times faster in a training step, compute the same.

    Not under vmap or torch.func.grad, where its second-order gradients are wrong; not with
    padding; and it refuses one value a channel.
    """
    if torch._C._are_functorch_transforms_active() or x[:, 0].numel() < 2:
        return False
    return mask is None or known(mask)


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
    tape = Tape(mask=mask)
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
    with _run_with(Tape(mask=mask, keep=False)):
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
    with _run_with(Tape(given=statistics)):
        return _call(net, params, x)


def calibrate(net: nn.Module, batches: Iterable[Examples]) -> None:
    """Set every batch norm's population buffers to its mean statistics over some batches.

    One batch is in memory at a time. Wu & Johnson 2021, section 3 (precise batch norm). Differs: a
    variance is the mean of the batches' own, which is what the net was trained with, without that
    of their means, as each task is a batch here.

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
        TaskError: it is no net; or it holds one of torch's own, whose second-order gradients under
            vmap are wrong without an error and whose buffers change in every forward pass.

    Examples:
        >>> has_batch_statistics(nn.Sequential(nn.Linear(4, 3), BatchNorm(3)))
        True
    """
    if not isinstance(net, nn.Module):
        raise TaskError(f"net must be a torch module, got {type(net).__name__}")
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

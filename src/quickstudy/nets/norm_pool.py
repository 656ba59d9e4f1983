"""Batch normalisation, max-pooling and relu in one, as they stand between two convolutions.

A norm whose scale is positive keeps the order of the values of a channel, so that the largest of
four values before it is the largest after it: pooling first leaves a quarter of the numbers to
normalise. The statistics are still those of all values, which makes it the same function as a norm
followed by pooling, unlike `norm_last` of `Conv4`.

Its derivatives are written out here, to second order, as most of a step of meta-learning's gradient
is spent walking through memory: what autograd makes of the parts walks two to three times as far.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.errors import TaskError
from quickstudy.nets.norm import BatchNorm, known, moments, running, whole


def readable(weight: Tensor, bias: Tensor) -> Tensor:
    """Where a scale is positive, and so large that y tells p without a loss of digits; see below.

    Examples:
        >>> readable(torch.tensor([1.0, 1e-4, -1.0, 0.1]), torch.tensor([0.5, 0.0, 0.0, 9.0]))
        tensor([ True, False, False, False])
    """
    return weight > 1e-3 + 0.1 * bias.abs()


class PooledBatchNorm(BatchNorm):
    """Batch normalisation, the maximum of each 2x2 window, and then relu.

    Ioffe & Szegedy 2015; differs: as `BatchNorm`, whose statistics and ways to run it has.

    Args:
        features: channels of the images.
        eps: added to the variance.

    Examples:
        >>> from quickstudy.nets.norm import in_training
        >>> norm, x = PooledBatchNorm(3), torch.randn(4, 3, 8, 8)
        >>> apart = F.max_pool2d(F.batch_norm(x, None, None, training=True), 2).relu()
        >>> torch.allclose(in_training(norm, x), apart, atol=1e-5)
        True
    """

    def forward(self, x: Float[Tensor, "n features h w"]) -> Float[Tensor, "n features h2 w2"]:
        """Normalise images [n, features, h, w] and halve them.

        Raises:
            TaskError: x is no batch of images.
        """
        if x.ndim != 4:
            raise TaskError(f"pooling takes images [n, channels, h, w], got {list(x.shape)}")
        if not (self._keeps_order(x) and x.dtype == self.weight.dtype):
            return F.max_pool2d(super().forward(x), 2).relu()
        tape = running()
        if tape is not None and tape.given is None and not tape.keep and whole(x, tape.mask):
            if not x.is_contiguous(memory_format=torch.channels_last):
                x = x.contiguous()
            return _Block.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-any-return,no-untyped-call]
        mean, variance = self.statistics(x, tape)
        return self.affine(F.max_pool2d(x, 2), mean, variance).relu()

    def _keeps_order(self, x: Tensor) -> bool:
        """Whether all scales are known to be positive; asking costs a wait on other devices."""
        if torch._C._are_functorch_transforms_active() or x.device.type != "cpu":
            return False
        return known(readable(self.weight, self.bias))


# Below, for each channel with c values x, scale w > 0 and bias b:
#
#     m = mean(x), r = (var(x) + eps)^(-1/2), p = pooled x, y = relu(w r (p - m) + b)
#
# With g the gradient for y where y > 0, so that p - m = (y - b) / (w r) there, the gradients are, S
# putting values at the places of their maxima,
#
#     for b: B = sum g        for w: r Q, where Q = sum g (p - m)
#     for x: S(w r g) - w r B / c + u (x - m), where u = -w r^3 Q / c
#
# and `_Slope` does once more the same for these three, seen as functions of g, x and w.


class _Block(torch.autograd.Function):
    """Normalise, pool, relu."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        pooled, places = torch.ops.aten.max_pool2d_with_indices(x, [2, 2])
        mean, variance = moments(x)
        root = torch.rsqrt(variance + eps)
        scale = weight * root
        y: Tensor = pooled.mul_(_wide(scale)).add_(_wide(bias - mean * scale)).relu_()
        ctx.save_for_backward(x, weight, bias, places, mean, root, y)
        return y

    @staticmethod
    def backward(ctx: Any, for_y: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()
        return *_Slope.apply(again, for_y, *ctx.saved_tensors), None  # type: ignore[no-untyped-call]


class _Slope(torch.autograd.Function):
    """The gradients of `_Block` for x, weight and bias; `again` where theirs will be asked."""

    @staticmethod
    def forward(
        ctx: Any, again: bool, for_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        places, mean, root, y = kept
        g = torch.ops.aten.threshold_backward(for_y, y, 0)
        scale = weight * root
        for_bias, q = _sums(g, y, bias)
        q = q / scale
        count = x.numel() // x.shape[1]
        slope = -scale * root * root * q / count
        start = -(scale * for_bias) / count - slope * mean
        into_x = torch.addcmul(_wide(start), x, _wide(slope))
        if again:
            ctx.save_for_backward(g, x, weight, bias, *kept, for_bias, q, slope)
        values = g * _wide(scale) if again else g.mul_(_wide(scale))
        return _scattered(into_x, values, places), q * root, for_bias

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, for_x: Tensor, for_weight: Tensor, for_bias: Tensor
    ) -> tuple[Tensor | None, ...]:
        g, x, weight, bias, places, mean, root, y, b, q, slope = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        scale = weight * root
        total, along = _sums(for_x, x, mean)
        at_maxima = _gathered(for_x, places, g)
        inner = (at_maxima * g).sum((0, 2, 3)) - b * total / count
        pull = for_weight * root - scale * root * root * along / count
        steep = pull / scale  # of y - bias, where `pull` is of p - m
        for_g = at_maxima.mul_(_wide(scale)).addcmul_(y, _wide(steep))
        for_g += _wide(for_bias - scale * total / count - steep * bias)
        for_g = torch.ops.aten.threshold_backward(for_g, y, 0)
        for_root = weight * inner + q * (for_weight - 3 * scale * root * along / count)
        for_mean = -b * pull - slope * total
        bend = -(root**3) * for_root / count
        into_x = torch.addcmul(_wide(for_mean / count - bend * mean), x, _wide(bend))
        into_x.addcmul_(for_x, _wide(slope))
        into_x = _scattered(into_x, g * _wide(pull), places)
        into_weight = root * inner - q * root**3 * along / count
        return None, for_g, into_x, into_weight, *[None] * 5


def _wide(channels: Float[Tensor, " c"]) -> Float[Tensor, "1 c 1 1"]:
    return channels.view(1, -1, 1, 1)


def _sums(g: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel the sum of g, and of g (x - mean), in one walk: torch has a kernel for it."""
    one = torch.ones_like(mean)
    _, along, total = torch.ops.aten.native_batch_norm_backward(
        g, x, one, None, None, mean, one, True, 0.0, [False, True, True]
    )
    return total, along


def _scattered(onto: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Images with values [n, c, h2, w2] added at their places, in place."""
    n, c, height, width = onto.shape
    # In either layout these are views of the images, pixel by pixel.
    if onto.is_contiguous(memory_format=torch.channels_last):
        rows = onto.permute(0, 2, 3, 1).view(n, height * width, c)
        where, what = (t.permute(0, 2, 3, 1).reshape(n, -1, c) for t in (places, values))
        rows.scatter_add_(1, where, what)
    else:
        rows = onto.view(n, c, height * width)
        rows.scatter_add_(2, places.reshape(n, c, -1), values.reshape(n, c, -1))
    return onto


def _gathered(images: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """The values of images [n, c, h, w] at places [n, c, h2, w2], laid out as another tensor is."""
    n, c, height, width = images.shape
    if images.is_contiguous(memory_format=torch.channels_last):
        rows = images.permute(0, 2, 3, 1).view(n, height * width, c)
        found = rows.gather(1, places.permute(0, 2, 3, 1).reshape(n, -1, c))
        return found.view(n, *places.shape[2:], c).permute(0, 3, 1, 2)
    found = images.reshape(n, c, -1).gather(2, places.reshape(n, c, -1)).view(places.shape)
    return torch.empty_like(like).copy_(found)

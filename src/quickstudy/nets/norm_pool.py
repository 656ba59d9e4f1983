"""Batch normalisation and max-pooling in one, as they stand between two convolutions.

A norm whose scale is positive keeps the order of the values of a channel, so that the largest of
four values before it is the largest after it: pooling first leaves a quarter of the numbers to
normalise. The statistics are still those of all values, which makes it the same function as a norm
followed by pooling, unlike `norm_last` of `Conv4`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.errors import TaskError
from quickstudy.nets.norm import BatchNorm, moments, of_moments, running, whole


class PooledBatchNorm(BatchNorm):
    """Batch normalisation, then the maximum of each 2x2 window.

    Ioffe & Szegedy 2015; differs: as `BatchNorm`, whose statistics and ways to run it has.

    Args:
        features: channels of the images.
        eps: added to the variance.

    Examples:
        >>> from quickstudy.nets.norm import in_training
        >>> norm, x = PooledBatchNorm(3), torch.randn(4, 3, 8, 8)
        >>> apart = F.max_pool2d(F.batch_norm(x, None, None, training=True), 2)
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
        if not self._keeps_order(x):
            return F.max_pool2d(super().forward(x), 2)
        tape = running()
        if tape is not None and tape.given is None and whole(x, tape.mask):
            pooled, mean, variance = _PooledMoments.apply(x)  # type: ignore[no-untyped-call]
            tape.seen.append((mean, variance))
        else:
            mean, variance = self.statistics(x, tape)
            pooled = F.max_pool2d(x, 2)
        return self.affine(pooled, mean, variance)

    def _keeps_order(self, x: Tensor) -> bool:
        """Whether all scales are known to be positive; asking costs a wait on other devices."""
        if torch._C._are_functorch_transforms_active() or x.device.type != "cpu":
            return False
        return bool((self.weight > 0).all())


class _PooledMoments(torch.autograd.Function):
    """The maxima of 2x2 windows, and mean and variance of each channel of the whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pooled, places = torch.ops.aten.max_pool2d_with_indices(x, [2, 2])
        mean, variance = moments(x)
        ctx.save_for_backward(x, mean, places)
        return pooled, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, mean, places = ctx.saved_tensors
        for_pooled, for_mean, for_variance = grads
        spread: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            for_pooled, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places
        )
        return spread + of_moments(x, mean, for_mean, for_variance)

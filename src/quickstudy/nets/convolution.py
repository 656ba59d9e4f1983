"""A convolution as nets of inner loops want it: of one layout, and quick to differentiate twice."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """torch's convolution, whose output has its weights' layout, for images of one channel too.

    A weight of one channel is in both layouts at once, and what an inner step makes of it may have
    the strides of the slow one.

    Examples:
        >>> Convolution(1, 8, 3, padding=1)(torch.rand(2, 1, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n out h2 w2"]:
        """Convolve x with the weight."""
        weight = self.weight
        transformed = torch._C._are_functorch_transforms_active()
        if weight.shape[1] == 1 and not transformed:  # vmap cannot express the layout
            out, _, height, width = weight.shape
            weight = weight.flatten(1).view(out, height, width, 1).permute(0, 3, 1, 2)
        if transformed or self.bias is not None or not self._plain(x):
            convolved: Tensor = self._conv_forward(x, weight, self.bias)
            return convolved
        how = (self.stride, self.padding, self.dilation, False, [0, 0], self.groups)
        return _Convolve.apply(x, weight, how)  # type: ignore[no-any-return, no-untyped-call]

    def _plain(self, x: Tensor) -> bool:
        numbers = isinstance(self.padding, tuple) and self.padding_mode == "zeros"
        alike = x.ndim == 4 and x.dtype == self.weight.dtype and x.device.type == "cpu"
        return numbers and alike and not torch.is_autocast_enabled("cpu")


# torch differentiates a convolution twice through one whose weights are as large as the images,
# which takes longer than all the rest; the kernel of the first derivative gives the same.


class _Convolve(torch.autograd.Function):
    """A convolution without bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, how: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.ops.aten.convolution(x, weight, None, *how)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, for_y: Tensor) -> tuple[Tensor | None, ...]:
        asked = tuple(ctx.needs_input_grad[:2])
        return *_Slope.apply(for_y, *ctx.saved_tensors, ctx.how, asked), None  # type: ignore[no-untyped-call]


class _Slope(torch.autograd.Function):
    """The gradients of a convolution for its images and weights, those that are asked."""

    @staticmethod
    def forward(
        ctx: Any, for_y: Tensor, x: Tensor, weight: Tensor, how: Any, asked: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(for_y, x, weight)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return _slope(for_y, x, weight, how, asked)

    @staticmethod
    def backward(
        ctx: Any, for_x: Tensor | None, for_weight: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        for_y, x, weight = ctx.saved_tensors
        asked_y, asked_x, asked_weight = ctx.needs_input_grad[:3]
        into_y = into_x = into_weight = None
        if for_x is not None:
            if asked_y:
                into_y = torch.ops.aten.convolution(for_x, weight, None, *ctx.how)
            if asked_weight:
                into_weight = _slope(for_y, for_x, weight, ctx.how, (False, True))[1]
        if for_weight is not None:
            if asked_y:
                more = torch.ops.aten.convolution(x, for_weight, None, *ctx.how)
                into_y = more if into_y is None else into_y + more
            if asked_x:
                into_x = _slope(for_y, x, for_weight, ctx.how, (True, False))[0]
        return into_y, into_x, into_weight, None, None


def _slope(
    for_y: Tensor, x: Tensor, weight: Tensor, how: Any, asked: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    found = torch.ops.aten.convolution_backward(for_y, x, weight, None, *how, [*asked, False])
    return found[0], found[1]

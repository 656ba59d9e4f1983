"""The four-block convolutional net of the few-shot literature."""

import math
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.errors import TaskError
from quickstudy.nets.convolution import Convolution
from quickstudy.nets.layout import images, prefer_channels_last
from quickstudy.nets.norm import make_norm
from quickstudy.nets.norm_pool import PooledBatchNorm


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm, halving and relu; the output is flattened.

    Vinyals et al. 2016, section 4.1 (pooling); Finn et al. 2017, appendix A.1 (strides). Differs:
    relu after pooling, which is the same function at a quarter of the work.

    Args:
        channels: of the input images.
        width: filters in each block, or in all of them.
        size: height and width of the input images.
        down: "pool" halves by max-pooling, "stride" by the convolution, about 3x cheaper.
        norm: "batch", "group" or "none".
        halvings: how many blocks halve, the first ones; 4 in the papers.
        norm_last: norm after pooling, on a quarter of the numbers: a step takes a fifth less.
            Not the papers' function, as the statistics are those of the maxima.

    Attributes:
        maps: channels, height and width of the output before it is flattened.
        features: width of the output, the product of these.

    Raises:
        TaskError: an image too small to be halved so often, or an unknown option.

    Examples:
        >>> import torch
        >>> net = Conv4(channels=1, size=28)
        >>> net(torch.rand(5, 1, 28, 28)).shape, net.features
        (torch.Size([5, 64]), 64)
    """

    def __init__(
        self,
        channels: int = 1,
        width: int | Sequence[int] = 64,
        size: int = 28,
        down: Literal["pool", "stride"] = "pool",
        norm: Literal["batch", "group", "none"] = "batch",
        halvings: int = 4,
        norm_last: bool = False,
    ) -> None:
        super().__init__()
        widths = [width] * 4 if isinstance(width, int) else list(width)
        if down not in ("pool", "stride"):
            raise TaskError(f"down must be pool or stride, got {down!r}")
        if len(widths) != 4 or min(channels, *widths) < 1:
            raise TaskError(
                f"a Conv4 has one positive width or four, and channels, got {width} and {channels}"
            )
        if not 0 <= halvings <= 4:
            raise TaskError(f"halvings must lie in 0..4, got {halvings}")
        self.channels = channels
        self.width = width if isinstance(width, int) else widths
        self.size = size
        self.down = down
        self.norm = norm
        self.halvings = halvings
        self.norm_last = norm_last
        blocks = []
        side = size
        for index, (incoming, outgoing) in enumerate(
            zip([channels, *widths[:-1]], widths, strict=True)
        ):
            halves = down if index < halvings else ""
            side = {"pool": side // 2, "stride": (side + 1) // 2, "": side}[halves]
            blocks.append(_block(incoming, outgoing, halves, norm, norm_last))
        if side < 1:
            raise TaskError(
                f"{halvings} halvings need images of {2**halvings} pixels, got {size}x{size}"
            )
        self.blocks = nn.Sequential(*blocks)
        if norm != "group":
            prefer_channels_last(self)
        self.maps = (widths[-1], side, side)
        self.features = math.prod(self.maps)

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n features"]:
        """Embed images [n, channels, size, size].

        Raises:
            TaskError: images of another shape.
        """
        z: Tensor = self.blocks(images(x, self.channels, self.size))
        return z.flatten(1)


def _block(incoming: int, outgoing: int, halves: str, norm: str, norm_last: bool) -> nn.Sequential:
    # A batch norm subtracts the mean, and any bias with it.
    convolution = Convolution(
        incoming, outgoing, 3, 2 if halves == "stride" else 1, padding=1, bias=norm != "batch"
    )
    if halves == "pool" and norm == "batch" and not norm_last:
        return nn.Sequential(convolution, PooledBatchNorm(outgoing))
    after = [make_norm(norm, outgoing), *([nn.MaxPool2d(2)] if halves == "pool" else [])]
    return nn.Sequential(convolution, *(reversed(after) if norm_last else after), nn.ReLU())

"""The residual net of twelve layers of the few-shot literature."""

import math
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.errors import TaskError
from quickstudy.nets.convolution import Convolution
from quickstudy.nets.layout import images, prefer_channels_last
from quickstudy.nets.norm import make_norm

SLOPE = 0.1
"""Of the leaky relus, below zero."""


class ResNet12(nn.Module):
    """Four residual blocks of three 3x3 convolutions, each halved by max-pooling, then the average.

    Oreshkin et al. 2018, TADAM; leaky relus and widths are those of Lee et al. 2019, Meta-learning
    with differentiable convex optimization (MetaOptNet), section 4.1. Differs: the last relu of a
    block comes after pooling, which is the same function at a quarter of the work; there is no
    DropBlock, as learners draw no random numbers: on small data it is missed.

    Args:
        channels: of the input images.
        width: filters in each block, or in all of them.
        size: height and width of the input images, 16 or more.
        norm: "batch", "group" or "none".
        average: each map to its mean, the output is as wide as the last block; else the maps are
            flattened, as in MetaOptNet.

    Attributes:
        maps: channels, height and width of the output before it is flattened.
        features: width of the output, the product of these.

    Raises:
        TaskError: an image too small to be halved four times, or an unknown option.

    Examples:
        >>> import torch
        >>> net = ResNet12(channels=3, width=(4, 8, 8, 16), size=32)
        >>> net(torch.rand(5, 3, 32, 32)).shape, net.features
        (torch.Size([5, 16]), 16)
    """

    def __init__(
        self,
        channels: int = 3,
        width: int | Sequence[int] = (64, 160, 320, 640),
        size: int = 84,
        norm: Literal["batch", "group", "none"] = "batch",
        average: bool = True,
    ) -> None:
        super().__init__()
        widths = [width] * 4 if isinstance(width, int) else list(width)
        if len(widths) != 4 or min(channels, *widths) < 1:
            raise TaskError(
                f"a ResNet12 has one positive width or four, and channels, got {width} and "
                f"{channels}"
            )
        if size < 16:
            raise TaskError(f"a ResNet12 needs images of 16 pixels or more, got {size}x{size}")
        self.channels = channels
        self.width = width if isinstance(width, int) else widths
        self.size = size
        self.norm = norm
        self.average = average
        self.blocks = nn.Sequential(
            *(_Block(i, o, norm) for i, o in zip([channels, *widths[:-1]], widths, strict=True))
        )
        if norm != "group":
            prefer_channels_last(self)
        side = 1 if average else size // 16
        self.maps = (widths[-1], side, side)
        self.features = math.prod(self.maps)

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n features"]:
        """Embed images [n, channels, size, size].

        Raises:
            TaskError: images of another shape.
        """
        z: Tensor = self.blocks(images(x, self.channels, self.size))
        return z.mean((2, 3)) if self.average else z.flatten(1)


class _Block(nn.Module):
    """Three convolutions beside one of a single pixel, added and halved."""

    def __init__(self, incoming: int, outgoing: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(incoming, outgoing, 3, norm),
            nn.LeakyReLU(SLOPE),
            *_convolution(outgoing, outgoing, 3, norm),
            nn.LeakyReLU(SLOPE),
            *_convolution(outgoing, outgoing, 3, norm),
        )
        self.short = nn.Sequential(*_convolution(incoming, outgoing, 1, norm))
        self.end = nn.Sequential(nn.MaxPool2d(2), nn.LeakyReLU(SLOPE))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h2 w2"]:
        z: Tensor = self.end(self.layers(x) + self.short(x))
        return z


def _convolution(incoming: int, outgoing: int, pixels: int, norm: str) -> tuple[nn.Module, ...]:
    # A batch norm subtracts the mean, and any bias with it.
    bias = norm != "batch"
    convolution = Convolution(incoming, outgoing, pixels, padding=pixels // 2, bias=bias)
    return convolution, make_norm(norm, outgoing)

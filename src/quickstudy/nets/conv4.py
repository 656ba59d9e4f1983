"""The four-block convolutional net of the few-shot literature."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.errors import TaskError
from quickstudy.nets.norm import make_norm


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm, halving and relu; the output is flattened.

    Vinyals et al. 2016, section 4.1 (pooling); Finn et al. 2017, appendix A.1 (strides). Differs:
    relu after pooling, which is the same function at a quarter of the work.

    Args:
        channels: of the input images.
        width: filters in each block.
        size: height and width of the input images.
        down: "pool" halves by max-pooling, "stride" by the convolution, about 3x cheaper.
        norm: "batch", "group" or "none".

    Attributes:
        features: width of the output.

    Raises:
        TaskError: an image too small to be halved four times, or an unknown option.

    Examples:
        >>> net = Conv4(channels=1, size=28)
        >>> net(torch.rand(5, 1, 28, 28)).shape, net.features
        (torch.Size([5, 64]), 64)
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        size: int = 28,
        down: Literal["pool", "stride"] = "pool",
        norm: Literal["batch", "group", "none"] = "batch",
    ) -> None:
        super().__init__()
        if down not in ("pool", "stride"):
            raise TaskError(f"down must be pool or stride, got {down!r}")
        if min(channels, width) < 1:
            raise TaskError(f"channels and width must be positive, got {channels} and {width}")
        self.channels = channels
        self.width = width
        self.size = size
        self.down = down
        self.norm = norm
        blocks = []
        side, incoming = size, channels
        for _ in range(4):
            side = side // 2 if down == "pool" else (side + 1) // 2
            blocks.append(_block(incoming, width, down, norm))
            incoming = width
        if side < 1:
            raise TaskError(f"four halvings need images of at least 16x16, got {size}x{size}")
        self.blocks = nn.Sequential(*blocks)
        self.features = width * side * side

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n features"]:
        """Embed images [n, channels, size, size].

        Raises:
            TaskError: images of another shape.
        """
        wanted = (self.channels, self.size, self.size)
        if tuple(x.shape[1:]) != wanted:
            raise TaskError(f"this net takes images {list(wanted)}, got {list(x.shape[1:])}")
        # Pooling in channels_last costs a tenth on CPUs; vmap cannot express that layout.
        if not torch._C._functorch.is_batchedtensor(x):
            x = x.contiguous(memory_format=torch.channels_last)
        return self.blocks(x).flatten(1)  # type: ignore[no-any-return]


def _block(incoming: int, width: int, down: str, norm: str) -> nn.Sequential:
    stride = 2 if down == "stride" else 1
    # A batch norm subtracts the mean, and any bias with it.
    convolution = nn.Conv2d(incoming, width, 3, stride=stride, padding=1, bias=norm != "batch")
    layers = [convolution, make_norm(norm, width)]
    if down == "pool":
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.ReLU())

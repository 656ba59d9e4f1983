"""Where the numbers of images lie in memory: channels last, in which pooling on CPUs is fast."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.errors import TaskError


def prefer_channels_last(net: nn.Module) -> None:
    """Lay out the weights of all convolutions channels last, as `images` does with what comes in.

    Pooling then costs a tenth on CPUs. The weights have to be in it too: an image of one channel
    has no layout of its own. Not for group norms: torch's fails in it under vmap.
    """
    for convolution in net.modules():
        if isinstance(convolution, nn.Conv2d):
            weight = convolution.weight.detach().to(memory_format=torch.channels_last)
            convolution.weight = nn.Parameter(weight)


def images(
    x: Float[Tensor, "n channels h w"], channels: int, size: int
) -> Float[Tensor, "n channels h w"]:
    """Images as a net takes them, channels last.

    Raises:
        TaskError: images of another shape.

    Examples:
        >>> images(torch.rand(2, 3, 8, 8), channels=3, size=8).stride()
        (192, 1, 24, 3)
    """
    wanted = (channels, size, size)
    if tuple(x.shape[1:]) != wanted:
        raise TaskError(f"this net takes images {list(wanted)}, got {list(x.shape[1:])}")
    # vmap cannot express the layout.
    if not torch._C._functorch.is_batchedtensor(x):
        x = x.contiguous(memory_format=torch.channels_last)
    return x

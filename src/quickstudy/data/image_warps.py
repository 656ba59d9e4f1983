"""Pictures changed a little: more images of a class than there are, where there are no strokes."""

from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from quickstudy.data.episodes import scale as to_floats
from quickstudy.data.warps import Hand, affine, field, not_negative
from quickstudy.errors import DataError

WAVES = 4
"""Sine waves that make the smooth field."""
FREQUENCY = 2.2
"""Theirs, standard deviation in radians per half side."""


@dataclass(frozen=True)
class ImageWarp:
    """Turn, slant, stretch, size, move and bend each image by itself: a transform of `Episodes`.

    Sizes are standard deviations of normal distributions, lengths are in half sides of the image
    (of its longer ones); the defaults are gentle. All images are sampled at once, bilinearly.

    Args:
        rotate: the turn, in radians.
        shear: the slant.
        stretch: logarithm of width over height.
        scale: logarithm of the size.
        shift: how far the image moves.
        wave: how far a smooth field bends it.
        padding: what lies beyond the image: "zeros" for ink on black, "border" for the pixels of
            its edge, "reflection" for the image mirrored.

    Raises:
        DataError: a size is negative or no number, or another padding.

    Examples:
        >>> images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
        >>> images[:, :, 10:18, 13] = 255
        >>> warped = ImageWarp()(images, torch.Generator().manual_seed(0))
        >>> warped.shape, warped.dtype, torch.equal(warped[0], warped[1])
        (torch.Size([2, 1, 28, 28]), torch.float32, False)
        >>> ImageWarp(shear=-1)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: an image warp's shear must be a number >= 0, got -1
    """

    rotate: float = 0.10
    shear: float = 0.10
    stretch: float = 0.10
    scale: float = 0.10
    shift: float = 0.05
    wave: float = 0.03
    padding: Literal["zeros", "border", "reflection"] = "zeros"

    def __post_init__(self) -> None:
        if self.padding not in ("zeros", "border", "reflection"):
            raise DataError(
                f"an image warp's padding must be zeros, border or reflection, got {self.padding!r}"
            )
        for size in fields(self)[:-1]:
            not_negative(f"an image warp's {size.name}", getattr(self, size.name))

    def __call__(
        self, images: Shaped[Tensor, "n c h w"], generator: torch.Generator
    ) -> Float[Tensor, "n c h w"]:
        """Each image with a warp of its own.

        Args:
            images: uint8, or floats in [0, 1].
            generator: the only source of randomness; it may live on another device.

        Returns:
            Floats in [0, 1], on the images' device.

        Raises:
            DataError: the images have another shape or type.
        """
        x = to_floats(images, generator)
        if x.ndim != 4 or not x.is_floating_point():
            raise DataError(
                f"an image warp needs images [n, c, h, w] of uint8 or floats, "
                f"got {list(images.shape)} of {str(images.dtype).removeprefix('torch.')}"
            )
        n, _, height, width = x.shape
        long, hand = max(height, width), Hand(generator, x)
        down, right = (  # of pixels' centres
            (2 * torch.arange(side, dtype=x.dtype, device=x.device) + 1 - side) / long
            for side in (height, width)
        )
        places = torch.cartesian_prod(down, right).flip(1).expand(n, -1, -1)
        # Where each pixel of the result comes from.
        places = places + field(places, self.wave, WAVES, FREQUENCY, hand)
        places = places @ affine(n, self.rotate, self.shear, self.stretch, hand)
        places = places * (self.scale * hand.normal(n, 1, 1)).exp()
        places = places + self.shift * hand.normal(n, 1, 2)
        x_y = torch.stack([places[..., 0] * (long / width), places[..., 1] * (long / height)], -1)
        grid = x_y.reshape(n, height, width, 2)
        return F.grid_sample(x, grid, padding_mode=self.padding, align_corners=False).clamp_(0, 1)


@dataclass(frozen=True)
class Reframe:
    """Mirror some images left to right and move each by itself: a transform of `Episodes`.

    As of a photo that was framed otherwise. Images move by whole pixels, so they stay as sharp as
    they are; what comes in at an edge is the colour of that edge.

    Differs: what Krizhevsky et al. (2012) cut out of larger images, and the field since then out of
    padded ones, is cut out of these.

    Args:
        mirror: the chance that an image is mirrored.
        shift: the farthest that it moves, along each side, as a share of that side.

    Raises:
        DataError: a number is none in 0..1.

    Examples:
        >>> images = torch.arange(32.0).reshape(2, 1, 4, 4) / 31
        >>> mirrored = Reframe(mirror=1, shift=0)(images, torch.Generator())
        >>> torch.equal(mirrored, images.flip(-1))
        True
        >>> Reframe(shift=2)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: a reframing's shift must be a number in 0..1, got 2
    """

    mirror: float = 0.5
    shift: float = 0.1

    def __post_init__(self) -> None:
        for size in fields(self):
            value = getattr(self, size.name)
            if not 0 <= value <= 1:
                raise DataError(f"a reframing's {size.name} must be a number in 0..1, got {value}")

    def __call__(
        self, images: Shaped[Tensor, "n c h w"], generator: torch.Generator
    ) -> Float[Tensor, "n c h w"]:
        """Each image in a frame of its own.

        Args:
            images: uint8, or floats in [0, 1].
            generator: the only source of randomness; it may live on another device.

        Returns:
            Floats in [0, 1], on the images' device.

        Raises:
            DataError: the images have another shape.
        """
        if images.ndim != 4:
            raise DataError(f"reframing needs images [n, c, h, w], got {list(images.shape)}")
        n, _, height, width = images.shape
        rows, columns = (self._places(n, side, generator) for side in (height, width))
        mirrored = torch.rand(n, 1, generator=generator, device=generator.device) < self.mirror
        columns = torch.where(mirrored, columns.flip(1), columns)
        rows, columns = (
            places.to(images.device) for places in (rows[:, None, :, None], columns[:, None, None])
        )
        moved = images.gather(2, rows.expand_as(images)).gather(3, columns.expand_as(images))
        return to_floats(moved, generator)

    def _places(self, n: int, side: int, generator: torch.Generator) -> Int[Tensor, "n side"]:
        """Where each pixel of a side comes from."""
        most, device = round(self.shift * side), generator.device
        moves = torch.randint(-most, most + 1, (n, 1), generator=generator, device=device)
        return (torch.arange(side, device=device) + moves).clamp(0, side - 1)

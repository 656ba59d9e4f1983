"""An unsteady hand: strokes drawn anew, each time a little differently."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.data.skeletons import STROKES
from quickstudy.errors import DataError


@dataclass(frozen=True)
class Pen:
    """How unsteady the hand is, and what it writes with.

    Lengths are in half boxes, where a character spans [-1, 1]; standard deviations are of normal
    distributions, ranges of uniform ones.

    Args:
        rotate: the picture's turn, standard deviation in radians.
        shear: the picture's slant, standard deviation.
        stretch: logarithm of the picture's width over its height, standard deviation.
        scale: the character's size as a share of the picture, a range.
        shift: of the character, standard deviation as a share of the picture's half side.
        wave: size of a smooth field that bends the strokes, standard deviation.
        waves: how many sine waves make that field.
        frequency: their spatial frequency, standard deviation in radians per half box.
        stroke_shift: each stroke's own displacement, standard deviation.
        stroke_turn: each stroke's own turn about its middle, standard deviation in radians.
        stroke_scale: logarithm of each stroke's own size, standard deviation.
        width: of the pen: a range of the standard deviation of its Gaussian tip, in pixels of a
            picture of side 28, and wider in larger pictures.
        gain: how much ink it leaves at each point, a range, uniform in the logarithm.
        drop: chance of a gap in the writing.

    Raises:
        DataError: a standard deviation is negative, a range is no range of positive numbers, or
            there is no wave.

    Examples:
        >>> Pen(rotate=0.0, width=(0.5, 0.5)).rotate
        0.0
        >>> Pen(scale=(0.9, 0.5))
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: a pen's scale is a range of positive numbers, got (0.9, 0.5)
    """

    rotate: float = 0.15
    shear: float = 0.20
    stretch: float = 0.15
    scale: tuple[float, float] = (0.55, 0.95)
    shift: float = 0.10
    wave: float = 0.10
    waves: int = 4
    frequency: float = 2.2
    stroke_shift: float = 0.07
    stroke_turn: float = 0.12
    stroke_scale: float = 0.10
    width: tuple[float, float] = (0.55, 1.0)
    gain: tuple[float, float] = (0.8, 2.5)
    drop: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "width", "gain"):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1] < math.inf:
                raise DataError(f"a pen's {name} is a range of positive numbers, got {ends}")
        for name in ("rotate", "shear", "stretch", "shift", "wave", "frequency"):
            not_negative(f"a pen's {name}", getattr(self, name))
        for name in ("stroke_shift", "stroke_turn", "stroke_scale", "drop"):
            not_negative(f"a pen's {name}", getattr(self, name))
        if self.waves < 1:
            raise DataError(f"a pen's waves must be at least 1, got {self.waves}")


def draw(
    points: Float[Tensor, "n k 2"],
    strokes: Int[Tensor, "n k"],
    pen: Pen,
    generator: torch.Generator,
    side: int = 28,
) -> Float[Tensor, "n 1 side side"]:
    """Draw each row of stroke points as a picture, every one with a shake of its own.

    First each stroke moves, turns and stretches by itself; then a smooth field bends the whole,
    and an affine map slants and places it; then a Gaussian tip inks every point.

    Args:
        points: x to the right and y down, in half boxes.
        strokes: the stroke that each point lies on, 0..STROKES - 1; -1 for padding.
        pen: how unsteady the hand is.
        generator: the only source of randomness; it may live on another device than the points.
        side: of the pictures, in pixels.

    Returns:
        Ink in [0, 1] on 0, on the points' device.

    Raises:
        DataError: points and strokes do not fit together.

    Examples:
        >>> line = torch.stack([torch.linspace(-1, 1, 96), torch.zeros(96)], dim=1)[None]
        >>> generator = torch.Generator().manual_seed(0)
        >>> picture = draw(line, torch.zeros(1, 96, dtype=torch.int64), Pen(), generator)
        >>> picture.shape, bool(picture.max() > 0.5)
        (torch.Size([1, 1, 28, 28]), True)
    """
    if points.ndim != 3 or points.shape[2] != 2 or strokes.shape != points.shape[:2]:
        raise DataError(
            f"drawing needs points [n, k, 2] and strokes [n, k], "
            f"got {list(points.shape)} and {list(strokes.shape)}"
        )
    n, hand = len(points), Hand(generator, points)
    if pen.stroke_shift or pen.stroke_turn or pen.stroke_scale:
        points = _shake_strokes(points, strokes, pen, hand)
    points = points + field(points, pen.wave, pen.waves, pen.frequency, hand)
    points = points @ affine(n, pen.rotate, pen.shear, pen.stretch, hand)
    scale = hand.uniform(n, 1, 1, low=pen.scale[0], high=pen.scale[1])
    points = points * scale + pen.shift * hand.normal(n, 1, 2)
    width = hand.uniform(n, low=pen.width[0], high=pen.width[1]) * (side / 28)
    gain = hand.uniform(n, low=math.log(pen.gain[0]), high=math.log(pen.gain[1])).exp()
    ink = (strokes >= 0).to(points.dtype) * gain[:, None]
    if pen.drop:
        ink = ink * _without_gap(points, 0.1 * scale, pen.drop, hand)
    return _inked(points, ink, width, side)


class Hand:
    """Random numbers of a tensor's type, from a generator that may live on another device."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator = generator
        self.like = like

    def normal(self, *shape: int) -> Tensor:
        """Of mean 0 and deviation 1."""
        return torch.randn(
            shape, generator=self.generator, device=self.generator.device, dtype=self.like.dtype
        ).to(self.like.device)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Between two numbers."""
        numbers = torch.rand(
            shape, generator=self.generator, device=self.generator.device, dtype=self.like.dtype
        )
        return (low + (high - low) * numbers).to(self.like.device)


def _shake_strokes(points: Tensor, strokes: Tensor, pen: Pen, hand: Hand) -> Tensor:
    """Move, turn and stretch every stroke about its middle; padding collapses, and is not drawn."""
    n = len(points)
    member = (strokes[..., None] == torch.arange(STROKES, device=points.device)).to(points.dtype)
    middle = (member.mT @ points) / member.sum(dim=1).clamp(min=1)[..., None]
    matrix = affine(n * STROKES, pen.stroke_turn, 0.0, 0.0, hand)
    matrix = matrix * (pen.stroke_scale * hand.normal(n * STROKES, 1, 1)).exp()
    matrix = matrix.reshape(n, STROKES, 2, 2)
    place = middle + pen.stroke_shift * hand.normal(n, STROKES, 2)
    # (p - middle) @ matrix + place, as one affine map for each point: a b c d and its offset x y.
    offset = place - (middle[..., None, :] @ matrix)[..., 0, :]
    maps = member @ torch.cat([matrix.flatten(2), offset], dim=-1)
    a, b, c, d, x, y = maps.unbind(-1)
    right, down = points.unbind(-1)
    return torch.stack([right * a + down * c + x, right * b + down * d + y], dim=-1)


def field(points: Tensor, wave: float, waves: int, frequency: float, hand: Hand) -> Tensor:
    """A smooth displacement of every point: some sine waves of random direction, one set a row.

    Args:
        points: [n, k, 2].
        wave: standard deviation of the displacement.
        waves: how many sine waves add up to it.
        frequency: theirs, standard deviation in radians a unit of length.
        hand: draws them.
    """
    n = len(points)
    direction = (frequency / math.sqrt(2)) * hand.normal(n, 2, waves)
    phase = hand.uniform(n, 1, waves, high=2 * math.pi)
    size = wave * math.sqrt(2 / waves) * hand.normal(n, waves, 2)
    return torch.sin(points @ direction + phase) @ size


def affine(n: int, rotate: float, shear: float, stretch: float, hand: Hand) -> Tensor:
    """Random matrices [n, 2, 2] of determinant 1, to be multiplied from the right.

    Args:
        n: how many.
        rotate: a turn, standard deviation in radians.
        shear: a slant, standard deviation.
        stretch: logarithm of width over height, standard deviation.
        hand: draws them.
    """
    turn, slant, wide = hand.normal(3, n).unbind(0)
    cos, sin = (rotate * turn).cos(), (rotate * turn).sin()
    wide, zero = (stretch / 2 * wide).exp(), torch.zeros_like(wide)
    rotation = torch.stack([cos, sin, -sin, cos], dim=-1).reshape(n, 2, 2)
    skew = torch.stack([wide, zero, shear * slant, 1 / wide], dim=-1).reshape(n, 2, 2)
    return skew @ rotation


def _without_gap(points: Tensor, radius: Tensor, chance: float, hand: Hand) -> Tensor:
    """0 for the points near a random one, in some of the rows; 1 for all others."""
    n, k = points.shape[:2]
    at = (hand.uniform(n, 1, 1) * k).long().clamp(max=k - 1).expand(n, 1, 2)
    near = (points - points.gather(1, at)).square().sum(-1) < radius[..., 0].square()
    return (~(near & (hand.uniform(n, 1) < chance))).to(points.dtype)


def _inked(points: Tensor, ink: Tensor, width: Tensor, side: int) -> Tensor:
    """1 - exp(-ink) of a Gaussian tip at every point; a tip is the product of two bumps.

    Args:
        points: [n, k, 2], [-1, 1] spans the picture.
        ink: [n, k].
        width: [n], standard deviation of the tip in pixels.
        side: of the picture.
    """
    pixels = torch.arange(side, device=points.device, dtype=points.dtype)
    sharp = (0.5**0.5 / width)[:, None, None]
    centre = ((points + 1) * (side / 2) - 0.5) * sharp
    away = (pixels * sharp[..., None] - centre[..., None]).square_()
    # Beyond the limit there is no ink to see, but numbers so small that processors slow down.
    bump = away.clamp_(max=30).neg_().exp_()
    density = (bump[:, :, 1] * ink[..., None]).mT @ bump[:, :, 0]
    return (-torch.expm1(-density))[:, None]


def not_negative(name: str, value: float) -> None:
    """Refuse what is no size.

    Raises:
        DataError: the value is negative, infinite or NaN.
    """
    if not 0 <= value < math.inf:
        raise DataError(f"{name} must be a number >= 0, got {value}")

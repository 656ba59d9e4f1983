"""From an image file to the pixels a model was trained on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from quickstudy.errors import DataError

SMALL = 1 / 3
"""Ink that spans less than this share of its frame is enlarged ..."""
FILLED = 0.7
"""... to this share: the median of Omniglot's drawings spans .64, nine in ten .46 to .82."""
FAINT = 24
"""Differences from the background below this (of 255) are no ink."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Image files come from anywhere: no other decoder of Pillow's is tried on them."""
MOST_PIXELS = 50_000_000
"""Images of more are refused before they are decoded."""
DETAIL = 2048
"""Images with a longer side are reduced at once, to no less than half of this."""

Pixels = NDArray[np.uint8]
Number = TypeVar("Number", np.uint8, np.int16, np.float32)


class Preprocessing(BaseModel):
    """How image files become a model's input; stored with every model that was trained on images.

    Every image becomes a square without distortion: its longer side fits, and the rest is filled
    with the colour of its border. Transparent parts are white paper (behind white ink, black).
    The orientation that a camera noted is applied.

    Attributes:
        size: side in pixels.
        channels: 1 grey, 3 red, green and blue.
        polarity: "as-is" keeps the brightness. "ink" is for models of drawings, bright on black:
            ink is what differs from the colour of the border, so that dark ink on light paper, and
            chalk on a board, come out alike; a drawing lost in a large frame is enlarged.

    Examples:
        >>> Preprocessing(size=28, channels=1, polarity="ink").model_dump()
        {'size': 28, 'channels': 1, 'polarity': 'ink'}
    """

    model_config = ConfigDict(frozen=True, strict=True)

    size: int = Field(ge=4, le=1024)
    channels: Literal[1, 3] = 1
    polarity: Literal["as-is", "ink"] = "as-is"


class Unreadable(DataError):
    """One file is no image that can be read; the message is the reason, without the file's name."""


def decode(source: Path | str | BinaryIO) -> Image.Image:
    """An image file as a Pillow image: the first frame, upright, of mode L, LA, RGB or RGBA.

    Images larger than `DETAIL` are reduced by a whole number, averaging.

    Args:
        source: a path or an open binary file.

    Raises:
        Unreadable: no image of one of the `FORMATS`, truncated, of more than `MOST_PIXELS`, or of
            pixels that have no natural place in 0..255.
    """
    with opened(source) as image:
        image.draft(None, (DETAIL, DETAIL))  # a JPEG is decoded at a fraction of its size
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _reduced(_plain(image))


@contextmanager
def opened(source: Path | str | BinaryIO) -> Iterator[Image.Image]:
    """An image file of which only the header is read yet; what breaks it is said in one line.

    Args:
        source: a path or an open binary file.

    Raises:
        Unreadable: as for `decode`.
    """
    too_large = f"more than {MOST_PIXELS / 1e6:g} million pixels"
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(too_large)
            yield image
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # of Pillow's own limit
        raise Unreadable(too_large) from None
    except UnidentifiedImageError:
        raise Unreadable("no image that can be read") from None
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except Exception as error:  # a broken file can break its decoder in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(reason) from error


def is_grey(image: Image.Image) -> bool:
    """Whether a decoded image has no colour, whatever its mode."""
    if image.mode in ("L", "LA"):
        return True
    red, green, blue = (np.asarray(band) for band in image.split()[:3])
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def prepare(image: Image.Image, how: Preprocessing) -> Pixels:
    """A decoded image as a model's input.

    Args:
        image: what `decode` returned.
        how: size, channels and polarity.

    Returns:
        uint8 [channels, size, size].

    Raises:
        Unreadable: polarity is "ink" and there is none, or none that shows at that size.

    Examples:
        >>> page = Image.new("L", (4, 4), color=250)
        >>> page.paste(0, (1, 1, 2, 3))
        >>> ink = prepare(page, Preprocessing(size=4, channels=1, polarity="ink"))
        >>> ink[0]
        array([[  0,   0,   0,   0],
               [  0, 255,   0,   0],
               [  0, 255,   0,   0],
               [  0,   0,   0,   0]], dtype=uint8)
    """
    if how.polarity == "ink":
        ink = _frame(_ink(_opaque(image, behind_light_ink=True)))
        drawn = _squared(ink.astype(np.float32), how.size)  # thin lines are faint when shrunk
        if drawn.max() < 1:
            raise Unreadable(f"nothing is drawn on it that shows at {how.size} pixels")
        stretched = (drawn * (255 / drawn.max())).round().astype(np.uint8)
        return np.repeat(stretched[None], how.channels, axis=0)
    opaque = _opaque(image, behind_light_ink=False)
    pixels = _squared(np.asarray(opaque.convert("L" if how.channels == 1 else "RGB")), how.size)
    return np.ascontiguousarray(pixels.reshape(how.size, how.size, how.channels).transpose(2, 0, 1))


def _plain(image: Image.Image) -> Image.Image:
    """Any mode as L, LA, RGB or RGBA."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise Unreadable("pixels of more than 16 bits")
        return Image.fromarray((deep // 257).astype(np.uint8))
    if image.mode == "F":
        raise Unreadable("pixels that are floating-point numbers")
    if image.mode in ("LA", "RGBA"):
        return image
    grey = image.mode in ("1", "L", "La")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return clear.convert("LA") if grey else clear
    return image.convert("L" if grey else "RGB")


def _reduced(image: Image.Image) -> Image.Image:
    """A copy with a longer side of at most `DETAIL`."""
    return image.reduce(max(1, math.ceil(max(image.size) / DETAIL)))


def _opaque(image: Image.Image, behind_light_ink: bool) -> Image.Image:
    """An image without transparency: on white paper, or on black where its ink is light."""
    if image.mode not in ("LA", "RGBA"):
        return image
    alpha = np.asarray(image.getchannel("A"), dtype=np.float64)
    paper = 255
    if behind_light_ink and alpha.any() and alpha.min() < 255:
        paper = 0 if np.average(np.asarray(image.convert("L")), weights=alpha) > 127 else 255
    ground = Image.new("RGBA", image.size, (paper, paper, paper, 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert(
        "L" if image.mode == "LA" else "RGB"
    )


def _ink(image: Image.Image) -> Pixels:
    """How far each pixel is from the border's colour: [h, w], 0 paper, 255 the strongest ink."""
    pixels = np.asarray(image, dtype=np.int16).reshape(image.height, image.width, -1)
    border = _border(pixels)
    paper = np.median(border, axis=0).astype(np.int16)
    distance = np.abs(pixels - paper).max(axis=-1)
    peak = float(distance.max())
    # Shadows and grain of a photographed page show on its border too; a clean page has none.
    grain = min(1.5 * float(np.quantile(np.abs(border - paper).max(axis=-1), 0.9)), peak / 2)
    if peak - grain < FAINT:
        raise Unreadable("nothing is drawn on it, it is one colour all over")
    ink: Pixels = np.clip((distance - grain) * (255 / (peak - grain)), 0, 255).round().astype("u1")
    return ink


def _frame(ink: Pixels) -> Pixels:
    """The drawing, cut out of its frame with an even margin where it is small in it."""
    side = max(ink.shape)
    # A thumbnail first: single bright grains in a large photograph do not show on it.
    coarse = max(1, side // 64)
    thumbnail = np.asarray(Image.fromarray(ink).reduce(coarse))
    rows, columns = _box(thumbnail, faint=min(FAINT, max(4, int(thumbnail.max()) // 4)))
    part = ink[
        rows.start * coarse : rows.stop * coarse, columns.start * coarse : columns.stop * coarse
    ]
    if max(part.shape) >= SMALL * side:
        return ink
    drawing = part[_box(part)]
    height, width = drawing.shape
    framed = np.zeros((round(max(height, width) / FILLED),) * 2, np.uint8)
    top, left = (len(framed) - height) // 2, (len(framed) - width) // 2
    framed[top : top + height, left : left + width] = drawing
    return framed


def _box(ink: Pixels, faint: int = FAINT) -> tuple[slice, slice]:
    """Rows and columns that hold ink; all of them where none does."""
    rows, columns = (np.flatnonzero((ink > faint).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, ink.shape[0]), slice(0, ink.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _squared(pixels: NDArray[Number], size: int) -> NDArray[Number]:
    """[h, w(, 3)] in the middle of a square of its border's colour, resized to `size`."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    if height != width:
        square = np.empty((side, side, *pixels.shape[2:]), pixels.dtype)
        square[:] = np.median(_border(pixels), axis=0).round()
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    if side == size:
        return pixels
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _border(pixels: NDArray[Number]) -> NDArray[Number]:
    """The outermost twentieth of the pixels on each side: [h, w(, c)] to [n(, c)]."""
    width = max(1, min(pixels.shape[:2]) // 20)
    edge = np.ones(pixels.shape[:2], bool)
    edge[width:-width, width:-width] = False
    return pixels[edge]

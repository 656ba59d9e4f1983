"""Pictures that a user holds in memory; `images` is for files."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from quickstudy.data.preprocessing import Preprocessing, Unreadable, decode, prepare
from quickstudy.errors import DataError

CHANNELS = (1, 3, 4)
"""Grey; red, green and blue; the same with transparency."""
SAID = 5
"""Broken pictures that an error names before it counts."""


def from_pictures(
    pictures: Iterable[Path | str | Image.Image | ArrayLike | Tensor], preprocessing: Preprocessing
) -> UInt8[Tensor, "n channels size size"]:
    """Pictures of any size as a model's input; the same pixels that a file of each would give.

    Args:
        pictures: each a Pillow image; an array or tensor [h, w], [h, w, c] or [c, h, w], c 1, 3
            or 4, of whole numbers in 0..255 or floats in 0..1; or the path of a file.
        preprocessing: how they become the model's input.

    Raises:
        DataError: none is given, or some are no pictures; the one error names them.

    Examples:
        >>> page = np.full((40, 20), 255)
        >>> from_pictures([page, Image.new("RGB", (9, 5))], Preprocessing(size=28)).shape
        torch.Size([2, 1, 28, 28])
        >>> from_pictures([page / 2], Preprocessing(size=28))
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: 1 of 1 are no pictures: number 1 (floats up to 127.5, not 1)
    """
    pixels, broken, total = [], [], 0
    for total, picture in enumerate(pictures, start=1):
        try:
            pixels.append(prepare(_image(picture), preprocessing))
        except Unreadable as reason:
            said = str(picture) if isinstance(picture, Path | str) else f"number {total}"
            broken.append(f"{said} ({reason})")
    if broken:
        more = f" and {len(broken) - SAID} more" if len(broken) > SAID else ""
        raise DataError(
            f"{len(broken)} of {total} are no pictures: {', '.join(broken[:SAID])}{more}"
        )
    if not pixels:
        raise DataError("wanted at least one picture, got none")
    return torch.from_numpy(np.stack(pixels))


def _image(picture: Path | str | Image.Image | ArrayLike | Tensor) -> Image.Image:
    """What `decode` would return for a file of it."""
    if isinstance(picture, Path | str):
        return decode(picture)
    if isinstance(picture, Image.Image):
        return decode(_file(picture))
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu().numpy()
    try:
        return Image.fromarray(_bytes(_channels_last(np.asarray(picture))))
    except Unreadable:
        raise
    except ValueError:  # numpy's: a list of lists of different lengths
        raise Unreadable("its rows have different lengths") from None


def _file(image: Image.Image) -> io.BytesIO:
    """A lossless file of an image, so that all kinds of pixels are treated in one place."""
    if image.mode not in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"):
        if image.mode == "F":
            raise Unreadable("pixels that are floating-point numbers")
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0, exif=image.getexif())
    file.seek(0)
    return file


def _channels_last(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """[h, w] or [h, w, c], c 3 or 4."""
    shape = array.shape
    if array.ndim == 3 and shape[0] in CHANNELS and shape[-1] not in CHANNELS:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise Unreadable(
            f"an array {list(shape)}; wanted [h, w], or with 1, 3 or 4 channels before or after"
        )
    return array


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Whole numbers in 0..255, or floats in 0..1, as bytes."""
    if array.dtype.kind not in "biuf":
        raise Unreadable(f"an array of {array.dtype}; wanted numbers")
    floats = array.astype(np.float64)
    if not np.isfinite(floats).all():
        raise Unreadable("it has NaN or infinity")
    most = 255 if array.dtype.kind in "iu" else 1
    low, high = floats.min(), floats.max()
    if low < 0 or high > most:
        kind = "whole numbers" if most == 255 else "floats"
        came = f"below 0, from {low:g}" if low < 0 else f"up to {high:g}, not {most}"
        raise Unreadable(f"{kind} {came}")
    pixels: NDArray[np.uint8] = np.ascontiguousarray((floats * (255 / most)).round()).astype(
        np.uint8
    )
    return pixels

"""Pixels to image files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from quickstudy.errors import DataError


def write_image(path: Path, pixels: UInt8[Tensor, "channels h w"]) -> None:
    """Write one image as PNG; its folder is made.

    Args:
        path: of the file.
        pixels: [1 or 3, h, w], on the CPU.

    Raises:
        DataError: the file cannot be written.

    Examples:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "new" / "grey.png"
        >>> write_image(path, torch.zeros(1, 8, 8, dtype=torch.uint8))
        >>> path.exists()
        True
    """
    array = pixels.permute(1, 2, 0).numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            np.ascontiguousarray(array.squeeze(-1) if array.shape[2] == 1 else array)
        ).save(path)
    except OSError as error:
        raise DataError(f"cannot write the image {path}: {error.strerror or error}") from error

"""Folders of images that are quickly learned, and options of runs that take next to no time."""

from pathlib import Path

import numpy as np
from PIL import Image

SMALL = [
    "--learner", "protonet",
    "--backbone-option", "halvings=2",
    "--width", "2",
    "--down", "stride",
    "--threads", "1",
    "--ways", "3",
    "--queries", "2",
    "--validation-ways", "2",
    "--validation-tasks", "2",
    "--device", "cpu",
]  # fmt: skip


def draw_folder(
    folder: Path, classes: int, each: int, size: int = 20, colour: bool = False, seed: int = 0
) -> Path:
    """A folder of class folders: bars whose place says the class, with noise."""
    random = np.random.default_rng(seed)
    for number in range(classes):
        for image in range(each):
            pixels = random.integers(0, 40, (size, size, 3), dtype=np.uint8)
            place = 1 + (number * 3) % (size - 4)
            bar = slice(place, place + 3)
            pixels[bar if number % 2 else slice(None), slice(None) if number % 2 else bar] = 220
            path = folder / f"class{number:02d}" / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray(pixels[..., 0])
            (Image.fromarray(pixels) if colour else grey).save(path)
    return folder

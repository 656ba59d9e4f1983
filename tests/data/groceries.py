"""A small checkout in the form of the grocery photos' repository, with other photos in it."""

from pathlib import Path

import numpy as np
from PIL import Image

from quickstudy.data.grocery import LISTS, TEST, TRAIN, VALIDATION

KINDS = [
    *((f"Kind-{kind}-Apple", "Apple") for kind in range(3)),
    *((name, name) for name in (*VALIDATION[:2], *TRAIN[1:5], *TEST[:2])),
    ("Red-Bell-Pepper", "Pepper"),
    ("Green-Bell-Pepper", "Pepper"),
]
"""Fine and coarse classes: 7 of meta-train, 2 of meta-validation, 4 of meta-test."""
EACH = (3, 1, 2)
"""Photos of a class that each list names."""


def photos_named() -> list[int]:
    """How many photos each list names."""
    return [len(KINDS) * each for each in EACH]


def checkout(folder: Path, size: tuple[int, int] = (60, 40)) -> Path:
    """Draws photos of a class in its colour, no two alike, and writes lists of them."""
    random = np.random.default_rng(0)
    coarse_names = list(dict.fromkeys(coarse for _, coarse in KINDS))
    (folder / "dataset").mkdir(parents=True)
    table = ["Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Path"]
    lines: dict[str, list[str]] = {name: [] for name in LISTS}
    for fine, (name, coarse_name) in enumerate(KINDS):
        coarse = coarse_names.index(coarse_name)
        table.append(f"{name},{fine},{coarse_name},{coarse},/iconic/{name}.jpg")
        colour = np.array([fine * 16, 255 - fine * 16, (fine * 80) % 256])
        for file, each in zip(LISTS, EACH, strict=True):
            for number in range(each):
                place = Path(file.removesuffix(".txt"), coarse_name, f"{name}_{number + 1:03}.jpg")
                pixels = (colour + random.integers(-9, 10, (size[1], size[0], 3))).clip(0, 255)
                path = folder / "dataset" / place
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)
                lines[file].append(f"{place.as_posix()}, {fine}, {coarse}\n")
    (folder / "dataset" / "classes.csv").write_text("\n".join(table))
    for file, rows in lines.items():
        (folder / "dataset" / file).write_text("".join(rows))
    return folder

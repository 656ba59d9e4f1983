"""Font files: which of them draw letters, which characters they hold, and pictures of these."""

import logging
import string
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from quickstudy.data.lookalikes import features
from quickstudy.errors import DataError

_logger = logging.getLogger(__name__)

FACES = (
    "Sans",
    "Serif",
    "SansMono",
    "Sans-Bold",
    "Serif-Bold",
    "SansMono-Bold",
    "Serif-Italic",
    "Serif-BoldItalic",
    "Sans-Oblique",
    "SansMono-Oblique",
    "Sans-BoldOblique",
    "SansMono-BoldOblique",
)
"""DejaVu's text faces. The first that holds a character is the one it is compared by."""
KINDS = ("Lu", "Ll", "Lt", "Lo", "Nd")
"""Unicode's categories of letters (but for modifiers) and decimal digits."""
SIDE = 56
"""Of the rendered images, in pixels."""
BOX = 46
"""The longer side of a character in them; characters keep their proportions, not their size."""
LEGIBLE = 0.5
"""Median cosine between a font's and DejaVu's letters, below which it draws something else there.

Upright text fonts have 0.8 to 0.95, italics 0.6 and more, fonts of symbols 0.4 and less.
"""
PLAIN = [ord(character) for character in string.ascii_letters + string.digits]
"""What that is judged by."""


def dejavu(face: str) -> Path:
    """The file of one of `FACES`.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    import matplotlib  # takes a moment, and is needed only where nothing is cached

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVu{face}.ttf"
    if not path.is_file():
        raise DataError(
            f"matplotlib must bring its fonts, got none at {path}: install it from PyPI"
        )
    return path


def installed_fonts() -> list[Path]:
    """The font files that this machine offers, in the order of their paths."""
    from matplotlib.font_manager import findSystemFonts

    return sorted({Path(name).resolve() for name in findSystemFonts()})


def usable(fonts: Sequence[Path]) -> list[Path]:
    """The fonts whose letters are letters, no face twice; the log names the others."""
    known = {_name(dejavu(face)) for face in FACES} if fonts else set()
    kept = []
    for path in fonts:
        try:
            name = _name(path)
            flaw = "" if name in known else _flaw(path)
        except (OSError, RuntimeError) as error:  # Pillow's and FreeType's
            flaw = " ".join(str(error).split()) or type(error).__name__
        if flaw:
            _logger.warning("the font %s is left out: %s", path, flaw)
        elif name not in known:
            known.add(name)
            kept.append(path)
    return kept


def _name(path: Path) -> tuple[str, str]:
    """Family and style."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(path))
    return font.family_name, font.style_name


def _flaw(path: Path) -> str:
    """Why a font is of no use; empty where it is."""
    held = characters(path)
    if not held:
        return "it holds no letters or digits"
    both = [code for code in PLAIN if code in held]
    own, plain = (features(_draw(file, both)) for file in (path, dejavu("Sans")))
    if both and float(np.median((own * plain).sum(axis=1))) < LEGIBLE:
        return "it draws symbols in place of letters"
    return ""


def characters(path: Path) -> set[int]:
    """Code points of the letters and digits that a font holds."""
    from matplotlib.ft2font import FT2Font

    codes = FT2Font(str(path)).get_charmap()
    return {c for c in codes if c <= sys.maxunicode and unicodedata.category(chr(c)) in KINDS}


def draw_all(files: list[Path], codes: list[int], held: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[drawn, SIDE, SIDE]: where `held` [codes, files] says so, by code and then by file."""
    place = held.cumsum().reshape(held.shape) - 1
    images = np.zeros((int(held.sum()), SIDE, SIDE), np.uint8)
    for number, file in enumerate(files):
        rows = np.flatnonzero(held[:, number])
        images[place[rows, number]] = _draw(file, [codes[row] for row in rows])
    return images


def _draw(file: Path, codes: list[int]) -> NDArray[np.uint8]:
    """[codes, SIDE, SIDE], ink 255, centred; zeros where the font draws nothing."""
    font = ImageFont.truetype(str(file), 72, layout_engine=ImageFont.Layout.BASIC)
    images = np.zeros((len(codes), SIDE, SIDE), np.uint8)
    for place, code in enumerate(codes):
        try:
            mask = font.getmask(chr(code), mode="L")
        except OSError:  # one broken outline in a font that is not
            continue
        box = mask.getbbox()
        if box is None:
            continue
        drawn = Image.frombytes("L", mask.size, bytes(mask)).crop(box)
        scale = BOX / max(drawn.size)
        width, height = (max(3, round(length * scale)) for length in drawn.size)
        how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        images[place, top : top + height, left : left + width] = np.asarray(
            drawn.resize((width, height), how)
        )
    return images

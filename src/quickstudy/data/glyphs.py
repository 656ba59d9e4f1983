"""Printed characters as classes: the writing systems in the fonts that matplotlib brings along.

Nothing is downloaded. The twelve DejaVu text faces hold some 2,800 letters and digits of fifteen
writing systems; each character is a class, and its images are its faces. They are rendered once,
in a few seconds, and kept in the data cache.
"""

import logging
import unicodedata
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFont

from quickstudy.data.cache import cache_folder, find, read_arrays, write_arrays
from quickstudy.data.pools import Pool, Splits
from quickstudy.data.skeletons import POINTS, skeletons
from quickstudy.errors import DataError

_logger = logging.getLogger(__name__)

VERSION = 1
"""Of the rendering: another number is another file in the cache."""
FILE = f"glyphs_{VERSION}.npz"

TEST = ("Armenian", "Georgian")
VALIDATION = ("Hebrew", "Lao", "N'Ko")
"""The writing systems of meta-test and meta-validation; all others are meta-train."""

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
LEAST_FACES = 2
"""Characters in fewer faces are left out. Tifinagh, Ogham and N'Ko have two, most others four."""
SIDE = 56
"""Of the rendered images, in pixels."""
BOX = 46
"""The longer side of a character in them; characters keep their proportions, not their size."""
ALIKE = 0.90
"""Cosine between two blurred pictures, means removed, from which they are the same character."""


class GlyphTable(NamedTuple):
    """Every character that is kept, in every face that holds it; images are sorted by class.

    Attributes:
        images: uint8 [n, 1, SIDE, SIDE], ink 255.
        points: int8 [n, POINTS, 3]: the skeleton's points as x to the right, y down, in half pixels
            from the centre (the box spans -BOX..BOX), and the stroke that each lies on, -1 for
            padding.
        faces: uint8 [n], the index in FACES.
        offsets: int64 [classes + 1].
        names: [classes], Unicode names: "HEBREW LETTER ALEF".
        groups: [classes], writing systems: "Hebrew".
        parts: uint8 [classes], 0 meta-train, 1 meta-validation, 2 meta-test.
        turns: bool [classes, 4], whether the character turned anticlockwise by that many quarters
            looks like no other that is kept: an "O" and an "N" turned by halves do not count.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.int8]
    faces: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    parts: NDArray[np.uint8]
    turns: NDArray[np.bool_]


def glyphs(cache: Path | str | None = None, size: Literal[28, 56] = 28) -> Splits:
    """Printed characters, split by writing system.

    Meta-test is Armenian and Georgian, meta-validation Hebrew, Lao and N'Ko, meta-train all others
    (Latin, Canadian syllabics, Arabic, Cyrillic, Greek, Tifinagh, ...). Look-alikes are left out,
    within a part and across parts: no meta-train class, however turned by quarters, looks like one
    of the other parts.

    A class has 2 to 12 images, one a face. Tasks of more images than that draw them with
    replacement and change each (`Episodes(..., replacement=True, transform=...)`).

    Args:
        cache: where the rendered characters are kept; see `cache_folder`.
        size: side in pixels.

    Returns:
        Pools of uint8 [n, 1, size, size], ink 255 on 0; groups are the writing systems.

    Raises:
        DataError: matplotlib was installed without its fonts, or another size.
    """
    if size not in (SIDE // 2, SIDE):
        raise DataError(f"glyphs come in sizes {SIDE // 2} and {SIDE}, got {size}")
    table = glyph_table(cache)
    images = table.images if size == SIDE else _halved(table.images[:, 0]).astype(np.uint8)[:, None]
    return _splits(table, torch.from_numpy(images))


def glyph_table(cache: Path | str | None = None) -> GlyphTable:
    """All that is known of the glyphs: from the cache, or rendered and then kept there.

    A file in the cache that is broken, or of another version, is rendered anew and replaced.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    path = find(FILE, cache)
    if path is not None:
        try:
            return _checked(path)
        except DataError as error:
            _logger.warning("rendering the glyphs again: %s", error)
    table = render()
    folder = path.parent if path is not None else cache_folder(cache)
    for place in (folder, cache_folder(cache)):
        try:
            write_arrays(place / FILE, table._asdict())
            break
        except OSError as error:
            _logger.warning("the glyphs cannot be kept in %s: %s", place, error)
    return table


def render() -> GlyphTable:
    """Render the characters, leave look-alikes out and find the strokes of what remains.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    maps = [_characters(face) for face in FACES]
    codes = sorted(
        code
        for code in set().union(*maps)
        if unicodedata.category(chr(code)) in KINDS
        and sum(code in held for held in maps) >= LEAST_FACES
    )
    stack = np.stack(
        [_render_face(face, codes, held) for face, held in zip(FACES, maps, strict=True)], axis=1
    )
    held: NDArray[np.bool_] = stack.max(axis=(2, 3)) > 0
    canonical = stack[np.arange(len(codes)), held.argmax(axis=1)]
    groups = np.array([writing_system(chr(code)) for code in codes])
    parts = np.where(np.isin(groups, TEST), 2, np.where(np.isin(groups, VALIDATION), 1, 0))
    parts[held.sum(axis=1) < LEAST_FACES] = -1  # glyphs that are there but empty

    kept = np.empty(0, int)
    turns = np.zeros((len(codes), 4), bool)
    for part in (2, 1, 0):  # held-out characters first: what looks like one of them goes
        taken = _features(_turned(canonical[kept]))
        rows = np.flatnonzero(parts == part)
        rows = rows[distinct(_features(canonical[rows]), taken)]
        turns[rows] = distinct(_features(_turned(canonical[rows])), taken).reshape(4, -1).T
        kept = np.concatenate([kept, rows])
    kept.sort()

    held, images = held[kept], stack[kept][held[kept]]
    points, strokes = skeletons(images > 127)
    return GlyphTable(
        images[:, None],
        np.concatenate([points, strokes[..., None]], axis=2),
        held.nonzero()[1].astype(np.uint8),
        np.concatenate([[0], held.sum(axis=1).cumsum()]).astype(np.int64),
        np.array([unicodedata.name(chr(codes[i])) for i in kept]),
        groups[kept],
        parts[kept].astype(np.uint8),
        turns[kept],
    )


def writing_system(character: str) -> str:
    """The writing system of a letter or digit, by the Unicode name of what it is a form of.

    Examples:
        >>> [writing_system(c) for c in "aψ\N{MATHEMATICAL BOLD CAPITAL PSI}ב7\N{NKO LETTER A}"]
        ['Latin', 'Greek', 'Greek', 'Hebrew', 'Digits', "N'Ko"]
    """
    parts = unicodedata.normalize("NFKD", character)
    base = next((c for c in parts if unicodedata.category(c) in KINDS), character)
    word = unicodedata.name(base, "").split(" ")[0]
    known = {
        "ARABIC-INDIC": "Arabic",
        "CANADIAN": "Canadian syllabics",
        "DIGIT": "Digits",
        "EXTENDED": "Arabic",
        "NKO": "N'Ko",
        "OLD": "Old Italic",
        "ROMAN": "Latin",
        "TURNED": "Latin",
    }
    return known.get(word, word.capitalize())


def distinct(
    features: NDArray[np.float32], taken: NDArray[np.float32], alike: float = ALIKE
) -> NDArray[np.bool_]:
    """Rows that look like no row of `taken` and no earlier row that is kept.

    Args:
        features: [n, d] unit vectors.
        taken: [m, d] unit vectors.
        alike: the cosine from which two rows are the same.

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
        >>> distinct(rows, taken=rows[3:])
        array([ True,  True, False, False])
    """
    kept: NDArray[np.bool_] = (features @ taken.T).max(axis=1, initial=-1.0) < alike
    for start in range(0, len(features), 1024):
        near = features[start : start + 1024] @ features.T >= alike
        for row, others in enumerate(near, start):
            if kept[row]:
                kept[row + 1 :] &= ~others[row + 1 :]
    return kept


def _splits(table: GlyphTable, images: torch.Tensor) -> Splits:
    pool = Pool(
        images,
        torch.from_numpy(table.offsets),
        tuple(table.names.tolist()),
        tuple(table.groups.tolist()),
    )
    return Splits.disjoint(*(pool.select(torch.from_numpy(table.parts == i)) for i in range(3)))


def _checked(path: Path) -> GlyphTable:
    """The cached table, refused unless it is whole."""
    arrays = read_arrays(path)
    if set(arrays) != set(GlyphTable._fields):
        raise DataError(
            f"{path} must hold {', '.join(GlyphTable._fields)}, got {', '.join(arrays)}"
        )
    table = GlyphTable(**arrays)  # type: ignore[arg-type]  # checked below
    n, classes = len(table.images), len(table.names)
    wanted = {
        "images": (np.uint8, (n, 1, SIDE, SIDE)),
        "points": (np.int8, (n, POINTS, 3)),
        "faces": (np.uint8, (n,)),
        "offsets": (np.int64, (classes + 1,)),
        "groups": (np.str_, (classes,)),
        "parts": (np.uint8, (classes,)),
        "turns": (np.bool_, (classes, 4)),
    }
    for name, (kind, shape) in wanted.items():
        if arrays[name].dtype.type is not kind or arrays[name].shape != shape:
            said = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            raise DataError(f"{name} in {path} must be {kind.__name__} {list(shape)}, got {said}")
    if table.offsets[0] != 0 or table.offsets[-1] != n or np.diff(table.offsets).min() < 1:
        raise DataError(f"offsets in {path} must rise from 0 to {n}")
    return table


def _font(face: str) -> Path:
    import matplotlib  # takes a moment, and is needed only where nothing is cached

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVu{face}.ttf"
    if not path.is_file():
        raise DataError(
            f"matplotlib must bring its fonts, got none at {path}: install it from PyPI"
        )
    return path


def _characters(face: str) -> set[int]:
    """Code points that a face holds."""
    from matplotlib.ft2font import FT2Font

    return set(FT2Font(str(_font(face))).get_charmap())


def _render_face(face: str, codes: list[int], held: set[int]) -> NDArray[np.uint8]:
    """[codes, SIDE, SIDE], ink 255, centred; zeros where the face has no such character."""
    font = ImageFont.truetype(str(_font(face)), 72, layout_engine=ImageFont.Layout.BASIC)
    images = np.zeros((len(codes), SIDE, SIDE), np.uint8)
    for place, code in enumerate(codes):
        if code not in held:
            continue
        mask = font.getmask(chr(code), mode="L")
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


def _halved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[n, h, w] to [n, h / 2, w / 2], the mean of four pixels."""
    n, height, width = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def _turned(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, side, side] to [4 n, side, side]: all as they are, all turned by a quarter, and so on."""
    return np.concatenate([np.rot90(images, quarters, axes=(1, 2)) for quarters in range(4)])


def _features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors [n, (SIDE / 2)^2] whose dot products say how alike two pictures look."""
    place = np.arange(SIDE // 2)
    blur = np.exp(-0.5 * (place[:, None] - place).astype(np.float32) ** 2)
    flat = (blur @ _halved(images) @ blur).reshape(len(images), (SIDE // 2) ** 2)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: NDArray[np.float32] = flat / np.maximum(norm, 1e-6)
    return unit

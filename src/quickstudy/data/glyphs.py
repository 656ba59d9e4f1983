"""Printed characters as classes: the writing systems in the fonts that matplotlib brings along.

Nothing is downloaded. The twelve DejaVu text faces hold some 2,800 letters and digits of fifteen
writing systems; each character is a class, and its images are its faces. They are rendered once,
in a few seconds, and kept in the data cache. The other fonts of a machine can be added to them.
"""

import hashlib
import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.data import typefaces
from quickstudy.data.cache import cache_folder, find, read_arrays, write_arrays
from quickstudy.data.lookalikes import alike, distinct, features, halved, turned
from quickstudy.data.pools import Pool, Splits
from quickstudy.data.skeletons import POINTS, skeletons
from quickstudy.data.typefaces import FACES, KINDS, SIDE
from quickstudy.errors import DataError

_logger = logging.getLogger(__name__)

VERSION = 2
"""Of the rendering: another number is another file in the cache."""
FILE = f"glyphs_{VERSION}.npz"
"""Of the characters in DejaVu alone."""

TEST = ("Armenian", "Georgian")
VALIDATION = ("Hebrew", "Lao", "N'Ko")
"""The writing systems of meta-test and meta-validation; all others are meta-train."""

LEAST_FACES = 2
"""Characters in fewer faces are left out. Tifinagh, Ogham and N'Ko have two, most others four."""
MOST_FACES = 32
"""Of a character in more faces, so many are drawn, evenly chosen and the first among them."""
MOST_CHARACTERS = 3000
"""Of a larger writing system (Han, Hangul), so many characters are drawn, evenly chosen."""


class GlyphTable(NamedTuple):
    """Every character that is kept, in every face that holds it; images are sorted by class.

    Attributes:
        images: uint8 [n, 1, SIDE, SIDE], ink 255.
        points: int8 [n, POINTS, 3]: the skeleton's points as x to the right, y down, in half pixels
            from the centre (the box spans -BOX..BOX), and the stroke that each lies on, -1 for
            padding.
        faces: uint8 [n], the index in FACES; further numbers for further fonts, uint16 of many.
        offsets: int64 [classes + 1].
        names: [classes], Unicode names: "HEBREW LETTER ALEF".
        groups: [classes], writing systems: "Hebrew".
        parts: uint8 [classes], 0 meta-train, 1 meta-validation, 2 meta-test.
        turns: bool [classes, 4], whether the character turned anticlockwise by that many quarters
            looks like no other that is kept: an "O" and an "N" turned by halves do not count.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.int8]
    faces: NDArray[np.uint8 | np.uint16]
    offsets: NDArray[np.int64]
    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    parts: NDArray[np.uint8]
    turns: NDArray[np.bool_]


def glyphs(
    cache: Path | str | None = None, size: Literal[28, 56] = 28, *, system_fonts: bool = False
) -> Splits:
    """Printed characters, split by writing system.

    Meta-test is Armenian and Georgian, meta-validation Hebrew, Lao and N'Ko, meta-train all others
    (Latin, Canadian syllabics, Arabic, Cyrillic, Greek, Tifinagh, ...). Look-alikes are left out,
    within a part and across parts: no meta-train class, however turned by quarters, looks like one
    of the other parts.

    A class has 2 to 12 images, one a face, and up to 32 with system fonts. Tasks of more images
    than that draw them with replacement and change each
    (`Episodes(..., replacement=True, transform=...)`).

    Args:
        cache: where the rendered characters are kept; see `cache_folder`.
        size: side in pixels.
        system_fonts: see `glyph_table`.

    Returns:
        Pools of uint8 [n, 1, size, size], ink 255 on 0; groups are the writing systems.

    Raises:
        DataError: matplotlib was installed without its fonts, or another size.
    """
    if size not in (SIDE // 2, SIDE):
        raise DataError(f"glyphs come in sizes {SIDE // 2} and {SIDE}, got {size}")
    table = glyph_table(cache, system_fonts=system_fonts)
    images = table.images if size == SIDE else halved(table.images[:, 0]).astype(np.uint8)[:, None]
    return splits_of(table, torch.from_numpy(images))


def glyph_table(cache: Path | str | None = None, *, system_fonts: bool = False) -> GlyphTable:
    """All that is known of the glyphs: from the cache, or rendered and then kept there.

    A file in the cache that is broken, or of another version, is rendered anew and replaced.

    Args:
        cache: where the rendered characters are kept; see `cache_folder`.
        system_fonts: add the other fonts that are installed on this machine: more faces, and more
            writing systems, in the same parts and without look-alikes, rendered in minutes. Their
            meta-test holds all of the meta-test without them. What comes of it depends on the
            machine; each set of fonts has a file of its own in the cache.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    return table_of(typefaces.installed_fonts() if system_fonts else [], cache)


def table_of(fonts: Sequence[Path], cache: Path | str | None = None) -> GlyphTable:
    """The table of DejaVu's faces and these fonts: from the cache, or rendered and kept there.

    Args:
        fonts: files; see `render`.
        cache: see `cache_folder`.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    file = _file_of(fonts)
    path = find(file, cache)
    if path is not None:
        try:
            return _checked(path)
        except DataError as error:
            _logger.warning("rendering the glyphs again: %s", error)
    table = render(fonts)
    folder = path.parent if path is not None else cache_folder(cache)
    for place in (folder, cache_folder(cache)):
        try:
            write_arrays(place / file, table._asdict())
            break
        except OSError as error:
            _logger.warning("the glyphs cannot be kept in %s: %s", place, error)
    return table


def render(fonts: Sequence[Path] = ()) -> GlyphTable:
    """Render the characters, leave look-alikes out and find the strokes of what remains.

    Characters of DejaVu come first, so that no other font's look-alike takes their place.

    Args:
        fonts: TrueType and OpenType files beside DejaVu's, of collections the first face. A face
            that is there already is passed over; so is a file that cannot be read, holds no
            letters or draws symbols in their place, and a warning in the log names it.

    Raises:
        DataError: matplotlib was installed without its fonts.
    """
    files = [typefaces.dejavu(face) for face in FACES]
    files += typefaces.usable(fonts)
    maps = [typefaces.characters(file) for file in files]
    codes = _choose(maps)
    held = np.zeros((len(codes), len(files)), bool)
    for row, code in enumerate(codes):
        held[row, _evenly([i for i, inside in enumerate(maps) if code in inside], MOST_FACES)] = (
            True
        )
    images = typefaces.draw_all(files, codes, held)
    inked = images.any(axis=(1, 2))  # there are glyphs that are there but empty
    held[held], images = inked, images[inked]
    counts = held.sum(axis=1)
    canonical = images[np.minimum(counts.cumsum() - counts, len(images) - 1)]
    groups = np.array([writing_system(chr(code)) for code in codes])
    parts = np.where(np.isin(groups, TEST), 2, np.where(np.isin(groups, VALIDATION), 1, 0))
    parts[counts < LEAST_FACES] = -1

    owner = np.arange(len(codes)).repeat(counts)
    # A character is judged by all its faces in DejaVu; by its first one where there are other
    # fonts, or some odd one among hundreds would find every letter a twin.
    judged = held.nonzero()[1] < len(FACES)
    judged[np.minimum(counts.cumsum() - counts, len(images) - 1)] = True
    kept = np.empty(0, int)
    turns = np.zeros((len(codes), 4), bool)
    for part in (2, 1, 0):  # held-out characters first: what looks like one of them goes, in any
        # face of either and in any turn
        held_out = features(turned(images[judged & np.isin(owner, kept)]))
        mine = judged & (parts[owner] == part)
        clash = owner[mine][alike(features(images[mine]), held_out)]
        rows = np.setdiff1d(np.flatnonzero(parts == part), clash)
        rows = rows[distinct(features(canonical[rows]))]
        turns[rows] = distinct(features(turned(canonical[rows]))).reshape(4, -1).T
        kept = np.concatenate([kept, rows])
    kept.sort()

    images = images[np.isin(np.arange(len(codes)), kept).repeat(counts)]
    points, strokes = skeletons(images > 127)
    return GlyphTable(
        images[:, None],
        np.concatenate([points, strokes[..., None]], axis=2),
        held[kept].nonzero()[1].astype(np.min_scalar_type(len(files) - 1)),
        np.concatenate([[0], counts[kept].cumsum()]).astype(np.int64),
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
    word, *more = unicodedata.name(base, "").split(" ")
    if word in ("LINEAR", "NEW", "OLD", "TAI"):
        return f"{word} {more[0]}".title()
    known = {
        "ARABIC-INDIC": "Arabic",
        "CANADIAN": "Canadian syllabics",
        "CJK": "Han",
        "DIGIT": "Digits",
        "EXTENDED": "Arabic",
        "NKO": "N'Ko",
        "ROMAN": "Latin",
        "TURNED": "Latin",
    }
    return known.get(word, word.capitalize())


def splits_of(table: GlyphTable, images: torch.Tensor) -> Splits:
    """The classes of a table, whose images [n, ...] may be any of its arrays, by part."""
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
        "faces": (np.unsignedinteger, (n,)),
        "offsets": (np.int64, (classes + 1,)),
        "groups": (np.str_, (classes,)),
        "parts": (np.uint8, (classes,)),
        "turns": (np.bool_, (classes, 4)),
    }
    for name, (kind, shape) in wanted.items():
        if not np.issubdtype(arrays[name].dtype, kind) or arrays[name].shape != shape:
            said = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            raise DataError(f"{name} in {path} must be {kind.__name__} {list(shape)}, got {said}")
    if table.offsets[0] != 0 or table.offsets[-1] != n or np.diff(table.offsets).min() < 1:
        raise DataError(f"offsets in {path} must rise from 0 to {n}")
    return table


def _file_of(fonts: Sequence[Path]) -> str:
    """The name in the cache of what these fonts give; that of a changed font is another."""
    if not fonts:
        return FILE
    digest = hashlib.sha256()
    for path in fonts:
        try:
            stat = path.stat()
            stamp = f"{path}\n{stat.st_size}\n{stat.st_mtime_ns}\n"
        except OSError:  # a link to nowhere; `render` says so
            stamp = f"{path}\n\n\n"
        digest.update(stamp.encode(errors="surrogateescape"))
    return f"{Path(FILE).stem}_{digest.hexdigest()[:16]}.npz"


def _choose(maps: list[set[int]]) -> list[int]:
    """Characters to draw, DejaVu's first, from what each font holds."""
    systems: dict[str, list[int]] = {}
    for code in sorted(set().union(*maps)):
        if unicodedata.name(chr(code), "") and sum(code in held for held in maps) >= LEAST_FACES:
            systems.setdefault(writing_system(chr(code)), []).append(code)
    codes = [code for held in systems.values() for code in _evenly(held, MOST_CHARACTERS)]
    own = maps[: len(FACES)]
    return sorted(codes, key=lambda code: (sum(code in h for h in own) < LEAST_FACES, code))


def _evenly(items: list[int], most: int) -> list[int]:
    """At most so many of them, evenly chosen, the first among them."""
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]

"""The printed characters as data: as their faces show them, or drawn anew by an unsteady pen."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.data.episodes import Episodes
from quickstudy.data.glyphs import glyph_table, glyphs, splits_of
from quickstudy.data.pools import Pool, join
from quickstudy.data.typefaces import BOX
from quickstudy.data.warps import Pen, draw
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import Span
from quickstudy.hub.image_source import IMAGE_WARPS, INK, SIDE, Images
from quickstudy.hub.source import Source, Split, Wanted

WARPS = {"pen": Pen()}
"""The hands that `--warp` may name, beside `IMAGE_WARPS` for the fonts' own faces."""


class Drawing:
    """Stroke points to pictures, each drawn anew: a transform of `Episodes`.

    Args:
        pen: how unsteady the hand is.
        device: where the pictures go; the drawing happens where the generator is.
    """

    def __init__(self, pen: Pen, device: torch.device) -> None:
        self.pen = pen
        self.device = device

    def __call__(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """Points [n, k, 3] (x, y in half pixels, stroke) to [n, 1, SIDE, SIDE] in 0..1."""
        places = points[..., :2].float() / BOX
        picture = draw(places, points[..., 2].long(), self.pen, generator, side=SIDE)
        return picture.to(self.device)


class Glyphs(Source):
    """The characters of matplotlib's fonts, split by writing system.

    Meta-validation and meta-test tasks are drawn by the plain pen, so that classes of few faces
    have pictures enough, and no two are the same.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.name = "glyphs"
        self.input_shape = (1, SIDE, SIDE)
        self.preprocessing = INK
        self.device = wanted.device
        self.system_fonts = wanted.system_fonts
        table = glyph_table(system_fonts=wanted.system_fonts)
        self.strokes = splits_of(table, torch.from_numpy(table.points))
        self.turned = turned_classes(
            self.strokes.train, torch.from_numpy(table.turns[table.parts == 0])
        )

    def fitting(
        self, splits: Sequence[Split], ways: int, shots: int, queries: int
    ) -> tuple[int, int, int]:
        """As many ways as there are characters; of pictures there is no end."""
        return max(2, min(ways, *(self.pool(split).classes for split in splits))), shots, queries

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> Episodes:
        """Tasks of a split, drawn by the plain pen."""
        return self._drawn(self.pool(split), ways, shots, queries, WARPS["pen"])

    def training_tasks(
        self, ways: Span, shots: Span, queries: int, *, rotations: bool, warp: str | None
    ) -> Episodes:
        """Meta-train tasks by a hand; `rotations` makes classes of the turned characters.

        Raises:
            RunError: no such hand.
        """
        if warp in IMAGE_WARPS:
            return self.faces().training_tasks(ways, shots, queries, rotations=rotations, warp=warp)
        if (warp or "pen") not in WARPS:
            raise RunError(
                f"--warp must be {', '.join(IMAGE_WARPS)} or {', '.join(WARPS)}, got {warp!r}"
            )
        pool = self.turned if rotations else self.strokes.train
        return self._drawn(pool, ways, shots, queries, WARPS[warp or "pen"])

    def pool(self, split: Split) -> Pool:
        """The stroke points of a split.

        Raises:
            DataError: no such split.
        """
        if split == "all":
            raise DataError("glyphs have the splits train, validation and test, got 'all'")
        pool: Pool = getattr(self.strokes, split)
        return pool

    def facts(self) -> dict[str, Any]:
        """Classes, images and writing systems of each split."""
        more = {"turned_classes": self.turned.classes, "warps": [*IMAGE_WARPS, *WARPS]}
        return self.faces().facts() | more

    def faces(self) -> Images:
        """The characters as their faces show them."""
        pools = glyphs(system_fonts=self.system_fonts)._asdict()
        faces = Images("glyphs", pools, INK, curated=True, device=self.device)
        return faces.with_unlabelled(self.unlabelled)

    def _drawn(self, pool: Pool, ways: Span, shots: Span, queries: int, pen: Pen) -> Episodes:
        drawing = Drawing(pen, self.device)
        try:
            return Episodes(
                pool,
                ways,
                shots,
                queries,
                replacement=True,
                unlabelled=self.unlabelled,
                transform=drawing,
            )
        except DataError as error:
            raise DataError(f"glyphs: {error}") from None


def turned_classes(pool: Pool, turns: Tensor) -> Pool:
    """A pool of stroke points with every turned character that looks like no other as a class.

    Args:
        pool: stroke points [n, POINTS, 3].
        turns: [classes, 4], which quarter turns of each class count.
    """
    parts = []
    for quarters in range(4):
        if not bool(turns[:, quarters].any()):
            continue
        part = pool.select(turns[:, quarters].bool())
        points = part.images.clone()
        for _ in range(quarters):  # anticlockwise: what was to the right is now above
            points[..., 0], points[..., 1] = points[..., 1].clone(), -points[..., 0].clone()
        names = [f"{name}, turned {90 * quarters}" if quarters else name for name in part.names]
        parts.append(dataclasses.replace(part, images=points, names=tuple(names)))
    return join(parts)

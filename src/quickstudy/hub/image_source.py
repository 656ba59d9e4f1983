"""Images as data: built-in collections, and folders of class folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from quickstudy.data.episodes import Episodes, Transform, scale
from quickstudy.data.image_warps import ImageWarp, Reframe
from quickstudy.data.images import (
    folder_classes,
    folder_preprocessing,
    folder_splits,
    image_folder,
)
from quickstudy.data.pools import Pool, join
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import Span
from quickstudy.hub.kept import PARTS, Kept, KeptFolder, split_as_known
from quickstudy.hub.source import LEAST_CLASSES, Source, Split, Wanted

SIDE = 28
"""Of the built-in characters' images, in pixels."""

INK = Preprocessing(size=SIDE, channels=1, polarity="ink")
"""How a user's pictures become the input of a model of the built-in characters."""

PHOTO = Preprocessing(size=84, channels=3)
"""How a user's pictures become the input of a model of the built-in photos."""

IMAGE_WARPS = ("none", "affine")
"""What `--warp` may name for images: as they are, or each bent a little."""
PHOTO_WARPS = (*IMAGE_WARPS, "crop")
"""For what is no ink also: mirrored and moved, which makes other characters of characters."""


class Images(Source):
    """Images, by split.

    Args:
        name: as `--data` says it.
        pools: split to its classes.
        preprocessing: how a user's image files become like them.
        curated: classes with too few images for a task are left out; else they are an error.
        device: where the images, and so the tasks, lie.
        warp: what becomes of meta-train's images where `--warp` says nothing.
    """

    takes_unlabelled = True

    def __init__(
        self,
        name: str,
        pools: Mapping[str, Pool],
        preprocessing: Preprocessing,
        *,
        curated: bool,
        device: torch.device,
        warp: str = "none",
    ) -> None:
        self.name = name
        self.pools = {split: pool.to(device) for split, pool in pools.items()}
        self.preprocessing: Preprocessing = preprocessing
        self.curated = curated
        self.device = device
        self.warp = warp
        self.input_shape = tuple(next(iter(pools.values())).images.shape[1:])

    def pool(self, split: Split) -> Pool:
        """The classes of a split.

        Raises:
            DataError: this data has no such split.
        """
        if split in self.pools:
            return self.pools[split]
        if self.curated or "all" not in self.pools:
            raise DataError(f"{self.name} has no split {split!r}; it has {', '.join(self.pools)}")
        raise DataError(
            f"{self.name} has {self.pools['all'].classes} classes; splitting them into meta-train, "
            f"meta-validation and meta-test takes at least {LEAST_CLASSES}"
        )

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> Episodes:
        """Tasks of a split, its images as they are."""
        return self._episodes(split, ways, shots, queries)

    def training_tasks(
        self, ways: Span, shots: Span, queries: int, *, rotations: bool, warp: str | None
    ) -> Episodes:
        """Meta-train tasks; `rotations` makes four classes of each, a warp changes every image.

        Raises:
            DataError: there are too few classes or examples for such tasks.
            RunError: no such warp.
        """
        ink = self.preprocessing.polarity == "ink"
        *names, last = IMAGE_WARPS if ink else PHOTO_WARPS
        if warp not in (None, *names, last):
            raise RunError(
                f"--warp of {self.name} must be {', '.join(names)} or {last}, got {warp!r}"
            )
        how: Transform = scale
        if (warp or self.warp) == "affine":
            how = ImageWarp(padding="zeros" if ink else "border")
        elif (warp or self.warp) == "crop":
            how = Reframe()
        return self._episodes("train", ways, shots, queries, rotations=rotations, transform=how)

    def without(self, group: str) -> "Images":
        """The same images but for the classes of one group, an alphabet say."""
        kept = {
            split: pool.select([other != group for other in pool.groups])
            for split, pool in self.pools.items()
        }
        return Images(
            self.name,
            kept,
            self.preprocessing,
            curated=self.curated,
            device=self.device,
            warp=self.warp,
        )

    def fitting(
        self, splits: Sequence[Split], ways: int, shots: int, queries: int
    ) -> tuple[int, int, int]:
        """The sizes of tasks that each of these splits has classes and images for."""
        pools = [self.pool(part) for part in splits]
        ways = max(2, min(ways, *(pool.classes for pool in pools)))
        if not self.curated:
            fewest = min(int(pool.counts.min()) for pool in pools)
            queries = max(1, min(queries, fewest - shots - self.unlabelled))
        return ways, shots, queries

    def kept(self) -> Kept | None:
        """The split of a folder, which is drawn when it is opened."""
        if self.curated or not set(PARTS) <= set(self.pools):
            return None
        names = {part: self.pools[part].names for part in PARTS}
        folder = str(Path(self.name).absolute())
        return KeptFolder(folder=folder, preprocessing=self.preprocessing, **names)

    def _episodes(
        self,
        split: Split,
        ways: Span,
        shots: Span,
        queries: int,
        *,
        rotations: bool = False,
        transform: Transform = scale,
    ) -> Episodes:
        pool = self.pool(split)
        most = shots if isinstance(shots, int) else shots[1]
        enough = pool.counts >= most + queries + self.unlabelled
        if self.curated and bool(enough.any()):
            pool = pool.select(enough)
        try:
            return Episodes(
                pool,
                ways,
                shots,
                queries,
                rotations=rotations,
                unlabelled=self.unlabelled,
                transform=transform,
            )
        except DataError as error:
            raise DataError(f"{self._where(split)}: {error}") from None

    def _where(self, split: Split) -> str:
        classes = self.pools[split].classes
        return self.name if split == "all" else f"{self.name}, meta-{split} ({classes} classes)"

    def facts(self) -> dict[str, Any]:
        """Classes, images and groups of each split."""
        told: dict[str, Any] = {
            "data": self.name,
            "input_shape": list(self.input_shape),
            "preprocessing": self.preprocessing.model_dump(),
        }
        for split, pool in self.pools.items():
            groups = sorted(set(pool.groups) - {""})
            told[split] = {
                "classes": pool.classes,
                "images": len(pool.images),
                "images_a_class": [int(pool.counts.min()), int(pool.counts.max())],
                "groups": groups,
            }
        return told


def open_folder(name: str, wanted: Wanted) -> Source:
    """A folder of class folders, or of train, validation and test folders of these."""
    told = wanted.preprocessing if isinstance(wanted.preprocessing, Preprocessing) else None
    how = told or folder_preprocessing(name, size=wanted.size, channels=wanted.channels)
    counts = folder_classes(name)
    known = wanted.kept.known(name) if isinstance(wanted.kept, KeptFolder) else {}
    if known:
        pool = image_folder(name, how) if len(counts) == 1 else join(folder_splits(name, how))
        pools = split_as_known(pool, known)
    elif len(counts) == 1 and counts[0] < LEAST_CLASSES:
        pools = {"all": image_folder(name, how)}
    else:
        splits = folder_splits(name, how)
        pools = {"all": join(splits), **splits._asdict()}
    return Images(name, pools, how, curated=False, device=wanted.device)


def preprocessing_of(stored: Mapping[str, JsonValue], path: Path | str) -> Preprocessing:
    """The preprocessing that a stored model was trained with.

    Raises:
        RunError: it was trained on something else than images.
    """
    try:
        return Preprocessing.model_validate(dict(stored))
    except ValidationError:
        raise RunError(f"the model in {path} was not trained on images, so it reads none") from None

"""What `--data` may name: built-in collections, formulas, folders of class folders, tables."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import JsonValue, ValidationError

from quickstudy.core import Task, TaskSource
from quickstudy.data.columns import Columns
from quickstudy.data.episodes import Episodes, Transform, scale
from quickstudy.data.fashion import fashion
from quickstudy.data.frames import SUFFIXES, is_table
from quickstudy.data.image_warps import ImageWarp
from quickstudy.data.images import (
    folder_classes,
    folder_preprocessing,
    folder_splits,
    image_folder,
)
from quickstudy.data.omniglot import omniglot
from quickstudy.data.pools import Pool, join
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.data.synthetic import Blobs, Sinusoids
from quickstudy.errors import DataError, RunError
from quickstudy.hub.config import Span
from quickstudy.hub.kept import PARTS, Kept, KeptFolder, split_as_known

Split = Literal["train", "validation", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "all")
LEAST_CLASSES = 6
"""Of a folder that is to be split: two for each part."""

SIDE = 28
"""Of the built-in characters' images, in pixels."""

INK = Preprocessing(size=SIDE, channels=1, polarity="ink")
"""How a user's pictures become the input of a model of the built-in characters."""

IMAGE_WARPS = ("none", "affine")
"""What `--warp` may name for images: as they are, or each bent a little."""


class Source(ABC):
    """Data that tasks are drawn from, split by class.

    Attributes:
        name: as `--data` says it.
        input_shape: of one input.
        outputs: real targets of an example; None for classes.
        preprocessing: how a user's images, or tables, become inputs; None where nothing does.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int | None = None
    preprocessing: Preprocessing | Columns | None = None

    @abstractmethod
    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """Tasks of a split.

        Raises:
            DataError: there are too few classes or examples for such tasks.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the data holds, for people to read."""

    def training_tasks(
        self, ways: Span, shots: Span, queries: int, *, rotations: bool, warp: str | None
    ) -> TaskSource[Task]:
        """Meta-train tasks, with what makes more of the classes than there are.

        Raises:
            DataError: there are too few classes or examples for such tasks.
            RunError: this data has no such augmentation.
        """
        if rotations:
            raise RunError(f"{self.name} are no images, so it takes no --rotations")
        if warp not in (None, "none"):
            raise RunError(f"{self.name} are no images, so it takes no --warp")
        return self.tasks("train", ways, shots, queries)

    def validation_tasks(self, ways: int, shots: int, queries: int) -> TaskSource[Task]:
        """Meta-validation tasks, smaller than asked for where there are too few classes."""
        return self.tasks("validation", ways, shots, queries)

    def contrast_tasks(self, ways: int, shots: int, queries: int) -> TaskSource[Task]:
        """Meta-train tasks of the sizes of `validation_tasks`, plain ones, to see the gap."""
        return self.tasks("train", ways, shots, queries)

    def kept(self) -> Kept | None:
        """What a run keeps so as to find the same classes again; None where they are fixed."""
        return None


class Images(Source):
    """Images, by split.

    Args:
        name: as `--data` says it.
        pools: split to its classes.
        preprocessing: how a user's image files become like them.
        curated: classes with too few images for a task are left out; else they are an error.
        device: where the images, and so the tasks, lie.
    """

    def __init__(
        self,
        name: str,
        pools: Mapping[str, Pool],
        preprocessing: Preprocessing,
        *,
        curated: bool,
        device: torch.device,
    ) -> None:
        self.name = name
        self.pools = {split: pool.to(device) for split, pool in pools.items()}
        self.preprocessing: Preprocessing = preprocessing
        self.curated = curated
        self.device = device
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
        """Meta-train tasks; `rotations` makes four classes of each, a warp bends every image."""
        if warp not in (None, *IMAGE_WARPS):
            raise RunError(
                f"--warp of {self.name} must be {' or '.join(IMAGE_WARPS)}, got {warp!r}"
            )
        ink = self.preprocessing.polarity == "ink"
        bent = ImageWarp(padding="zeros" if ink else "border")
        how = bent if warp == "affine" else scale
        return self._episodes("train", ways, shots, queries, rotations=rotations, transform=how)

    def without(self, group: str) -> "Images":
        """The same images but for the classes of one group, an alphabet say."""
        kept = {
            split: pool.select([other != group for other in pool.groups])
            for split, pool in self.pools.items()
        }
        how, device = self.preprocessing, self.device
        return Images(self.name, kept, how, curated=self.curated, device=device)

    def validation_tasks(self, ways: int, shots: int, queries: int) -> Episodes:
        """Meta-validation tasks, of as many classes and images as there are."""
        return self.tasks("validation", *self._small(ways, shots, queries))

    def contrast_tasks(self, ways: int, shots: int, queries: int) -> Episodes:
        """Meta-train tasks of the same sizes, their images as they are."""
        return self.tasks("train", *self._small(ways, shots, queries))

    def _small(self, ways: int, shots: int, queries: int) -> tuple[int, int, int]:
        """The sizes of tasks that meta-validation has classes and images for."""
        pools = [self.pool(part) for part in PARTS[:2]]
        ways = max(2, min(ways, *(pool.classes for pool in pools)))
        if not self.curated:
            fewest = min(int(pool.counts.min()) for pool in pools)
            queries = max(1, min(queries, fewest - shots))
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
        enough = pool.counts >= most + queries
        if self.curated and bool(enough.any()):
            pool = pool.select(enough)
        try:
            return Episodes(pool, ways, shots, queries, rotations=rotations, transform=transform)
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


class Formula(Source):
    """Tasks out of a formula, fresh in every split."""

    def __init__(
        self,
        name: str,
        make: Callable[[int, int, int], TaskSource[Task]],
        input_shape: tuple[int, ...],
        outputs: int | None = None,
    ) -> None:
        self.name = name
        self.make = make
        self.input_shape = input_shape
        self.outputs = outputs

    def tasks(self, split: Split, ways: Span, shots: Span, queries: int) -> TaskSource[Task]:
        """Tasks of the formula; the split makes no difference."""
        if not (isinstance(ways, int) and isinstance(shots, int)):
            raise RunError(
                f"{self.name} takes one number of ways and shots, got {ways} and {shots}"
            )
        return self.make(ways, shots, queries)

    def facts(self) -> dict[str, Any]:
        """The shape of an input."""
        return {"data": self.name, "input_shape": list(self.input_shape), "outputs": self.outputs}


@dataclass(frozen=True)
class Wanted:
    """What is asked of data when it is opened.

    Attributes:
        preprocessing: of the model that is to see it; None where a model is yet to be made.
        size: side of images, where the data leaves it open.
        channels: 1 or 3, where the data leaves it open.
        system_fonts: glyphs of this machine's other fonts too.
        device: where images lie.
        kept: of the run that is to see it, where that was trained on a folder or a table.
        group: the column of a table whose values are the tasks.
        features: the columns of a table that are inputs; all other numeric ones where None.
        targets: the columns of a table to predict.
        leave_out_small: leave out groups of a table with too few rows, which are an error else.
    """

    preprocessing: Preprocessing | Columns | None = None
    size: int | None = None
    channels: Literal[1, 3] | None = None
    system_fonts: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    kept: Kept | None = None
    group: str | None = None
    features: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()
    leave_out_small: bool = False


def _glyphs(wanted: Wanted) -> Source:
    from quickstudy.hub.handwriting import Glyphs

    return Glyphs(wanted)


def _omniglot(wanted: Wanted) -> Source:
    return Images("omniglot", omniglot()._asdict(), INK, curated=True, device=wanted.device)


def _fashion(wanted: Wanted) -> Source:
    pool = fashion()
    pools = {"test": pool, "all": pool}
    return Images("fashion", pools, INK, curated=True, device=wanted.device)


def _blobs(wanted: Wanted) -> Source:
    return Formula("blobs", lambda w, s, q: Blobs(w, s, q), input_shape=(2,))


def _sinusoids(wanted: Wanted) -> Source:
    return Formula("sinusoids", lambda w, s, q: Sinusoids(s, q), input_shape=(1,), outputs=1)


SOURCES: dict[str, Callable[[Wanted], Source]] = {
    "glyphs": _glyphs,
    "omniglot": _omniglot,
    "fashion": _fashion,
    "blobs": _blobs,
    "sinusoids": _sinusoids,
}
"""Name to what opens it."""
FORMULAS = {
    "blobs": "Gaussian blobs in the plane, to classify",
    "sinusoids": "sinusoids of random amplitude and phase, to regress",
}
"""Those that are made on the fly, and what they are."""


def open_source(name: str, wanted: Wanted | None = None) -> Source:
    """The data of that name, or the table or folder of class folders at that path.

    Args:
        name: a name in `SOURCES`, or a path.
        wanted: what is asked of it.

    Raises:
        DataError: no such data or folder, or one that is broken.

    Examples:
        >>> open_source("sinusoids").outputs
        1
        >>> open_source("omniglod")
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: --data must be ... no such folder; did you mean omniglot?
    """
    wanted = wanted or Wanted()
    if wanted.system_fonts and name.lower() != "glyphs":
        raise RunError(f"--system-fonts is for glyphs; {name} holds no characters of fonts")
    named = name.lower() in SOURCES
    if named or is_table(name):
        for flag in ("size", "channels"):
            if getattr(wanted, flag) is not None:
                raise RunError(f"--{flag} is for folders of images; {name} comes as it is")
    if not named and is_table(name):
        from quickstudy.hub.tables import open_table

        return open_table(name, wanted)
    for flag in ("group", "features", "targets", "leave_out_small"):
        if getattr(wanted, flag):
            said = flag.replace("_", "-")
            raise RunError(f"--{said} is for tables ({', '.join(SUFFIXES)}); {name} is none")
    if isinstance(wanted.preprocessing, Columns):
        raise RunError(f"the model was trained on a table, and {name} is none")
    if named:
        return SOURCES[name.lower()](wanted)
    if not Path(name).exists():
        alike = difflib.get_close_matches(name.lower(), SOURCES, n=1)
        raise DataError(
            f"--data must be {', '.join(SOURCES)}, a table or a folder of class folders, "
            f"got {name!r}: no such folder{f'; did you mean {alike[0]}?' if alike else ''}"
        )
    return _folder(name, wanted)


def _folder(name: str, wanted: Wanted) -> Source:
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

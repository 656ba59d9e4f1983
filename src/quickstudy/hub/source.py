"""What data is to a run: tasks of its splits, and what is asked of it when it is opened."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch

from quickstudy.core import Task, TaskSource
from quickstudy.data.columns import Columns
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import RunError
from quickstudy.hub.config import Span
from quickstudy.hub.kept import PARTS, Kept

Split = Literal["train", "validation", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "all")
LEAST_CLASSES = 6
"""Of a folder that is to be split: two for each part."""


class Source(ABC):
    """Data that tasks are drawn from, split by class.

    Attributes:
        name: as `--data` says it.
        input_shape: of one input.
        outputs: real targets of an example; None for classes.
        preprocessing: how a user's images, or tables, become inputs; None where nothing does.
        takes_unlabelled: whether `with_unlabelled` has more examples to give.
        unlabelled: so many more examples of each class stand in the supports without a label.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int | None = None
    preprocessing: Preprocessing | Columns | None = None
    takes_unlabelled: ClassVar[bool] = False
    unlabelled: int = 0

    def with_unlabelled(self, count: int) -> Self:
        """The same data with so many unlabelled examples of each class in every support.

        Raises:
            RunError: this data has none to give.
        """
        if count and not self.takes_unlabelled:
            raise RunError(f"--unlabelled is for classes of images; {self.name} are none")
        other = copy.copy(self)
        other.unlabelled = count
        return other

    def sizes(self, split: Split) -> tuple[str, ...]:
        """What may be asked of a split's tasks: ways, shots and queries, or some of them."""
        return ("ways", "shots", "queries") if self.outputs is None else ("shots", "queries")

    def fitting(
        self, splits: Sequence[Split], ways: int, shots: int, queries: int
    ) -> tuple[int, int, int]:
        """These sizes of tasks, with fewer ways and queries where one of the splits has no more."""
        return ways, shots, queries

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
        """Meta-validation tasks, of as many classes and examples as there are."""
        return self.tasks("validation", *self.fitting(PARTS[:2], ways, shots, queries))

    def contrast_tasks(self, ways: int, shots: int, queries: int) -> TaskSource[Task]:
        """Meta-train tasks of the sizes of `validation_tasks`, plain ones, to see the gap."""
        return self.tasks("train", *self.fitting(PARTS[:2], ways, shots, queries))

    def kept(self) -> Kept | None:
        """What a run keeps so as to find the same classes again; None where they are fixed."""
        return None


def refuse_sizes(source: Source, split: Split, named: Collection[str]) -> None:
    """Refuse sizes that the tasks of a split cannot have, instead of going on without them.

    Raises:
        RunError: names the first of them.
    """
    takes = source.sizes(split)
    for name in named:
        if name not in takes:
            why = "the targets are numbers" if takes else "they come as they are"
            raise RunError(f"{source.name} take no --{name}: {why}")


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

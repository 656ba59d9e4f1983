"""Labelled data sorted by class: what tasks are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from quickstudy.data.leakage import listed, shared_among
from quickstudy.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Pool:
    """Examples sorted by class, so that a class is a slice and drawing from it costs no search.

    Args:
        images: [n, ...], all of the first class, then all of the second, and so on: uint8
            pictures [n, channels, height, width], or any real features.
        offsets: [classes + 1] int64 on the CPU; class i owns rows offsets[i]..offsets[i + 1] - 1,
            at least one.
        names: the classes' names, no two alike.
        groups: where each class comes from (its alphabet or writing system), "" where that says
            nothing; empty for "" everywhere.

    Raises:
        DataError: the parts do not fit together, a class is empty or a name comes twice.

    Examples:
        >>> pool = Pool(torch.rand(5, 2), torch.tensor([0, 2, 5]), ("cat", "dog"))
        >>> pool
        Pool(2 classes, 5 of [2] float32)
        >>> pool.counts
        tensor([2, 3])
    """

    images: Shaped[Tensor, "n ..."]
    offsets: Int[Tensor, " ends"]
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the one moment in which a frozen object may still be completed
        set_(self, "names", tuple(self.names))
        set_(self, "groups", tuple(self.groups) or ("",) * len(self.names))
        ends = self.offsets
        if ends.dtype != torch.int64 or ends.ndim != 1 or ends.device.type != "cpu":
            raise DataError(
                f"offsets must be int64 [classes + 1] on the CPU, "
                f"got {_kind(ends)} {list(ends.shape)} on {ends.device}"
            )
        if not self.names or len(ends) != len(self.names) + 1:
            raise DataError(
                f"{len(self.names)} class names need {len(self.names) + 1} offsets "
                f"and at least one class, got {len(ends)} offsets"
            )
        if len(self.groups) != len(self.names):
            raise DataError(
                f"{len(self.names)} classes need as many groups, got {len(self.groups)}"
            )
        if self.images.ndim < 1 or int(ends[0]) != 0 or int(ends[-1]) != len(self.images):
            raise DataError(
                f"offsets must run from 0 to the number of images, got {int(ends[0])} to "
                f"{int(ends[-1])} for images {list(self.images.shape)}"
            )
        empty = [name for name, count in zip(self.names, self.counts, strict=True) if count < 1]
        if empty:
            raise DataError(f"every class needs an image, got none for {_few(empty)}")
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise DataError(f"class names must differ, got {_few(twice)} more than once")

    @classmethod
    def from_labels(
        cls,
        images: Shaped[Tensor, "n ..."],
        labels: Int[Tensor, " n"],
        names: Sequence[str] | None = None,
        groups: Sequence[str] = (),
    ) -> "Pool":
        """Sort examples by integer label; rows of one class keep their order.

        Args:
            images: [n, ...] in any order.
            labels: [n] integers. With names: in 0..len(names)-1, and every one occurs. Without:
                any integers, and each class is named by its number.
            names: the classes' names.
            groups: where each class comes from, in the order of the names (or of the labels).

        Raises:
            DataError: lengths disagree, a label is no integer or has no name, a name no label.

        Examples:
            >>> pool = Pool.from_labels(torch.arange(3)[:, None], torch.tensor([7, 2, 7]))
            >>> pool.names, pool.images.flatten()
            (('2', '7'), tensor([1, 0, 2]))
        """
        if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(
                f"labels must be integers [n], got {_kind(labels)} {list(labels.shape)}"
            )
        if images.ndim < 1 or len(images) != len(labels):
            raise DataError(
                f"images and labels must agree in number, got {list(images.shape)} "
                f"and {len(labels)} labels"
            )
        if not len(labels):
            raise DataError("a pool needs at least one image, got none")
        labels = labels.to("cpu", torch.int64)
        if names is None:
            found, labels = torch.unique(labels, return_inverse=True)
            names = [str(value) for value in found.tolist()]
        elif int(labels.min()) < 0 or int(labels.max()) >= len(names):
            raise DataError(
                f"labels must lie in 0..{len(names) - 1} for {len(names)} names, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        order = torch.argsort(labels, stable=True)
        counts = torch.bincount(labels, minlength=len(names))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(images[order.to(images.device)], offsets, tuple(names), tuple(groups))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)

    @property
    def counts(self) -> Int[Tensor, " classes"]:
        """How many images each class has, on the CPU."""
        return self.offsets.diff()

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """The class of each image, 0..classes-1, on the CPU."""
        return torch.repeat_interleave(torch.arange(self.classes), self.counts)

    def select(self, keep: Bool[Tensor, " classes"] | Sequence[bool]) -> "Pool":
        """The classes where `keep` is true, in their order; their images are copied.

        Raises:
            DataError: `keep` has another length than there are classes, or keeps none.

        Examples:
            >>> pool = Pool.from_labels(torch.rand(4, 2), torch.tensor([0, 0, 1, 2]))
            >>> pool.select([True, False, True]).names
            ('0', '2')
        """
        kept = torch.as_tensor(keep, device="cpu")
        if kept.dtype != torch.bool or kept.shape != (self.classes,):
            raise DataError(
                f"a selection must be {self.classes} booleans, one a class, "
                f"got {_kind(kept)} {list(kept.shape)}"
            )
        if not bool(kept.any()):
            raise DataError(f"a selection must keep a class, got none of {self.classes}")
        chosen = torch.nonzero(kept).flatten().tolist()
        counts = self.counts[kept]
        return Pool(
            self.images[kept[self.labels].to(self.images.device)],
            torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            tuple(self.names[i] for i in chosen),
            tuple(self.groups[i] for i in chosen),
        )

    def to(self, device: torch.device | str) -> "Pool":
        """The same pool with its images on `device`."""
        return Pool(self.images.to(device), self.offsets, self.names, self.groups)

    def __repr__(self) -> str:
        kinds = len(set(self.groups))
        of = f" in {kinds} groups" if kinds > 1 else ""
        shape = list(self.images.shape[1:])
        return (
            f"Pool({self.classes} classes{of}, {len(self.images)} of {shape} {_kind(self.images)})"
        )


def join(pools: Sequence[Pool]) -> Pool:
    """The classes of several pools in one, in the order given.

    Raises:
        DataError: no pool is given, their images differ in shape or type, or two share a class.

    Examples:
        >>> a = Pool.from_labels(torch.rand(2, 3), torch.tensor([0, 1]), ["ant", "bee"])
        >>> b = Pool.from_labels(torch.rand(1, 3), torch.tensor([0]), ["cat"])
        >>> join([a, b]).names
        ('ant', 'bee', 'cat')
    """
    if not pools:
        raise DataError("joining needs at least one pool, got none")
    _same_images(pools)
    counts = torch.cat([pool.counts for pool in pools])
    return Pool(
        torch.cat([pool.images for pool in pools]),
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        tuple(name for pool in pools for name in pool.names),
        tuple(group for pool in pools for group in pool.groups),
    )


class Splits(NamedTuple):
    """Three pools that share no class; make one with `Splits.disjoint`, which sees to that.

    Attributes:
        train: meta-train: what a learner is trained on.
        validation: meta-validation: what it is tuned and selected by.
        test: meta-test: what it is judged on, once.
    """

    train: Pool
    validation: Pool
    test: Pool

    @classmethod
    def disjoint(cls, train: Pool, validation: Pool, test: Pool) -> "Splits":
        """Three pools, refused where two of them share classes or pictures, or differ in kind.

        Rows of features (one dimension) may be equal by chance and are not compared; see
        `leakage.check_leakage`.

        Raises:
            DataError: a class or an identical picture stands in two of them, or images differ in
                shape or type.

        Examples:
            >>> one = Pool.from_labels(torch.rand(1, 3), torch.tensor([0]), ["ant"])
            >>> Splits.disjoint(one, one, one)
            Traceback (most recent call last):
            ...
            quickstudy.errors.DataError: train and validation must share no class, got 'ant' in both
        """
        parts = cls(train, validation, test)
        _same_images(parts)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            shared = sorted(set(parts[i].names) & set(parts[j].names))
            if shared:
                first, second = cls._fields[i], cls._fields[j]
                raise DataError(
                    f"{first} and {second} must share no class, got {_few(shared)} in both"
                )
        parts._refuse_shared_pictures()
        return parts

    def _refuse_shared_pictures(self) -> None:
        if self.train.images.ndim < 3:
            return
        said = [
            f"{self._fields[i]} and {self._fields[j]} must share no image, got {listed(shared)}"
            for i, j, shared in shared_among(self)
            if shared
        ]
        if said:
            raise DataError("; ".join(said))


def split_classes(
    pool: Pool,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    at_least: int = 1,
) -> Splits:
    """Split classes (never the images of one class) at random into train, validation and test.

    Args:
        pool: at least three classes.
        fractions: shares of the classes, positive, adding up to 1; rounded.
        seed: which split.
        at_least: classes that each part gets, at the cost of the largest; a third of the classes
            where there are too few for that.

    Raises:
        DataError: fewer than three classes, or fractions that are no shares.

    Examples:
        >>> pool = Pool.from_labels(torch.rand(10, 2), torch.arange(10))
        >>> [part.names for part in split_classes(pool, at_least=2)]
        [('1', '3', '4', '5', '7', '9'), ('0', '8'), ('2', '6')]
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(
            f"fractions must be three positive shares that add up to 1, got {fractions}"
        )
    if pool.classes < 3:
        raise DataError(
            f"a split into train, validation and test needs 3 classes, got {pool.classes}"
        )
    floor = max(1, min(at_least, pool.classes // 3))
    sizes = [max(floor, round(share * pool.classes)) for share in fractions]
    while sum(sizes) != pool.classes:  # rounding and floors: the largest part gives or takes
        sizes[sizes.index(max(sizes))] += 1 if sum(sizes) < pool.classes else -1
    order = torch.randperm(pool.classes, generator=torch.Generator().manual_seed(seed))
    masks = torch.zeros(3, pool.classes, dtype=torch.bool)
    for mask, chosen in zip(masks, torch.split(order, sizes), strict=True):
        mask[chosen] = True
    return Splits.disjoint(*(pool.select(mask) for mask in masks))


def _same_images(pools: Sequence[Pool]) -> None:
    kinds = {(tuple(pool.images.shape[1:]), pool.images.dtype) for pool in pools}
    if len(kinds) > 1:
        said = sorted(f"{list(shape)} {str(dtype)[6:]}" for shape, dtype in kinds)
        raise DataError(f"pools must hold images of one shape and type, got {' and '.join(said)}")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _few(names: Sequence[str]) -> str:
    """Up to five names, quoted, and how many more there are."""
    said = ", ".join(repr(name) for name in names[:5])
    return said if len(names) <= 5 else f"{said} and {len(names) - 5} more"

"""Whether what a learner is judged on was in front of it when it was trained."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from quickstudy.errors import DataError

if TYPE_CHECKING:
    from quickstudy.data.pools import Pool

AT_A_TIME = 4096
"""Rows that are looked at together; bounds the memory."""
SAID = 5
"""Pairs of classes that an error names before it counts."""


class Shared(NamedTuple):
    """Two classes that hold the same images.

    Attributes:
        train: the name of one, in the pool that is trained on.
        test: the name of the other, in the pool that is judged on.
        images: how many images of `test` are also in `train`.
    """

    train: str
    test: str
    images: int

    def __str__(self) -> str:
        return f"{self.images} of {self.test!r} in {self.train!r}"


def shared_images(train: "Pool", test: "Pool") -> list[Shared]:
    """Which classes of two pools hold identical images (or rows of features), the most first.

    Identical means byte by byte, as a learner gets to see them: copies under other names, in other
    formats or of other sizes are found where they become the same pixels, but no crops or rescans.
    Rows that hold one value only, blank pages say, are passed over: they say nothing of a class.
    An image that is in several classes of `train` counts for the first of them.

    Args:
        train: what is trained on.
        test: what is judged on.

    Returns:
        One entry for each pair of classes; none where the pools hold rows of different kinds.

    Examples:
        >>> from quickstudy.data.pools import Pool
        >>> pictures = torch.arange(24.0).reshape(4, 1, 2, 3)
        >>> seen = Pool.from_labels(pictures[:3], torch.tensor([0, 0, 1]), ["cat", "dog"])
        >>> new = Pool.from_labels(pictures[1:], torch.tensor([0, 0, 1]), ["copies", "fox"])
        >>> for both in shared_images(seen, new):
        ...     print(both)
        1 of 'copies' in 'cat'
        1 of 'copies' in 'dog'
    """
    return next(shared_among((train, test)))[2]


def shared_among(pools: Sequence["Pool"]) -> Iterator[tuple[int, int, list[Shared]]]:
    """As `shared_images` for each two of several pools, in one pass over the images.

    Yields:
        The places of an earlier and a later pool, and what they share.

    Examples:
        >>> from quickstudy.data.pools import Pool
        >>> pool = Pool.from_labels(torch.arange(4.0).reshape(2, 2), torch.tensor([0, 1]))
        >>> [(i, j, len(shared)) for i, j, shared in shared_among([pool, pool, pool])]
        [(0, 1, 2), (0, 2, 2), (1, 2, 2)]
    """
    rows = [list(zip(_digests(pool.images), pool.labels.tolist(), strict=True)) for pool in pools]
    kinds = [(pool.images.shape[1:], pool.images.dtype) for pool in pools]
    for i, train in enumerate(pools):
        # The first class that holds an image is written last, and so is the one that stays.
        known = {digest: label for digest, label in reversed(rows[i]) if digest is not None}
        for j, test in enumerate(pools[i + 1 :], i + 1):
            same = rows[j] if kinds[i] == kinds[j] else []
            found = Counter((known[digest], label) for digest, label in same if digest in known)
            pairs = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
            yield i, j, [Shared(train.names[a], test.names[b], count) for (a, b), count in pairs]


def check_leakage(train: "Pool", test: "Pool") -> None:
    """Refuse to judge by what was trained on: classes of one name, or identical images.

    Pools that come out of `omniglot`, `glyphs`, `folder_splits`, `split_classes` or
    `Splits.disjoint` have been checked; this is for pools that you put together yourself. Rows of
    features are compared as images are; where few values are possible, equal rows may be a
    coincidence, which `shared_images` lets you look at.

    Args:
        train: what is trained on.
        test: what is judged on.

    Raises:
        DataError: the pools share classes or images; names them.

    Examples:
        >>> from quickstudy.data.pools import Pool
        >>> pictures = torch.arange(12.0).reshape(2, 1, 2, 3)
        >>> seen = Pool.from_labels(pictures, torch.tensor([0, 1]), ["cat", "dog"])
        >>> copies = Pool.from_labels(pictures, torch.tensor([0, 1]), ["cat 2", "dog 2"])
        >>> check_leakage(seen, copies)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: train and test must share no image, got 1 of 'cat 2' in
        'cat', 1 of 'dog 2' in 'dog'
    """
    names = sorted(set(train.names) & set(test.names))
    if names:
        said = [repr(name) for name in names]
        raise DataError(f"train and test must share no class, got {_few(said)} in both")
    shared = shared_images(train, test)
    if shared:
        raise DataError(f"train and test must share no image, got {listed(shared)}")


def listed(shared: Sequence[Shared]) -> str:
    """Shared images for a message: up to five pairs of classes, and how many more there are.

    Examples:
        >>> listed([Shared("cat", "copies", 3)])
        "3 of 'copies' in 'cat'"
    """
    return _few([str(pair) for pair in shared])


def _few(said: Sequence[str]) -> str:
    more = f" and {len(said) - SAID} more" if len(said) > SAID else ""
    return ", ".join(said[:SAID]) + more


def _digests(images: Tensor) -> Iterator[bytes | None]:
    """What tells the rows apart, 16 bytes each; None for a row of one value."""
    for part in images.flatten(1).split(AT_A_TIME):
        blank = (part == part[:, :1]).all(dim=1).tolist()
        rows = part.contiguous().view(torch.uint8).cpu().numpy()
        for row, empty in zip(rows, blank, strict=True):
            yield None if empty else hashlib.blake2b(row, digest_size=16).digest()

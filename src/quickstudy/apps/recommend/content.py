"""What is known of items, or users, apart from who wanted what: numbers, kinds, tags and text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.coding import Coding
from quickstudy.apps.recommend.log import ITEM, USER, column
from quickstudy.data.frames import Frame, read_frame
from quickstudy.errors import DataError


class Content(NamedTuple):
    """Features of items, or users, in blocks whose rows have length one (zero: nothing known).

    Attributes:
        names: the items, or the users.
        kinds: [n, a], kinds and tags, the rarer the heavier.
        tokens: [n, b], the words of texts, likewise.
        numbers: [n, c], soft bins of numbers.
        levels: [n, d], where each number lies on its scale, about 0 to 1; NaN where not known.
        coding: how they were read.
    """

    names: Sequence[str]
    kinds: sparse.csr_matrix
    tokens: sparse.csr_matrix
    numbers: NDArray[np.float32]
    levels: NDArray[np.float32]
    coding: Coding

    @property
    def tags(self) -> Sequence[str]:
        """What the columns of `kinds` are called."""
        return self.coding.tags

    def at(self, places: NDArray[np.int64]) -> "Content":
        """The features of the items at these places."""
        return self._replace(
            names=[self.names[place] for place in places.tolist()],
            kinds=self.kinds[places],
            tokens=self.tokens[places],
            numbers=self.numbers[places],
            levels=self.levels[places],
        )

    def of(self, names: Sequence[str]) -> "Content":
        """The features of these items in this order; empty rows for those it does not know."""
        places = {name: place for place, name in enumerate(self.names)}
        rows = np.array([places.get(name, -1) for name in names], np.int64)
        known = (rows >= 0).astype(np.float32)
        pick = sparse.csr_matrix(
            (known, (np.arange(len(rows)), np.maximum(rows, 0))), (len(rows), len(self.names))
        )
        return self._replace(
            names=list(names),
            kinds=pick @ self.kinds,
            tokens=pick @ self.tokens,
            numbers=self.numbers[np.maximum(rows, 0)] * known[:, None],
            levels=np.where(known[:, None] > 0, self.levels[np.maximum(rows, 0)], np.nan),
        )


def alike(profiles: sparse.csr_matrix, features: sparse.csr_matrix) -> NDArray[np.float32]:
    """How much features of items [n, a] are those of profiles [m, a]: [m, n]; zero without any.

    Examples:
        >>> alike(sparse.csr_matrix([[1.0, 2.0]]), sparse.csr_matrix([[0.0, 1.0], [1.0, 0.0]]))
        array([[2., 1.]])
    """
    found: NDArray[np.float32] = (profiles @ features.T).toarray()
    return found


def nothing(names: Sequence[str]) -> Content:
    """Items of which nothing is known."""
    empty = sparse.csr_matrix((len(names), 0), dtype=np.float32)
    none, without = np.empty(0, np.float32), np.zeros((len(names), 0), np.float32)
    coding = Coding((), (), (), none, none, np.empty((0, 2)), np.empty(0, bool))
    return Content(list(names), empty, empty, without, without, coding)


def items(
    source: Any,
    *,
    item: str | None = None,
    columns: Sequence[str] | None = None,
    kinds: Sequence[str] = (),
) -> Content:
    """Features of items from a CSV or parquet file, or a pandas, polars or arrow table.

    Columns of numbers become soft bins, on a scale of logarithms where they span much; of
    true/false, lists, or text with `|` or `;` in it, tags; of text with few distinct values, kinds;
    of other text, words. A year in parentheses, as titles of films have it, counts as a number.
    Missing values are features that an item does not have.

    Args:
        source: see `quickstudy.table`.
        item: the column that names the items, as the interactions do; looked for if not given.
        columns: the features; all others if not given.
        kinds: columns that hold kinds though they look otherwise, numbers of categories, say.

    Raises:
        DataError: a column is not there, or an item has two rows.

    Examples:
        >>> content = items({"item": ["x", "y"], "price": [1.0, 9.0], "tags": ["a|b", "b"]})
        >>> content.tags, content.kinds.toarray().astype(float).round(2).tolist()
        (('tags=a', 'tags=b'), [[0.98, 0.19], [0.0, 1.0]])
    """
    frame = read_frame(source)
    return _features(frame, "item", str(column(frame, "item", item, ITEM)), columns, kinds)


def users(source: Any, *, user: str | None = None, columns: Sequence[str] | None = None) -> Content:
    """Features of users, their ages and regions say, from any table; columns as `items` reads them.

    Not all users of the interactions need be there; nothing is known of the others. Words of text
    are read, but recommenders leave them out.

    Args:
        source: see `quickstudy.table`.
        user: the column that names the users, as the interactions do; looked for if not given.
        columns: the features; all others if not given.

    Raises:
        DataError: a column is not there, or a user has two rows.

    Examples:
        >>> users({"user": ["ann", "bob"], "region": ["north", "north"]}).tags
        ('region=north',)
    """
    frame = read_frame(source)
    return _features(frame, "user", str(column(frame, "user", user, USER)), columns)


def like(content: Content, source: Any, *, item: str | None = None) -> Content:
    """Features of other items from a table with the same columns, in the same places.

    What the first table did not have, a new brand say, is no feature.

    Args:
        content: what `items` read.
        source: the other items.
        item: the column that names them; looked for if not given.

    Raises:
        DataError: a column is not there or holds something else, or an item has two rows.

    Examples:
        >>> content = items({"item": ["x", "y"], "price": [1.0, 9.0], "tags": ["a|b", "b"]})
        >>> like(content, {"item": ["z"], "price": [2.0], "tags": ["a|c"]}).kinds.toarray().tolist()
        [[1.0, 0.0]]
    """
    frame = read_frame(source)
    names, order = _named(frame, "item", str(column(frame, "item", item, ITEM)))
    return _coded(content.coding, frame, names, order)


def _features(
    frame: Frame, what: str, key: str, columns: Sequence[str] | None, kinds: Sequence[str] = ()
) -> Content:
    names, order = _named(frame, what, key)
    chosen = [name for name in frame.names if name != key] if columns is None else list(columns)
    frame.known("feature column", [*chosen, *kinds])
    return _coded(Coding.of(frame, chosen, kinds), frame, names, order)


def _named(frame: Frame, what: str, key: str) -> tuple[list[str], NDArray[np.int64]]:
    """Names of items or users, and the places of their rows."""
    names, codes = frame.codes(key)
    counts = np.bincount(codes)
    if counts.max() > 1:
        twice = names[int(counts.argmax())]
        raise DataError(f"each {what} must have one row in {frame.where}, got {twice!r} twice")
    return list(names), np.argsort(codes)


def _coded(coding: Coding, frame: Frame, names: Sequence[str], order: NDArray[np.int64]) -> Content:
    blocks = coding.encode(frame)
    kinds, tokens, numbers, levels = (block[order] for block in blocks)
    return Content(names, kinds, tokens, numbers, levels, coding)

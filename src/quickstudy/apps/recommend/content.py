"""What is known of items apart from who wanted them: numbers, kinds, tags and text."""

import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.apps.recommend.log import ITEM
from quickstudy.apps.recommend.log import column as item_column
from quickstudy.data.frames import Frame, read_frame
from quickstudy.errors import DataError

SEPARATORS = ("|", ";")
BINS = 12
"""Soft bins of a column of numbers; items that lie near each other share them."""
WORDS = 2**14
"""Places that the words of text are hashed to."""
FEW = 0.05
"""A text column with fewer distinct values than this share of its rows holds kinds, not text."""
YEAR = re.compile(r"\((1[89]\d\d|20\d\d)\)")
WORD = re.compile(r"\w+")


class Content(NamedTuple):
    """Features of items, in two blocks whose rows have length one (or zero: nothing known).

    Attributes:
        names: the items.
        kinds: [n, a], kinds and tags, the rarer the heavier.
        tokens: [n, b], the words of texts, likewise.
        numbers: [n, c], soft bins of numbers.
        tags: what the columns of `kinds` are called.
    """

    names: Sequence[str]
    kinds: sparse.csr_matrix
    tokens: sparse.csr_matrix
    numbers: NDArray[np.float32]
    tags: Sequence[str]

    def of(self, names: Sequence[str]) -> "Content":
        """The features of these items in this order; empty rows for those it does not know."""
        places = {name: place for place, name in enumerate(self.names)}
        rows = np.array([places.get(name, -1) for name in names], np.int64)
        known = (rows >= 0).astype(np.float32)
        pick = sparse.csr_matrix(
            (known, (np.arange(len(rows)), np.maximum(rows, 0))), (len(rows), len(self.names))
        )
        numbers = self.numbers[np.maximum(rows, 0)] * known[:, None]
        return self._replace(
            names=list(names), kinds=pick @ self.kinds, tokens=pick @ self.tokens, numbers=numbers
        )


def nothing(names: Sequence[str]) -> Content:
    """Items of which nothing is known."""
    empty = sparse.csr_matrix((len(names), 0), dtype=np.float32)
    return Content(list(names), empty, empty, np.zeros((len(names), 0), np.float32), [])


def items(source: Any, *, item: str | None = None, columns: Sequence[str] | None = None) -> Content:
    """Features of items from a CSV or parquet file, or a pandas, polars or arrow table.

    Columns of numbers become soft bins; of true/false, lists, or text with `|` or `;` in it, tags;
    of text with few distinct values, kinds; of other text, words. A year in parentheses, as titles
    of films have it, counts as a number. Missing values are features that an item does not have.

    Args:
        source: see `quickstudy.table`.
        item: the column that names the items, as the interactions do; looked for if not given.
        columns: the features; all others if not given.

    Raises:
        DataError: a column is not there, or an item has two rows.

    Examples:
        >>> content = items({"item": ["x", "y"], "price": [1.0, 9.0], "tags": ["a|b", "b"]})
        >>> content.tags, content.kinds.toarray().astype(float).round(2).tolist()
        (['tags=a', 'tags=b'], [[0.98, 0.19], [0.0, 1.0]])
    """
    frame = read_frame(source)
    key = item_column(frame, "item", item, ITEM)
    names, codes = frame.codes(str(key))
    counts = np.bincount(codes)
    if counts.max() > 1:
        twice = names[int(counts.argmax())]
        raise DataError(f"each item must have one row in {frame.where}, got {twice!r} twice")
    chosen = [name for name in frame.names if name != key] if columns is None else list(columns)
    frame.known("feature column", chosen)
    tags, numbers, texts = [], [], []
    for name in chosen:
        kind, values = _read(frame, name)
        if kind == "numbers":
            numbers.append(values)
        elif kind == "tags":
            tags.append((name, values))
        else:
            texts.append(values)
            numbers.extend(_years(values))
    order = np.argsort(codes)
    kinds, labels = _tagged(tags, len(codes))
    return Content(
        names=names,
        kinds=kinds[order],
        tokens=_hashed(texts, len(codes))[order],
        numbers=_soft_bins(numbers, len(codes))[order],
        tags=labels,
    )


def _read(frame: Frame, name: str) -> tuple[str, Any]:
    """What a column is taken for, and its values: floats [n], or a list of lists, or of texts."""
    values = frame.arrow[name].to_pylist()
    if frame.is_numeric(name):
        return "numbers", np.array([np.nan if v is None else float(v) for v in values])
    if any(isinstance(value, list | tuple) for value in values):
        return "tags", [[str(v) for v in value or ()] for value in values]
    if any(isinstance(value, bool) for value in values):
        return "tags", [[] if value is None else [str(value)] for value in values]
    texts = ["" if value is None else str(value) for value in values]
    mark = max(SEPARATORS, key=lambda mark: sum(mark in text for text in texts))
    if sum(mark in text for text in texts) > FEW * len(texts):
        return "tags", [[part.strip() for part in t.split(mark) if part.strip()] for t in texts]
    if len(set(texts)) <= min(max(FEW * len(texts), 10), len(texts) / 2):
        return "tags", [[text] if text else [] for text in texts]
    return "text", texts


def _years(texts: Sequence[str]) -> list[NDArray[np.float64]]:
    """The years in parentheses, as one column of numbers, where half of the texts have one."""
    found = [YEAR.findall(text) for text in texts]
    years = np.array([float(years[-1]) if years else np.nan for years in found])
    return [years] if np.isfinite(years).mean() > 0.5 else []


def _tagged(
    columns: Sequence[tuple[str, Sequence[Sequence[str]]]], rows: int
) -> tuple[sparse.csr_matrix, list[str]]:
    places: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for name, lists in columns:
        for row, tags in enumerate(lists):
            pairs.extend(
                (row, places.setdefault(f"{name}={tag}", len(places))) for tag in set(tags)
            )
    order = sorted(places)
    rank = {tag: place for place, tag in enumerate(order)}
    back = np.array([rank[tag] for tag in places], np.int64)
    at = np.array(pairs, np.int64).reshape(-1, 2)
    return _weighted(at[:, 0], back[at[:, 1]], (rows, len(places))), order


def _hashed(columns: Sequence[Sequence[str]], rows: int) -> sparse.csr_matrix:
    pairs = [
        (row, zlib.crc32(word.encode()) % WORDS)
        for texts in columns
        for row, text in enumerate(texts)
        for word in set(WORD.findall(text.lower()))
    ]
    at = np.array(pairs, np.int64).reshape(-1, 2)
    return _weighted(at[:, 0], at[:, 1], (rows, WORDS if columns else 0))


def _weighted(
    row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Ones at these places, weighted by inverse document frequency; rows of length one."""
    there = sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape)
    there.data[:] = 1
    counts = np.asarray(there.sum(0)).ravel()
    weights = np.log((1 + shape[0]) / (1 + counts)) + 0.1
    weighted = sparse.csr_matrix(there.multiply(weights[None]), dtype=np.float32)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    scaled = sparse.diags(1 / np.maximum(lengths, 1e-9)) @ weighted
    return sparse.csr_matrix(scaled, dtype=np.float32)


def _soft_bins(columns: Sequence[NDArray[np.float64]], rows: int) -> NDArray[np.float32]:
    """Bumps along each column's range; all rows that have a number have length one."""
    blocks = []
    for values in columns:
        known = np.isfinite(values)
        low, high = np.quantile(values[known], (0.01, 0.99)) if known.any() else (0.0, 0.0)
        centres = np.linspace(low, high, BINS)
        width = max((high - low) / (BINS - 1), 1e-9)
        near = np.clip(np.where(known, values, low), low, high)[:, None] - centres
        block = np.exp(-0.5 * (near / width) ** 2) * known[:, None]
        blocks.append(block)
    if not blocks:
        return np.zeros((rows, 0), np.float32)
    joined = np.concatenate(blocks, axis=1)
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    result: NDArray[np.float32] = (joined / np.maximum(lengths, 1e-9)).astype(np.float32)
    return result

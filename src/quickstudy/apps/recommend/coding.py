"""How columns of item features become numbers, so that items that come later are read alike."""

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from quickstudy.data.frames import Frame
from quickstudy.errors import DataError

SEPARATORS = ("|", ";")
BINS = 12
"""Soft bins of a column of numbers; items that lie near each other share them."""
WORDS = 2**14
"""Places that the words of text are hashed to."""
SKEWED = 20.0
"""A column of positive numbers that spans such a ratio is read on a scale of logarithms."""
MARKED = 0.05
"""A text column holds several tags a row where a larger share of its rows has separators."""
REPEATED = 4
"""A text column whose values come so often on average holds kinds, not text."""
CATEGORIES = ("category", "categories", "genre", "genres", "kind", "department", "type")
"""What the column that tells categories is called; whole numbers in it are no amounts."""
YEAR = re.compile(r"\((1[89]\d\d|20\d\d)\)")
WORD = re.compile(r"\w+")

Floats = NDArray[np.float32]


class Blocks(NamedTuple):
    """Features of items as arrays.

    Attributes:
        kinds: kinds and tags [n, a].
        tokens: words [n, b].
        numbers: soft bins [n, c].
        levels: where numbers lie on their scales [n, d], NaN where not known.
    """

    kinds: sparse.csr_matrix
    tokens: sparse.csr_matrix
    numbers: Floats
    levels: Floats


class Coding(NamedTuple):
    """What each column was taken for, and how much each of its values says.

    Attributes:
        columns: names, and each one's kind: "numbers", "tags", "text", or "dated" text, which has
            years in it; tags that stand in one cell have the separator after the kind.
        tags: names of tags, "column=value", column by column.
        spans: the columns of tags, and how many tags each has.
        tag_weights: [tags], the rarer the heavier.
        word_weights: [WORDS] likewise, or none where no column is text.
        ranges: of each column of numbers, and of years, between which its bins lie [numbers, 2].
        logarithmic: whether it is read on a scale of logarithms [numbers].
    """

    columns: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    spans: tuple[tuple[str, int], ...]
    tag_weights: Floats
    word_weights: Floats
    ranges: NDArray[np.float64]
    logarithmic: NDArray[np.bool_]

    @classmethod
    def of(cls, frame: Frame, names: Sequence[str], kinds: Sequence[str] = ()) -> "Coding":
        """The coding that these columns of a table call for.

        Args:
            frame: the table.
            names: the columns.
            kinds: those that hold kinds, whatever they look like.
        """
        columns = tuple((name, "tags" if name in kinds else _kind(frame, name)) for name in names)
        rows = frame.arrow.num_rows
        numbers, tags, texts = _read(frame, columns)
        held = {name: sorted({tag for row in lists for tag in row}) for name, lists in tags}
        labels = tuple(f"{name}={tag}" for name, of in held.items() for tag in of)
        spans = tuple((name, len(of)) for name, of in held.items())
        none = np.empty(0, np.float32)
        plain = cls(columns, labels, spans, none, none, np.empty((0, 2)), np.empty(0, bool))
        word_weights = plain.word_weights
        if texts:
            word_weights = _rarity(_ones(_word_places(texts), (rows, WORDS)))
        return plain._replace(
            tag_weights=_rarity(_ones(plain._tag_places(tags), (rows, len(labels)))),
            word_weights=word_weights,
            ranges=np.array([_range(column) for column in numbers]).reshape(-1, 2),
            logarithmic=np.array([_skewed(column) for column in numbers], bool),
        )

    @property
    def tag_columns(self) -> dict[str, slice]:
        """Where the tags of each column are among all tags."""
        ends = np.cumsum([count for _, count in self.spans]).tolist()
        return {
            name: slice(end - count, end)
            for (name, count), end in zip(self.spans, ends, strict=True)
        }

    def values(self, column: str) -> list[str]:
        """What a column of tags holds, in their order."""
        return [tag.removeprefix(f"{column}=") for tag in self.tags[self.tag_columns[column]]]

    def encode(self, frame: Frame) -> Blocks:
        """The rows of a table with these columns; a tag that the coding does not know is dropped.

        Raises:
            DataError: a column is not there, or holds something else than it did.
        """
        frame.known("feature column", [name for name, _ in self.columns])
        rows = frame.arrow.num_rows
        numbers, tags, texts = _read(frame, self.columns)
        return Blocks(
            _weighted(_ones(self._tag_places(tags), (rows, len(self.tags))), self.tag_weights),
            _weighted(
                _ones(_word_places(texts), (rows, len(self.word_weights))), self.word_weights
            ),
            *_soft_bins(numbers, self.ranges, self.logarithmic, rows),
        )

    def _tag_places(self, columns: "Tags") -> NDArray[np.int64]:
        pairs: list[tuple[int, int]] = []
        for name, lists in columns:
            start = self.tag_columns[name].start
            place = {tag: start + place for place, tag in enumerate(self.values(name))}
            pairs.extend(
                (row, place[tag])
                for row, tags in enumerate(lists)
                for tag in set(tags)
                if tag in place
            )
        return np.array(pairs, np.int64).reshape(-1, 2)


Tags = list[tuple[str, list[list[str]]]]


def _read(
    frame: Frame, columns: Sequence[tuple[str, str]]
) -> tuple[list[NDArray[np.float64]], Tags, list[list[str]]]:
    """Columns of numbers, of tags, and of texts."""
    numbers: list[NDArray[np.float64]] = []
    tags: Tags = []
    texts: list[list[str]] = []
    for name, kind in columns:
        if kind == "numbers":
            numbers.append(_numbers(frame, name))
        elif kind.startswith("tags"):
            tags.append((name, _tags(frame, name, kind.removeprefix("tags"))))
        else:
            texts.append(_texts(frame, name))
            if kind == "dated":
                numbers.append(_years(texts[-1]))
    return numbers, tags, texts


def _kind(frame: Frame, name: str) -> str:
    if frame.is_numeric(name):
        return "tags" if name.lower() in CATEGORIES and _few(frame, name) else "numbers"
    values = frame.arrow[name].to_pylist()
    if any(isinstance(value, list | tuple | bool) for value in values):
        return "tags"
    texts = _texts(frame, name)
    mark = max(SEPARATORS, key=lambda mark: sum(mark in text for text in texts))
    if sum(mark in text for text in texts) > MARKED * len(texts):
        return f"tags{mark}"
    if len(set(texts)) <= max(len(texts) / REPEATED, min(10, len(texts) / 2)):
        return "tags"
    return "dated" if np.isfinite(_years(texts)).mean() > 0.5 else "text"


def _few(frame: Frame, name: str) -> bool:
    """Whether numbers are numbers of categories: whole, and each of them often."""
    values = [value for value in frame.arrow[name].to_pylist() if value is not None]
    whole = all(float(value).is_integer() for value in values if np.isfinite(value))
    return whole and len(set(values)) <= max(len(values) / REPEATED, min(10, len(values) / 2))


def _numbers(frame: Frame, name: str) -> NDArray[np.float64]:
    values = frame.arrow[name].to_pylist()
    if not frame.is_numeric(name) and any(value is not None for value in values):
        raise DataError(f"feature column {name!r} must be numbers, as it was in training")
    return np.array([np.nan if value is None else float(value) for value in values])


def _tags(frame: Frame, name: str, mark: str) -> list[list[str]]:
    lists: list[list[str]] = []
    for value in frame.arrow[name].to_pylist():
        if isinstance(value, list | tuple):
            parts = [str(part) for part in value]
        elif value is None:
            parts = []
        else:
            parts = str(value).split(mark) if mark else [str(value)]
        lists.append([part.strip() for part in parts if part.strip()])
    return lists


def _texts(frame: Frame, name: str) -> list[str]:
    return ["" if value is None else str(value) for value in frame.arrow[name].to_pylist()]


def _years(texts: Sequence[str]) -> NDArray[np.float64]:
    """The last year in parentheses of each text, as films have it."""
    found = [YEAR.findall(text) for text in texts]
    return np.array([float(years[-1]) if years else np.nan for years in found])


def _word_places(columns: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    pairs = [
        (row, zlib.crc32(word.encode()) % WORDS)
        for texts in columns
        for row, text in enumerate(texts)
        for word in set(WORD.findall(text.lower()))
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _ones(places: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    ones = np.ones(len(places), np.float32)
    there = sparse.csr_matrix((ones, (places[:, 0], places[:, 1])), shape)
    there.data[:] = 1
    return there


def _rarity(there: sparse.csr_matrix) -> Floats:
    """Inverse document frequencies of columns."""
    counts = np.asarray(there.sum(0)).ravel()
    rarity: Floats = (np.log((1 + there.shape[0]) / (1 + counts)) + 0.1).astype(np.float32)
    return rarity


def _weighted(there: sparse.csr_matrix, weights: Floats) -> sparse.csr_matrix:
    """Weighted ones; rows of length one."""
    weighted = sparse.csr_matrix(there.multiply(weights[None]), dtype=np.float32)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    scaled = sparse.diags(1 / np.maximum(lengths, 1e-9)) @ weighted
    return sparse.csr_matrix(scaled, dtype=np.float32)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    known = np.isfinite(values)
    if not known.any():
        return 0.0, 0.0
    low, high = np.quantile(values[known], (0.01, 0.99))
    return float(low), float(high)


def _skewed(values: NDArray[np.float64]) -> bool:
    low, high = _range(values)
    return bool(np.nanmin(values, initial=np.inf) > 0 and high > SKEWED * low > 0)


def _soft_bins(
    columns: Sequence[NDArray[np.float64]],
    ranges: NDArray[np.float64],
    logarithmic: NDArray[np.bool_],
    rows: int,
) -> tuple[Floats, Floats]:
    """Bumps along each column's range, and where in it a row is, from 0 to 1.

    All rows that have a number have length one.
    """
    if not columns:
        return np.zeros((rows, 0), np.float32), np.zeros((rows, 0), np.float32)
    blocks, levels = [], []
    for values, (low, high), logs in zip(columns, ranges, logarithmic, strict=True):
        known = np.isfinite(values)
        near = np.clip(np.where(known, values, low), low, high)
        if logs:
            near, low, high = np.log(near), np.log(low), np.log(high)
        width = max((high - low) / (BINS - 1), 1e-9)
        away = (near[:, None] - np.linspace(low, high, BINS)) / width
        blocks.append(np.exp(-0.5 * away**2) * known[:, None])
        levels.append(np.where(known, (near - low) / max(high - low, 1e-9), np.nan))
    joined = np.concatenate(blocks, axis=1)
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    bins: Floats = (joined / np.maximum(lengths, 1e-9)).astype(np.float32)
    return bins, np.stack(levels, axis=1).astype(np.float32)

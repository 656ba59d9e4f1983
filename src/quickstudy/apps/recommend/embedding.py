"""Items as vectors: what they are, how popular they are when, and who wanted them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor, nn

from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.factors import ImplicitFactors
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.statistics import Statistics

Floats = NDArray[np.float32]

REDUCED = 48
"""Directions that kinds, and words, are reduced to where there are more of them."""
FACTORS, CONFIDENCE, PENALTY = 24, 10.0, 10.0
"""Width, confidence and penalty of the implicit factors that go into an item's features."""
MOMENTARY = 4
"""The last columns of an item's features, which change with the moment."""
FAR = 5.0
"""What lies further out than so many spreads is taken as that far."""
SPREAD = 2.0
"""Of a block of columns as a whole, where a column alone has one: directions of little weight in
content or factors stay small, instead of being blown up to noise."""


class ItemFeatures(NamedTuple):
    """Everything that is known of each item, as numbers; those nobody has touched included.

    Popularity is among them, so that a model may use it, and so is the moment of recommendation.

    Attributes:
        lasting: [items, width - MOMENTARY]: content, likes, interactions, mean rating, whether
            anyone has touched it, and its factors of who liked what (zeros where nobody did).
        content: how many of the columns are content; they stand first.
        factors: how many are factors; they stand last in `lasting`.
        floor: the log-popularity of what nobody liked.
        known: statistics, of other users than those it is read for.
    """

    lasting: Floats
    content: int
    factors: int
    floor: float
    known: Statistics

    @classmethod
    def of(
        cls, known: Statistics, content: Floats, log: Log, frame: Floats | None = None
    ) -> "ItemFeatures":
        """The features of a catalogue.

        Args:
            known: statistics of the log.
            content: what `reduced` makes of the items' content [items, c].
            log: interactions of training users.
            frame: factors [items, f] that this log's are turned onto (orthogonal Procrustes, which
                changes no product of two), so that a column means the same in both.
        """
        factors = liking_factors(log)
        if frame is not None:
            factors = (factors @ linalg.orthogonal_procrustes(factors, frame)[0]).astype(np.float32)
        popularity = np.stack(
            [np.log1p(known.likes), np.log1p(known.counts), known.deviation, known.counts > 0], 1
        )
        lasting = np.concatenate([content, popularity, factors], 1, dtype=np.float32)
        floor = float(known.recent.min())
        return cls(lasting, content.shape[1], factors.shape[1], floor, known)

    @property
    def width(self) -> int:
        """Numbers of one item."""
        return int(self.lasting.shape[1]) + MOMENTARY

    def standard(self, time: float) -> tuple[Tensor, Tensor]:
        """What columns are at a moment on average, and what they are divided by, each [width]."""
        features = self.at(time)
        scale = features.std(0)
        end = self.lasting.shape[1]
        for block in (slice(0, self.content), slice(end - self.factors, end)):
            scale[block] = scale[block].square().sum().sqrt() / SPREAD
        return features.mean(0), torch.where(scale > 1e-6, scale, torch.ones_like(scale))

    def at(
        self,
        time: float,
        items: NDArray[np.int64] | None = None,
        untouched: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """The features of these items at a moment [m, width], or of all of them.

        Args:
            time: the moment.
            items: places in the catalogue [m].
            untouched: which of them are to look as if nobody had touched them [m].
        """
        moment = np.array([time])
        places = np.arange(len(self.lasting)) if items is None else items
        recent = self.known.recently_liked(moment)[0][:, places].T
        columns = [self.lasting[places], recent, self.known.age(moment, places).T]
        features = np.concatenate(columns, 1)
        if untouched is not None:
            features[untouched, self.content :] = 0
            features[untouched, -MOMENTARY:-1] = self.floor
        return torch.from_numpy(features)


def liking_factors(log: Log) -> Floats:
    """Factors of who liked what [items, f]; zeros for items that nobody liked."""
    liked = log.rows(log.liked)
    if not len(liked.item):
        return np.zeros((len(log.items), FACTORS), np.float32)
    found = ImplicitFactors.of(liked, width=FACTORS, confidence=CONFIDENCE, penalty=PENALTY)
    return found.items


def reduced(content: Content, width: int = REDUCED) -> Floats:
    """Content as a few dense columns [items, c]: the leading directions of kinds and of words.

    Args:
        content: of the whole catalogue.
        width: directions of each block; a block of fewer columns stays as it is.

    Examples:
        >>> from quickstudy.apps.recommend import items
        >>> reduced(items({"item": ["x", "y"], "price": [1.0, 9.0], "tags": ["a|b", "b"]})).shape
        (2, 14)
    """
    blocks = [_leading(block, width) for block in (content.kinds, content.tokens)]
    return np.concatenate([*blocks, content.numbers], 1, dtype=np.float32)


def _leading(block: sparse.csr_matrix, width: int) -> Floats:
    """A block's rows in its `width` leading singular directions."""
    filled = block[:, np.flatnonzero(np.asarray(block.sum(0)).ravel())]
    if min(filled.shape) <= width:
        dense: Floats = np.asarray(filled.toarray(), np.float32)
        return dense if filled.shape[1] <= width else _turned(dense, width)
    start = np.random.default_rng(0).standard_normal(min(filled.shape))
    left, scale, _ = sparse.linalg.svds(filled.astype(np.float64), width, v0=start)
    leading: Floats = (left * scale).astype(np.float32)
    return leading


def _turned(dense: Floats, width: int) -> Floats:
    left, scale, _ = np.linalg.svd(dense, full_matrices=False)
    turned: Floats = (left * scale)[:, :width].astype(np.float32)
    return turned


class Tower(nn.Module):
    """An item's features to its embedding: a line and a small perceptron on standardised columns.

    Args:
        inputs: numbers of one item.
        width: of the embedding.
        hidden: of the perceptron.

    The columns are standardised by what `start` is told.

    Attributes:
        features: the same as `width`.

    Examples:
        >>> Tower(5, 3)(torch.rand(7, 5)).shape
        torch.Size([7, 3])
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.features = width
        self.line = nn.Linear(inputs, width)
        self.bend = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def start(self, centre: Tensor, scale: Tensor) -> "Tower":
        """Take this off features, and divide by this, each [inputs]."""
        self.centre, self.scale = centre, scale
        return self

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings [n, width] of features [n, inputs]."""
        standard = ((features - self.centre) / self.scale).clamp(-FAR, FAR)
        embedded: Tensor = self.line(standard) + self.bend(standard)
        return embedded

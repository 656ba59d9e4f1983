"""Ratings as products of factors, and the closed form that finds a new user's from a few."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from quickstudy.apps.recommend.log import Log

Floats = NDArray[np.float32]
WIDTH = 10
SWEEPS = 8
PENALTY = 0.25
"""Of factors, for each rating that they explain (Zhou et al. 2008, eq. 3)."""
ITEM_SHRINKAGE = 3.0
"""Ratings that an item's level is mixed with, all of them average."""
USER_SHRINKAGE = 8.0
"""Ratings that a user's bias is mixed with, all of them average."""
CHUNK = 50_000
"""Factors whose products are held at once."""


class Factors(NamedTuple):
    """Biases of items, and factors of what biases leave of ratings.

    Attributes:
        level: what each item is rated by an average user [items].
        items: [items, width].
        penalty: of a user's factors, for each rating.
        shrinkage: of a user's bias.
    """

    level: Floats
    items: Floats
    penalty: float = PENALTY
    shrinkage: float = USER_SHRINKAGE

    @classmethod
    def of(
        cls,
        log: Log,
        *,
        width: int = WIDTH,
        penalty: float = PENALTY,
        shrinkage: float = USER_SHRINKAGE,
    ) -> "Factors":
        """Biases in turn, then alternating least squares on what they leave of a log's ratings."""
        _, user = np.unique(log.user, return_inverse=True)
        counts = np.bincount(user)
        level, bias = _biases(log, user, counts, shrinkage)
        left = log.value - level[log.item]
        residual = torch.from_numpy((left - bias[user]).astype(np.float32))
        users, items = torch.from_numpy(user), torch.from_numpy(log.item)
        generator = torch.Generator().manual_seed(0)
        theirs = 0.1 * torch.randn(len(log.items), width, generator=generator)
        for _ in range(SWEEPS):
            mine = _solve(users, items, residual, theirs, len(counts), penalty)
            theirs = _solve(items, users, residual, mine, len(log.items), penalty)
        return cls(level.astype(np.float32), theirs.numpy(), penalty, shrinkage)

    def bias(self, residuals: Floats) -> float:
        """A user's bias from what the items' levels leave of some ratings [k]."""
        return float(residuals.sum() / (len(residuals) + self.shrinkage))

    def user(self, items: NDArray[np.int64], residuals: Floats) -> Floats:
        """A user's factors [width] from ratings' residuals [k], the bias taken off."""
        chosen = self.items[items]
        gram = chosen.T @ chosen
        gram[np.diag_indices_from(gram)] += self.penalty * max(len(items), 1)
        solved: Floats = np.linalg.solve(gram, chosen.T @ residuals).astype(np.float32)
        return solved


def _biases(
    log: Log, user: NDArray[np.int64], counts: NDArray[np.int64], shrinkage: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The level of each item, and how far each user is above the items' levels, fitted in turn."""
    mean = float(log.value.mean())
    rated = np.bincount(log.item, minlength=len(log.items))
    bias = np.zeros(len(counts))
    for _ in range(5):
        left = log.value - mean - bias[user]
        level = mean + np.bincount(log.item, left, len(log.items)) / (rated + ITEM_SHRINKAGE)
        bias = np.bincount(user, log.value - level[log.item]) / (counts + shrinkage)
    return level, bias


def _solve(
    side: Tensor, other: Tensor, residual: Tensor, factors: Tensor, count: int, penalty: float
) -> Tensor:
    """Ridge regressions of one side's ratings on the other side's factors [count, width]."""
    gram, right = _sums(side, other, residual, factors, count)
    rated = torch.bincount(side, minlength=count).clamp(min=1)
    ridge = penalty * rated[:, None, None] * torch.eye(factors.shape[1])
    solved: Tensor = torch.linalg.solve(gram + ridge, right)
    return solved


def _sums(
    side: Tensor, other: Tensor, values: Tensor, factors: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Of each on one side: products of the other side's factors, and these times the values."""
    width, shape = factors.shape[1], (count, len(factors))
    at = side.numpy(), other.numpy()
    there = sparse.csr_matrix((np.ones(len(side), np.float32), at), shape)
    scaled = sparse.csr_matrix((values.numpy(), at), shape)
    theirs = factors.numpy()
    first, second = np.triu_indices(width)  # products are symmetric: half of them will do
    half = np.zeros((count, len(first)), np.float32)
    for start in range(0, len(theirs), CHUNK):
        some = theirs[start : start + CHUNK]
        part = there if len(some) == len(theirs) else there[:, start : start + CHUNK]
        half += part @ (some[:, first] * some[:, second])
    gram = np.empty((count, width, width), np.float32)
    gram[:, first, second] = gram[:, second, first] = half
    return torch.from_numpy(gram), torch.from_numpy(scaled @ theirs)


class ImplicitFactors(NamedTuple):
    """Items' factors of who wanted what (Hu, Koren and Volinsky 2008).

    Attributes:
        items: [items, width].
        confidence: alpha of their eq. 1, in what was wanted.
        penalty: lambda of their eq. 3.
    """

    items: Floats
    confidence: float
    penalty: float

    @classmethod
    def of(
        cls,
        liked: Log,
        *,
        width: int = 24,
        confidence: float = 10.0,
        penalty: float = 10.0,
        sweeps: int = 6,
    ) -> "ImplicitFactors":
        """Alternating least squares on what was liked."""
        _, user = np.unique(liked.user, return_inverse=True)
        users, items = torch.from_numpy(user), torch.from_numpy(liked.item)
        generator = torch.Generator().manual_seed(0)
        theirs = 0.1 * torch.randn(len(liked.items), width, generator=generator)
        for _ in range(sweeps):
            mine = _wanted(users, items, theirs, int(user.max(initial=-1)) + 1, confidence, penalty)
            theirs = _wanted(items, users, mine, len(liked.items), confidence, penalty)
        return cls(theirs.numpy(), confidence, penalty)

    def fold(self, wanted: sparse.csr_matrix, items: Floats | None = None) -> Floats:
        """Factors of those who wanted these [users, width], from ones at [users, items].

        Args:
            wanted: of whom.
            items: the items' factors, where there are more than these.
        """
        return self._folded(wanted, self.items if items is None else items)

    def of_items(self, wanted: sparse.csr_matrix, users: Floats) -> Floats:
        """Factors of other items [c, width] from who wanted them [users, c], all users' given."""
        return self._folded(sparse.csr_matrix(wanted.T), users)

    def _folded(self, wanted: sparse.csr_matrix, factors: Floats) -> Floats:
        rows, columns = (torch.from_numpy(place.astype(np.int64)) for place in wanted.nonzero())
        side = torch.from_numpy(factors)
        count = wanted.shape[0]
        return _wanted(rows, columns, side, count, self.confidence, self.penalty).numpy()

    def scores(self, wanted: NDArray[np.int64]) -> Floats:
        """Preferences for all items [items] of one who wanted these [k]."""
        chosen = self.items[wanted]
        gram = self.items.T @ self.items + self.confidence * chosen.T @ chosen
        gram[np.diag_indices_from(gram)] += self.penalty
        mine = np.linalg.solve(gram, (1 + self.confidence) * chosen.sum(0))
        scores: Floats = (self.items @ mine).astype(np.float32)
        return scores


def _wanted(
    side: Tensor, other: Tensor, factors: Tensor, count: int, confidence: float, penalty: float
) -> Tensor:
    """The same of what was wanted, all else unwanted with little confidence (their eq. 4)."""
    gram, right = _sums(side, other, torch.ones(len(side)), factors, count)
    shared = factors.T @ factors + penalty * torch.eye(factors.shape[1])
    solved: Tensor = torch.linalg.solve(shared + confidence * gram, (1 + confidence) * right)
    return solved

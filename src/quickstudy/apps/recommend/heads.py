"""The heads that weigh evidence: meta-learned from many users, each a task of its own."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

HIDDEN = 32
RATE = 1e-3
DECAY = 0.3
TASKS_PER_STEP = 32
EPOCHS = 12
RATINGS_PER_STEP, RATING_EPOCHS = 2048, 12
LEAST_STEPS = 300
"""Where there is little to learn from, it is gone through more often."""


class Head(nn.Module):
    """A line and a small perceptron on standardised evidence.

    Args:
        inputs: columns of evidence.
        hidden: width of the perceptron.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, 1)
        last = nn.Linear(hidden, 1)
        self.bend = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), last)
        for layer in (self.line, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def forward(self, evidence: Tensor) -> Tensor:
        """Scores [...] of evidence [..., inputs]."""
        standard = (evidence - self.centre) / self.scale
        scores: Tensor = (self.line(standard) + self.bend(standard))[..., 0]
        return scores

    def start(self, evidence: Tensor, prior: dict[int, float]) -> None:
        """Standardise by this evidence [n, inputs], and begin with these weights of columns."""
        self.centre = evidence.mean(0)
        spread = evidence.std(0)
        self.scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        with torch.no_grad():
            for column, weight in prior.items():
                self.line.weight[0, column] = weight * self.scale[column]


class RankingTask(NamedTuple):
    """A user's candidates.

    Attributes:
        evidence: [c, inputs].
        relevant: [c] bools.
        weight: [c], the logarithm of how many items a candidate stands for.
    """

    evidence: NDArray[np.float32]
    relevant: NDArray[np.bool_]
    weight: NDArray[np.float32]


def train_ranking(tasks: Sequence[RankingTask], prior: dict[int, float], seed: int) -> Head:
    """A head that puts what a user liked later before what it did not.

    The loss of a task is the mean over its relevant items of the log-probability that the item
    comes first among itself and all irrelevant ones; relevant items do not compete.
    """
    evidence, relevant, weight, present = _padded(tasks)
    head = _head(evidence.shape[-1], seed)
    head.start(evidence[present], prior)

    def loss(rows: Tensor) -> Tensor:
        scores = head(evidence[rows])
        wanted = relevant[rows]
        others = scores + weight[rows]
        others = others.masked_fill(wanted | ~present[rows], -torch.inf)
        against = torch.logsumexp(others, -1, keepdim=True).clamp(min=-1e9)
        lost = (torch.logaddexp(scores, against) - scores) * wanted
        mean: Tensor = (lost.sum(-1) / wanted.sum(-1).clamp(min=1)).mean()
        return mean

    return _descend(head, loss, len(tasks), TASKS_PER_STEP, EPOCHS, seed)


def _head(inputs: int, seed: int) -> Head:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(inputs)


def _padded(tasks: Sequence[RankingTask]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width = max(len(task.relevant) for task in tasks)
    inputs = tasks[0].evidence.shape[1]
    evidence = torch.zeros(len(tasks), width, inputs)
    relevant = torch.zeros(len(tasks), width, dtype=torch.bool)
    weight = torch.zeros(len(tasks), width)
    present = torch.zeros(len(tasks), width, dtype=torch.bool)
    for row, task in enumerate(tasks):
        count = len(task.relevant)
        evidence[row, :count] = torch.from_numpy(task.evidence)
        relevant[row, :count] = torch.from_numpy(task.relevant)
        weight[row, :count] = torch.from_numpy(task.weight)
        present[row, :count] = True
    return evidence, relevant, weight, present


def train_rating(evidence: Tensor, residual: Tensor, prior: dict[int, float], seed: int) -> Head:
    """A head that says by how much a rating differs from what means and bias say.

    Args:
        evidence: [n, inputs], rows of many users.
        residual: [n].
        prior: weights of columns that it begins with.
        seed: of weights and order.
    """
    head = _head(evidence.shape[-1], seed)
    head.start(evidence, prior)

    def loss(rows: Tensor) -> Tensor:
        return F.mse_loss(head(evidence[rows]), residual[rows])

    return _descend(head, loss, len(evidence), RATINGS_PER_STEP, RATING_EPOCHS, seed)


def _descend(
    head: Head, loss: Callable[[Tensor], Tensor], count: int, batch: int, epochs: int, seed: int
) -> Head:
    generator = torch.Generator().manual_seed(seed)
    batch = min(batch, count)
    steps = max(epochs * (count // batch), LEAST_STEPS)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    done = 0
    while done < steps:
        for rows in torch.randperm(count, generator=generator).split(batch):
            if len(rows) < batch or done == steps:
                break
            optimizer.zero_grad()
            loss(rows).backward()
            optimizer.step()
            schedule.step()
            done += 1
    return head.eval()

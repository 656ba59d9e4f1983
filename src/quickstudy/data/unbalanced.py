"""Tasks that do not have as many queries of each class as of the others."""

import math
from bisect import bisect
from itertools import accumulate

import torch

from quickstudy.core.tasks import Examples, Task, TaskSource, stack, tree_map
from quickstudy.errors import DataError


class UnbalancedQueries:
    """Another source's tasks with fewer queries, of classes in unlike numbers.

    In use nobody sees to it that queries are of all classes alike, which some transductive methods
    count on. Here the classes' shares are drawn for every task by a symmetric Dirichlet
    distribution, as Veilleux et al. 2021 judge (Realistic evaluation of transductive few-shot
    learning). Differs: the queries are drawn by these shares, where the paper rounds the shares to
    numbers, and a class has no more of them than the source's task has. Which ones it has are the
    first of the class in the source's order.

    Drawing 20 tasks and then 30 gives the same tasks as drawing 50.

    Args:
        source: its tasks are of classes, with more queries than are wanted here.
        queries: of a task, all classes together.
        alpha: the concentration, > 0: 2 in the paper; the smaller, the less alike.

    Raises:
        DataError: a number out of range.

    Examples:
        >>> from quickstudy.data import Episodes, Pool
        >>> pool = Pool.from_labels(torch.rand(200, 8), torch.arange(200) // 20)
        >>> source = UnbalancedQueries(Episodes(pool, way=5, shot=1, queries=15), queries=25)
        >>> task = source.sample(2, torch.Generator().manual_seed(1))
        >>> task.query.y.sum(1).int().tolist()  # each class has so many
        [[3, 2, 3, 5, 12], [6, 2, 2, 15, 0]]
    """

    def __init__(self, source: TaskSource[Task], queries: int, alpha: float = 2.0) -> None:
        if queries < 1:
            raise DataError(f"a task needs at least one query, got {queries}")
        if not 0 < alpha < math.inf:
            raise DataError(f"alpha must be a positive number, got {alpha}")
        self.source = source
        self.queries = queries
        self.alpha = alpha

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks, stacked.

        Args:
            count: tasks, >= 1.
            generator: the only source of randomness.

        Returns:
            The source's supports, and `queries` queries of each task, class by class.

        Raises:
            DataError: fewer than one task, or a task of the source that has too few queries, or
                whose targets are no classes.
        """
        if count < 1:
            raise DataError(f"a batch needs at least one task, got {count}")
        # One by one, so that a task does not depend on how many are drawn with it.
        return stack([self._one(generator) for _ in range(count)])

    def _one(self, generator: torch.Generator) -> Task:
        batch = self.source.sample(1, generator)
        support, query = tree_map(lambda leaf: leaf[0], batch)
        numbers = torch.rand(self.queries, generator=generator, device=generator.device)
        labels = query.y * query.mask[:, None]
        if not bool(((labels == 0) | (labels == 1)).all() & (labels.sum(1) == query.mask).all()):
            raise DataError("unbalanced queries are of classes; these targets are none")
        held = labels.sum(0).long()
        if int(held.sum()) < self.queries:
            raise DataError(
                f"{self.queries} queries are chosen from more, got a task of {int(held.sum())}"
            )
        wanted = urn(held.tolist(), self.alpha, numbers.tolist())
        # Of each class as many as are wanted, from the front.
        place = (labels.cumsum(0) * labels).sum(1)
        most = (labels * torch.tensor(wanted).to(labels)).sum(1)
        rows = torch.nonzero((place <= most) & (query.mask > 0)).flatten()
        rows = rows[labels[rows].argmax(1).argsort(stable=True)]
        return Task(support, Examples(*tree_map(lambda leaf: leaf.index_select(0, rows), query)))


def urn(held: list[int], alpha: float, numbers: list[float]) -> list[int]:
    """How many of each class are drawn by Polya's urn, which is by shares from a Dirichlet.

    A class comes with a probability in proportion to alpha and how often it came before; never
    more often than it is held.

    Args:
        held: of each class, how many there are.
        alpha: the concentration.
        numbers: uniform in [0, 1), one for each that is drawn.

    Examples:
        >>> urn([3, 0, 3], 2.0, [0.1, 0.6, 0.1, 0.1])
        [3, 0, 1]
    """
    drawn = [0] * len(held)
    for number in numbers:
        there = [place for place, most in enumerate(held) if drawn[place] < most]
        ends = list(accumulate(alpha + drawn[place] for place in there))
        # The last one also where rounding leaves nothing below its end.
        drawn[there[min(bisect(ends, number * ends[-1]), len(there) - 1)]] += 1
    return drawn

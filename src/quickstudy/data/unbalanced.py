"""Tasks that do not have as many queries of each class as of the others."""

import numpy as np
import torch

from quickstudy.core.tasks import Examples, Task, TaskSource, stack, tree_map, unstack, zero_padding
from quickstudy.errors import DataError

ALIKE = 1e6
"""A concentration at which all classes have as many queries, or one more or less."""


class UnbalancedQueries:
    """Another source's tasks with some of their queries, of classes in unlike numbers.

    In use nobody sees to it that queries are of all classes alike, which some transductive methods
    count on. Here the classes' shares are drawn for every task by a symmetric Dirichlet
    distribution and rounded to numbers of queries, as Veilleux et al. 2021 judge (Realistic
    evaluation of transductive few-shot learning). Differs: a class has no more than the source's
    task has, and what it should have beyond that goes to the others. Which ones it has are the
    first of the class in the source's order.

    Supports, classes and the order of their queries do not depend on `alpha`, so that figures at
    two of them can be compared task by task: at `ALIKE` all classes have as many queries. Drawing
    20 tasks and then 30 gives the same tasks as drawing 50.

    Args:
        source: its tasks are of classes. Padding and queries without a label are not drawn.
        queries: of a task, all classes together.
        alpha: the concentration, in (0, `ALIKE`]: 2 in the paper; the smaller, the less alike.

    Raises:
        DataError: a number out of range.

    Examples:
        >>> from quickstudy.data import Episodes, Pool
        >>> pool = Pool.from_labels(torch.rand(200, 8), torch.arange(200) // 20)
        >>> source = UnbalancedQueries(Episodes(pool, way=5, shot=1, queries=15), queries=25)
        >>> task = source.sample(2, torch.Generator().manual_seed(1))
        >>> task.query.x.shape, task.query.y.shape
        (torch.Size([2, 25, 8]), torch.Size([2, 25, 5]))
        >>> sorted(task.query.y[0].sum(0).int().tolist())  # how many each class has
        [1, 4, 5, 6, 9]
    """

    def __init__(self, source: TaskSource[Task], queries: int, alpha: float = 2.0) -> None:
        if type(queries) is not int or queries < 1:
            raise DataError(f"queries must be a whole number >= 1, got {queries!r}")
        if type(alpha) not in (int, float) or not 0 < alpha <= ALIKE:
            raise DataError(f"alpha must lie in (0, {ALIKE:,.0f}], got {alpha!r}")
        self.source = source
        self.queries = queries
        self.alpha = alpha

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks, stacked.

        Args:
            count: tasks, >= 1.
            generator: the only source of randomness.

        Returns:
            The source's supports, and queries x [count, queries, ...], y [count, queries, way] and
            mask, class by class.

        Raises:
            DataError: fewer than one task, or a task of the source that has too few queries, or
                whose targets are no classes.
        """
        if count < 1:
            raise DataError(f"a batch needs at least one task, got {count}")
        # One by one, so that a task does not depend on how many are drawn with it.
        return stack([self._one(generator) for _ in range(count)])

    def _one(self, generator: torch.Generator) -> Task:
        support, query = unstack(self.source.sample(1, generator))[0]
        query = zero_padding(query)
        labels = query.y.long()
        if len(labels.T) < 2 or not bool((labels == query.y).all() & (labels.sum(1) <= 1).all()):
            raise DataError(
                "queries are unbalanced by class: y must be one-hot [m, way], got other numbers "
                f"{list(labels.shape)}"
            )
        held = labels.sum(0).cpu().numpy()
        if held.sum() < self.queries:
            raise DataError(f"{self.queries} queries are to be drawn, got a task of {held.sum()}")
        seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
        shares = np.zeros(len(held))
        there = int((held > 0).sum())
        shares[held > 0] = np.random.default_rng(int(seed)).dirichlet([self.alpha] * there)
        wanted = apportioned(shares.tolist(), held.tolist(), self.queries)
        # Of each class as many as are wanted, from the front.
        place = (labels.cumsum(0) * labels).sum(1)
        most = (labels * torch.tensor(wanted, device=labels.device)).sum(1)
        rows = torch.nonzero((labels.sum(1) > 0) & (place <= most)).flatten()
        rows = rows[labels[rows].argmax(1).argsort(stable=True)]
        return Task(support, Examples(*tree_map(lambda leaf: leaf.index_select(0, rows), query)))


def apportioned(shares: list[float], held: list[int], total: int) -> list[int]:
    """Whole numbers in proportion to shares, by the largest remainders.

    Args:
        shares: of each class, of sum 1.
        held: of each class, the most that it may get.
        total: of all numbers, <= that of `held`.

    Examples:
        >>> apportioned([0.5, 0.3, 0.2], [9, 9, 9], 10)
        [5, 3, 2]
        >>> apportioned([0.8, 0.1, 0.1], [4, 9, 9], 10)
        [4, 3, 3]
    """
    got = [0] * len(shares)
    for _ in range(total):
        lacking = [
            total * share - mine if mine < most else -np.inf
            for share, mine, most in zip(shares, got, held, strict=True)
        ]
        got[int(np.argmax(lacking))] += 1
    return got

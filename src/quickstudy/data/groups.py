"""Regression tasks from grouped rows: each group is a task, its rows are the examples."""

import torch
from torch import Tensor

from quickstudy.core.tasks import Examples, Task
from quickstudy.data.episodes import subsets
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError


class Groups:
    """A source of regression tasks: a group at random, and of its rows `shot` and `queries`.

    Support and query share no row, and no row comes twice in a task. The same group may come again
    in a batch. Drawing 20 tasks and then 30 gives the same tasks as drawing 50: each task takes its
    own fixed share of the generator's numbers.

    Args:
        pool: rows [n, features + outputs] sorted by group; the last `outputs` columns are targets.
        outputs: real targets of a row.
        shot: support rows of a task, or a range (low, high), both included, drawn for every task;
            where fewer than `high` are drawn, the rest is padding: zeros, masked out.
        queries: query rows of a task.

    Raises:
        DataError: a group with too few rows, or no feature or target is left.

    Examples:
        >>> rows = Pool.from_labels(torch.rand(40, 3), torch.arange(40) // 10)
        >>> task = Groups(rows, outputs=1, shot=2, queries=5).sample(
        ...     3, torch.Generator().manual_seed(0))
        >>> task.support.x.shape, task.query.y.shape
        (torch.Size([3, 2, 2]), torch.Size([3, 5, 1]))
        >>> Groups(rows, outputs=1, shot=8, queries=5)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: 8 shots + 5 queries need 13 rows, group '0' has 10 ...
    """

    def __init__(
        self,
        pool: Pool,
        outputs: int,
        shot: int | tuple[int, int] = 5,
        queries: int = 10,
    ) -> None:
        low, high = shot if isinstance(shot, tuple) else (shot, shot)
        if not 1 <= low <= high or queries < 1:
            raise DataError(
                f"shots and queries must be at least 1, got {shot} shots and {queries} queries"
            )
        width = pool.images.shape[1] if pool.images.ndim == 2 else 0
        if not 1 <= outputs < width:
            raise DataError(
                f"rows must be [n, features + outputs] with at least one of each, "
                f"got {list(pool.images.shape)} and {outputs} outputs"
            )
        wanted = high + queries
        small = torch.nonzero(pool.counts < wanted).flatten().tolist()
        if small:
            more = f" ({len(small)} groups have too few)" if len(small) > 1 else ""
            raise DataError(
                f"{_many(high, 'shot')} + {_many(queries, 'query')} need {wanted} rows, "
                f"group {pool.names[small[0]]!r} has {int(pool.counts[small[0]])}{more}"
            )
        self.pool = pool
        self.outputs = outputs
        self.shot = (low, high)
        self.queries = queries

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks, stacked.

        Args:
            count: tasks, >= 1.
            generator: the only source of randomness.

        Returns:
            x [count, shot, features] and [count, queries, features], y [count, ..., outputs], mask.

        Raises:
            DataError: fewer than one task.
        """
        if count < 1:
            raise DataError(f"a batch needs at least one task, got {count}")
        low, high = self.shot
        rows, device = high + self.queries, generator.device
        # Every task reads one row of numbers, so that tasks do not depend on how they are batched.
        numbers = torch.rand(
            count, 2 + 2 * rows, generator=generator, device=device, dtype=torch.float64
        )
        group = (numbers[:, 0] * self.pool.classes).long()
        held, start = self.pool.counts.to(device)[group], self.pool.offsets.to(device)[group]
        picked = subsets(held, numbers[:, 2:].reshape(count, 2, rows)) + start[:, None]
        values = self.pool.images
        drawn = values.index_select(0, picked.flatten().to(values.device))
        x, y = drawn.reshape(count, rows, -1).tensor_split([values.shape[1] - self.outputs], dim=2)
        mask = torch.ones(count, rows, dtype=values.dtype, device=values.device)
        if low < high:
            shots = low + (numbers[:, 1] * (high - low + 1)).long()
            place = torch.arange(rows, device=device)
            mask *= ((place < shots[:, None]) | (place >= high)).to(values.device)
            x, y = x * mask[..., None], y * mask[..., None]
        return Task(_part(x, y, mask, 0, high), _part(x, y, mask, high, rows))


def _part(x: Tensor, y: Tensor, mask: Tensor, first: int, last: int) -> Examples:
    rows = slice(first, last)
    return Examples(x[:, rows].contiguous(), y[:, rows].contiguous(), mask[:, rows].contiguous())


def _many(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count} {what if count == 1 else plural}"

"""Tasks out of a formula: sinusoids to regress, Gaussian blobs to classify."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.tasks import Examples, Task, one_hot
from quickstudy.errors import DataError


class Sinusoids:
    """Regression tasks y = amplitude * sin(x - phase), one sinusoid a task (Finn et al. 2017, 5.1).

    Amplitudes are uniform in [0.1, 5], phases in [0, pi] radians, inputs in [-5, 5].

    Args:
        shot: support points of a task.
        queries: query points of a task.

    Raises:
        DataError: a number below one.

    Examples:
        >>> task = Sinusoids(shot=10).sample(3, torch.Generator().manual_seed(0))
        >>> task.support.x.shape, task.support.y.shape
        (torch.Size([3, 10, 1]), torch.Size([3, 10, 1]))
        >>> bool(task.query.y.abs().max() <= 5)
        True
    """

    amplitude = (0.1, 5.0)
    phase = (0.0, math.pi)
    inputs = (-5.0, 5.0)

    def __init__(self, shot: int = 10, queries: int = 10) -> None:
        self.shot = _at_least_one("shot", shot)
        self.queries = _at_least_one("queries", queries)

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks: x and y [count, shot, 1] and [count, queries, 1], mask all ones.

        Raises:
            DataError: fewer than one task.
        """
        _at_least_one("a batch", count)
        points = self.shot + self.queries
        # Every task reads one row of numbers, so that tasks do not depend on how they are batched.
        numbers = torch.rand(count, 2 + points, generator=generator, device=generator.device)
        amplitude, phase, x = torch.split(numbers[..., None], [1, 1, points], dim=1)
        x = _between(self.inputs, x)
        y = _between(self.amplitude, amplitude) * torch.sin(x - _between(self.phase, phase))
        mask = torch.ones_like(x[..., 0])
        halves = [torch.split(part, [self.shot, self.queries], dim=1) for part in (x, y, mask)]
        return Task(*(Examples(*half) for half in zip(*halves, strict=True)))


class Blobs:
    """Classification tasks of Gaussian blobs: class centres N(0, 1), examples around them.

    Args:
        way: classes in a task, >= 2.
        shot: support examples of a class.
        queries: query examples of a class.
        dimensions: of the input space.
        spread: standard deviation of the examples about their centre; that of the centres is 1.

    Raises:
        DataError: a number below one, fewer than two ways, or a negative spread.

    Examples:
        >>> task = Blobs(way=3, shot=2, queries=4).sample(5, torch.Generator().manual_seed(0))
        >>> task.support.x.shape, task.query.y.shape
        (torch.Size([5, 6, 2]), torch.Size([5, 12, 3]))
    """

    def __init__(
        self,
        way: int = 5,
        shot: int = 1,
        queries: int = 15,
        dimensions: int = 2,
        spread: float = 0.3,
    ) -> None:
        self.way = _at_least_one("way", way)
        self.shot = _at_least_one("shot", shot)
        self.queries = _at_least_one("queries", queries)
        self.dimensions = _at_least_one("dimensions", dimensions)
        self.spread = spread
        if way < 2:
            raise DataError(f"a task needs at least 2 ways, got {way}")
        if not 0 <= spread < math.inf:
            raise DataError(f"spread must be a number >= 0, got {spread}")

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks: x [count, way * shot, dimensions], y one-hot, mask all ones.

        Raises:
            DataError: fewer than one task.
        """
        _at_least_one("a batch", count)
        shape = (count, self.way, 1 + self.shot + self.queries, self.dimensions)
        numbers = torch.randn(shape, generator=generator, device=generator.device)
        centre, noise = numbers[:, :, :1], numbers[:, :, 1:]
        x = centre + self.spread * noise
        support, query = torch.split(x, [self.shot, self.queries], dim=2)
        return Task(self._half(support), self._half(query))

    def _half(self, x: Float[Tensor, "count way each d"]) -> Examples:
        labels = torch.arange(self.way, device=x.device).repeat_interleave(x.shape[2])
        x = x.flatten(1, 2)
        y = one_hot(labels, self.way).expand(len(x), -1, -1).clone()
        return Examples(x, y, torch.ones(x.shape[:2], device=x.device))


def _between(ends: tuple[float, float], numbers: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * numbers


def _at_least_one(name: str, number: int) -> int:
    if type(number) is not int or number < 1:
        raise DataError(f"{name} must be a whole number >= 1, got {number!r}")
    return number

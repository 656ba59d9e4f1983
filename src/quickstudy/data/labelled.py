"""Labelled examples of all classes at once: what an ordinary classifier is trained on."""

import torch
from torch import Tensor

from quickstudy.core.tasks import Examples, Task
from quickstudy.data.episodes import Episodes, Transform, check_turnable, quarter_turns, scale
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError


class Labelled:
    """A source of batches of labelled examples, over all classes of a pool.

    For learners that are trained like any classifier and never see a task in training
    (`SimpleShot`, say). A batch has the form of a task whose support is empty and whose query is
    one-hot over all classes, which stand for the same in every batch. A class is drawn first, so
    that each is as likely as another however many examples it has, and then one of its examples;
    examples may come twice.

    Drawing 20 batches and then 30 gives the same as drawing 50, unless the transform draws.

    Args:
        pool: what to draw from. Batches lie on the device that its images lie on.
        examples: of a batch, >= 1.
        rotations: turn each drawn example by 0, 90, 180 or 270 degrees; every class then stands for
            four, those of a quarter turn after those of none, and so on. A class that looks the
            same when turned has several labels then.
        transform: examples [n, ...] as the pool holds them to floats [n, ...]; may draw from the
            generator. `scale` by default.

    Raises:
        DataError: fewer than two classes, no examples, or images that cannot be turned.

    Examples:
        >>> pool = Pool.from_labels(torch.rand(60, 8), torch.arange(60) // 6)
        >>> batch = Labelled(pool, examples=32).sample(2, torch.Generator().manual_seed(0))
        >>> batch.query.x.shape, batch.query.y.shape, batch.support.x.shape
        (torch.Size([2, 32, 8]), torch.Size([2, 32, 10]), torch.Size([2, 0, 8]))
    """

    def __init__(
        self,
        pool: Pool,
        examples: int = 64,
        *,
        rotations: bool = False,
        transform: Transform = scale,
    ) -> None:
        if type(examples) is not int or examples < 1:
            raise DataError(f"a batch needs at least one example, got {examples!r}")
        if rotations:
            check_turnable(pool.images)
        self.pool = pool
        self.examples = examples
        self.rotations = rotations
        self.transform = transform
        if self.classes < 2:
            raise DataError(f"there must be at least 2 classes to tell apart, got {self.classes}")

    @classmethod
    def of(cls, episodes: Episodes) -> "Labelled":
        """The same classes, turned and prepared alike, as many examples a batch as in a task.

        Unlabelled examples of the tasks do not count; where ways or shots are ranges, the largest
        do.

        Examples:
            >>> pool = Pool.from_labels(torch.rand(60, 8), torch.arange(60) // 6)
            >>> Labelled.of(Episodes(pool, way=5, shot=1, queries=3)).examples
            20
        """
        return cls(
            episodes.pool,
            episodes.way[1] * (episodes.shot[1] + episodes.queries),
            rotations=episodes.rotations,
            transform=episodes.transform,
        )

    @property
    def classes(self) -> int:
        """How many classes there are to tell apart, the turned ones included."""
        return self.pool.classes * (4 if self.rotations else 1)

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` batches, stacked.

        Args:
            count: batches, >= 1.
            generator: the only source of randomness. Where it lives on the CPU, the same seed
                draws the same batches for a pool on any device.

        Returns:
            A support without rows, and a query of x [count, examples, ...], y [count, examples,
            classes] one-hot, and a mask of ones.

        Raises:
            DataError: fewer than one batch.
        """
        if count < 1:
            raise DataError(f"wanted at least one batch, got {count}")
        numbers = torch.rand(
            count, self.examples, 2, generator=generator, device=generator.device,
            dtype=torch.float64,
        )  # fmt: skip
        labels = (numbers[..., 0] * self.classes).long()
        of_pool, turns = labels % self.pool.classes, labels // self.pool.classes
        offsets = self.pool.offsets.to(labels.device)
        first, end = offsets.take(of_pool), offsets.take(of_pool + 1)
        rows = first + (numbers[..., 1] * (end - first)).long()
        device = self.pool.images.device
        images = self.pool.images.index_select(0, rows.flatten().to(device))
        if self.rotations:
            images = quarter_turns(images, turns.flatten().to(device))
        x = self.transform(images, generator)
        x = x.reshape(count, self.examples, *x.shape[1:])
        return Task(self._examples(x[:, :0], labels[:, :0]), self._examples(x, labels))

    def _examples(self, x: Tensor, labels: Tensor) -> Examples:
        y = torch.zeros(*labels.shape, self.classes, device=x.device)
        y.scatter_(-1, labels.to(x.device)[..., None], 1)
        return Examples(x, y, torch.ones(labels.shape, device=x.device))

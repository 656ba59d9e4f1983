"""N-way K-shot tasks from a pool of classes (Vinyals et al. 2016), drawn many at a time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int, Shaped
from torch import Tensor

from quickstudy.core.tasks import Examples, Task
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""Images [n, ...] as the pool holds them, and a generator, to floats [n, ...]."""


class Draw(NamedTuple):
    """Which classes and images make a batch of tasks, before any image is touched.

    Attributes:
        classes: [count, way + distractors] indices of the pool's classes, no two alike in a row;
            those of the distractors come last.
        support: [count, way, shot] rows of the pool's images.
        query: [count, way, queries] rows of the pool's images.
        turns: [count, way + distractors] quarter turns anticlockwise of the class's images; 0
            without rotations.
        ways: [count] how many of the classes are real; the rest is padding.
        shots: [count] how many of the support images of a class are real.
        unlabelled: [count, way + distractors, unlabelled] rows of the pool's images.
    """

    classes: Int[Tensor, "count every"]
    support: Int[Tensor, "count way shot"]
    query: Int[Tensor, "count way queries"]
    turns: Int[Tensor, "count every"]
    ways: Int[Tensor, " count"]
    shots: Int[Tensor, " count"]
    unlabelled: Int[Tensor, "count every unlabelled"]


def scale(images: Shaped[Tensor, "n ..."], generator: torch.Generator) -> Float[Tensor, "n ..."]:
    """The default transform: uint8 to [0, 1], everything else as it is.

    Examples:
        >>> scale(torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.Generator())
        tensor([[0.0000, 0.2000, 1.0000]])
    """
    return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images


class Episodes:
    """A source of few-shot tasks: `way` classes, `shot` support and `queries` query images of each.

    Labels are 0..way-1 in every task, and which class gets which label is drawn anew. No class
    comes twice in a task, and support and query share no image. The rows of a half stand class by
    class; padding, if any, stands where the missing rows would be, with zero inputs, targets and
    mask.

    Without a transform, drawing 20 tasks and then 30 gives the same tasks as drawing 50: each task
    takes its own fixed share of the generator's numbers.

    Args:
        pool: what to draw from. Tasks lie on the device that its images lie on.
        way: classes in a task, or a range (low, high), both included, drawn for every task.
        shot: support images of a class, or a range, drawn for every task.
        queries: query images of a class.
        rotations: turn each drawn class by 0, 90, 180 or 270 degrees, so that every class stands
            for four (Santoro et al. 2016). Differs: a class comes in one turn at most in a task,
            as a turned "O" would be an "O" with another label.
        replacement: draw the images of a class with replacement; for transforms that make a new
            new image of every draw (classes may then be smaller than shot + queries).
        unlabelled: so many more images of a class stand in the support without a label (Ren et al.
            2018), after all labelled ones: real rows whose one-hot is all zero.
        distractors: so many more classes have unlabelled images in the support, and no others.
        transform: images [n, ...] as the pool holds them to floats [n, ...]; may draw from the
            generator. `scale` by default.

    Raises:
        DataError: fewer classes than ways, a class with too few images, images that cannot be
            turned, or numbers that make no task.

    Examples:
        >>> pool = Pool.from_labels(torch.rand(60, 8), torch.arange(60) // 6)
        >>> source = Episodes(pool, way=5, shot=1, queries=3)
        >>> task = source.sample(2, torch.Generator().manual_seed(0))
        >>> task.support.x.shape, task.query.x.shape, task.query.y.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 15, 8]), torch.Size([2, 15, 5]))
        >>> Episodes(pool, way=20)
        Traceback (most recent call last):
        ...
        quickstudy.errors.DataError: 20-way tasks need 20 classes, got 10
    """

    def __init__(
        self,
        pool: Pool,
        way: int | tuple[int, int] = 5,
        shot: int | tuple[int, int] = 1,
        queries: int = 15,
        *,
        rotations: bool = False,
        replacement: bool = False,
        unlabelled: int = 0,
        distractors: int = 0,
        transform: Transform = scale,
    ) -> None:
        self.pool = pool
        self.way = _range("way", way)
        self.shot = _range("shot", shot)
        self.queries = _range("queries", queries)[1]
        self.rotations = rotations
        self.replacement = replacement
        self.unlabelled = _count("unlabelled", unlabelled)
        self.distractors = _count("distractors", distractors)
        self.transform = transform
        if self.way[0] < 2:
            raise DataError(f"a task needs at least 2 ways, got {self.way[0]}")
        if distractors and not unlabelled:
            raise DataError(f"distractors are unlabelled images, got {distractors} classes of none")
        if pool.classes < self.every:
            more = f" with {distractors} distractors" if distractors else ""
            raise DataError(
                f"{self.way[1]}-way tasks{more} need {self.every} classes, got {pool.classes}"
            )
        if rotations:
            check_turnable(pool.images)
        wanted = self.shot[1] + self.queries + self.unlabelled
        fewest = int(pool.counts.argmin())
        if not replacement and int(pool.counts[fewest]) < wanted:
            held = int(pool.counts[fewest])
            raise DataError(
                f"class {pool.names[fewest]!r} has {held} image{'s' if held > 1 else ''}, "
                f"{self.shot[1]} shot + {self.queries} queries"
                f"{f' + {unlabelled} unlabelled' if unlabelled else ''} need {wanted}"
            )

    @property
    def every(self) -> int:
        """How many classes a task is drawn from: its ways and its distractors."""
        return self.way[1] + self.distractors

    def draw(self, count: int, generator: torch.Generator) -> Draw:
        """Choose classes and images for `count` tasks; the tensors lie on the generator's device.

        Raises:
            DataError: fewer than one task.
        """
        if count < 1:
            raise DataError(f"a batch needs at least one task, got {count}")
        device = generator.device
        way, every = self.way[1], self.every
        parts = [self.shot[1], self.queries, self.unlabelled]
        images = sum(parts)
        # Every task reads one row of numbers, so that tasks do not depend on how they are batched.
        widths = [1, 1, 2 * every, every, 2 * every * images]
        numbers = torch.rand(
            count, sum(widths), generator=generator, device=device, dtype=torch.float64
        )
        ways, shots, classes, turns, rows = torch.split(numbers, widths, dim=1)
        sizes = torch.full((count,), self.pool.classes, device=device)
        chosen = subsets(sizes, classes.reshape(count, 2, every))
        offsets = self.pool.offsets.to(device)
        first, end = offsets.take(chosen), offsets.take(chosen + 1)
        rows = rows.reshape(count, every, 2, images)
        if self.replacement:
            picked = (rows[:, :, 0] * (end - first)[..., None]).long()
        else:
            picked = subsets(end - first, rows)
        picked += first[..., None]
        support, query, unlabelled = torch.split(picked, parts, dim=2)
        return Draw(
            chosen,
            support[:, :way],
            query[:, :way],
            (turns * 4).long() if self.rotations else torch.zeros_like(chosen),
            _within(self.way, ways[:, 0]),
            _within(self.shot, shots[:, 0]),
            unlabelled,
        )

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """Draw `count` tasks, stacked; their shapes are those of the largest way and shot.

        Args:
            count: tasks, >= 1.
            generator: the only source of randomness. Where it lives on the CPU, the same seed
                draws the same tasks for a pool on any device.

        Returns:
            x [count, way * shot, ...] and [count, way * queries, ...], y one-hot, mask; after them
            in the support, [count, (way + distractors) * unlabelled, ...] whose y is zero.

        Raises:
            DataError: fewer than one task.
        """
        draw = self.draw(count, generator)
        device = self.pool.images.device
        parts = (draw.support, draw.query, draw.unlabelled)
        rows = torch.cat([part.flatten() for part in parts]).to(device)
        images = self.pool.images.index_select(0, rows)  # many times faster than images[rows]
        if self.rotations:
            turns = [
                draw.turns[:, : part.shape[1]].flatten().repeat_interleave(part.shape[2])
                for part in parts
            ]
            images = quarter_turns(images, torch.cat(turns).to(device))
        x = self.transform(images, generator)
        supports, queries, more = x.split([part.numel() for part in parts])
        support = self._half(supports, draw, draw.support.shape[2], draw.shots)
        if self.unlabelled:
            both = zip(support, self._without_labels(more, draw), strict=True)
            support = Examples(*(torch.cat(pair, dim=1) for pair in both))
        return Task(support, self._half(queries, draw, draw.query.shape[2], None))

    def _without_labels(self, x: Float[Tensor, "rows ..."], draw: Draw) -> Examples:
        """Unlabelled examples of the tasks from their rows [count * every * unlabelled, ...]."""
        count, every, each = draw.unlabelled.shape
        x = x.reshape(count, every * each, *x.shape[1:])
        place = torch.arange(every * each, device=x.device) // each
        real = (place < draw.ways.to(x.device)[:, None]) | (place >= self.way[1])
        x = x.masked_fill(~real.reshape(*real.shape, *[1] * (x.ndim - 2)), 0)
        y = torch.zeros(count, every * each, self.way[1], device=x.device)
        return Examples(x, y, real.float())

    def _half(
        self,
        x: Float[Tensor, "rows ..."],
        draw: Draw,
        each: int,
        real: Int[Tensor, " count"] | None,
    ) -> Examples:
        """One half of the tasks from its rows [count * way * each, ...], padding masked out."""
        count, way = len(draw.classes), self.way[1]
        x = x.reshape(count, way * each, *x.shape[1:])
        y = torch.eye(way, device=x.device).repeat(count, 1, each).view(count, way * each, way)
        mask = torch.ones(count, way * each, device=x.device)
        if self.way[0] == self.way[1] and (real is None or self.shot[0] == self.shot[1]):
            return Examples(x, y, mask)
        place = torch.arange(way * each, device=x.device)
        mask *= place // each < draw.ways.to(x.device)[:, None]
        if real is not None:
            mask *= place % each < real.to(x.device)[:, None]
        padding = mask == 0
        x = x.masked_fill(padding.reshape(*mask.shape, *[1] * (x.ndim - 2)), 0)
        y = y.masked_fill(padding[..., None], 0)
        return Examples(x, y, mask)


def subsets(
    sizes: Int[Tensor, "*batch"], numbers: Float64[Tensor, "*batch 2 k"]
) -> Int[Tensor, "*batch k"]:
    """Draw k distinct integers below each size, all ordered choices equally likely.

    Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance"), which needs k numbers
    however large the size is, and then a shuffle, as Floyd's order is not random.

    Args:
        sizes: each >= k.
        numbers: uniform in [0, 1).

    Examples:
        >>> numbers = torch.rand(2, 2, 3, dtype=torch.float64)
        >>> subsets(torch.tensor([3, 3]), numbers).sort().values
        tensor([[0, 1, 2],
                [0, 1, 2]])
    """
    choice, keys = numbers.unbind(-2)
    step = torch.arange(choice.shape[-1], device=sizes.device)
    below = sizes[..., None] - len(step)
    top = below + step  # the largest at each step
    drawn = (choice * (top + 1)).long()
    # Floyd goes through the steps and takes the top where the number is in the set already: where
    # it was drawn before, or is the top of an earlier step that took it. All steps at once: see
    # which were drawn before, and follow the others to the earlier step, and from there on.
    ordered, place = torch.sort(drawn, stable=True)
    before = torch.zeros_like(drawn, dtype=torch.bool)
    before.scatter_(-1, place[..., 1:], ordered[..., 1:] == ordered[..., :-1])
    earlier = torch.where(before | (drawn < below), step, drawn - below)
    for _ in range((len(step) - 1).bit_length()):
        earlier = earlier.gather(-1, earlier)  # twice as far each time
    return torch.where(before.gather(-1, earlier), top, drawn).gather(-1, keys.argsort(-1))


def quarter_turns(
    images: Shaped[Tensor, "n ... side side"], turns: Int[Tensor, " n"]
) -> Shaped[Tensor, "n ... side side"]:
    """Each image turned anticlockwise by its number of quarter turns, 0..3.

    Examples:
        >>> quarter_turns(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([1]))
        tensor([[[2, 4],
                 [1, 3]]])
    """
    turned = images.clone()
    for quarter in (1, 2, 3):
        rows = torch.nonzero(turns == quarter).flatten()
        turned.index_copy_(0, rows, torch.rot90(images.index_select(0, rows), quarter, (-2, -1)))
    return turned


def check_turnable(images: Shaped[Tensor, "n ..."]) -> None:
    """Refuse what has no quarter turns of its own shape.

    Raises:
        DataError: it is no square images.

    Examples:
        >>> check_turnable(torch.rand(2, 1, 8, 8))
    """
    shape = images.shape
    if len(shape) < 3 or shape[-1] != shape[-2]:
        raise DataError(f"quarter turns need square images [n, ..., side, side], got {list(shape)}")


def _range(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """A number or a range as a range, checked."""
    ends = value if isinstance(value, tuple) else (value, value)
    if [type(end) for end in ends] != [int, int] or not 1 <= ends[0] <= ends[1]:
        raise DataError(f"{name} must be a whole number >= 1 or a range of them, got {value!r}")
    return ends


def _count(name: str, value: int) -> int:
    """A number of things that may be none, checked."""
    if type(value) is not int or value < 0:
        raise DataError(f"{name} must be a whole number >= 0, got {value!r}")
    return value


def _within(ends: tuple[int, int], numbers: Float64[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Whole numbers of the range, both ends included, from numbers in [0, 1)."""
    if ends[0] == ends[1]:
        return torch.full(numbers.shape, ends[0], device=numbers.device)
    return ends[0] + (numbers * (ends[1] - ends[0] + 1)).long()

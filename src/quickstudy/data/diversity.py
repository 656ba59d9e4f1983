"""How diverse tasks are: whether meta-train holds enough of them, and as different ones as needed.

A learner that sees the same few classes, or much the same problem, over and over can do well on
meta-train by remembering it (meta-overfitting: Yin et al. 2020, Meta-learning without
memorization), and between tasks that are all alike meta-learning has nothing to win (Miranda et al.
2022, The curse of low task diversity). Nothing here looks at a model.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.evaluate import accuracy
from quickstudy.core.functional import class_sums, forbid_absent, squared_distances
from quickstudy.core.tasks import Examples, Task, TaskSource, unstack
from quickstudy.data.episodes import Episodes
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError

SAMPLED_TOGETHER = 20
"""Tasks drawn at a time."""


@dataclass(frozen=True)
class ClassSpread:
    """How the classes of a pool lie.

    Attributes:
        classes: how many.
        examples: of all of them.
        groups: how many groups (alphabets, say) they come from.
        effective_groups: as many groups of equal size would be as diverse: exp of the entropy of
            the classes' shares (Hill 1973, Diversity and evenness, of order 1).
        effective_dimension: the participation ratio of the class means' covariance, (sum l)^2 /
            sum l^2 of its eigenvalues l: in so many directions do classes differ.
        variance_ratio: between classes to within them, both traces estimated without bias from the
            analysis of variance; None where no class has two examples or all are the same. Small:
            hard to tell apart by the raw input.
    """

    classes: int
    examples: int
    groups: int
    effective_groups: float
    effective_dimension: float
    variance_ratio: float | None


@dataclass(frozen=True)
class TaskChoice:
    """How many tasks can be made of so many classes.

    Attributes:
        distinct: sets of `way` classes, whatever their order.
        shared: classes that two tasks have in common on average, way^2 / classes.
        seen: share of the classes that occurs in the sampled tasks.
    """

    distinct: int
    shared: float
    seen: float


@dataclass(frozen=True)
class TaskSpread:
    """How the tasks of a source differ.

    Attributes:
        tasks: how many were sampled.
        control: mean accuracy of the nearest class mean on the raw inputs.
        control_spread: standard deviation of that over tasks.
        hard: accuracy of it that a twentieth of the tasks stays below.
        easy: accuracy of it that a twentieth of the tasks exceeds.
        coefficient: the task-diversity coefficient, see `task_spread`; 0 all tasks ask for the same
            distinctions, 1 any two for others.
        interval95: half-width of its interval; NaN of two tasks.
    """

    tasks: int
    control: float
    control_spread: float
    hard: float
    easy: float
    coefficient: float
    interval95: float


@dataclass(frozen=True)
class FunctionSpread:
    """How the target functions of regression tasks differ.

    Attributes:
        tasks: how many were sampled.
        between: mean squared difference of two tasks' targets at (nearly) the same inputs, in units
            of twice the targets' variance: 0 one function for all, 1 as unlike as any two targets.
        within: the same between two halves of one task: what noise and the distance to the nearest
            input make of one function. `between` means little where it isn't well above this.
        interval95: half-width of the interval of `between`; NaN of two tasks.
    """

    tasks: int
    between: float
    within: float
    interval95: float


def class_spread(pool: Pool) -> ClassSpread:
    """How many classes and groups a pool holds, and how they lie in the space of inputs.

    Args:
        pool: images (0..255 as 0..1) or features.

    Examples:
        >>> rows = torch.tensor([[0.0, 1.0], [0.0, -1.0], [9.0, 1.0], [9.0, -1.0]])
        >>> found = class_spread(Pool.from_labels(rows, torch.tensor([0, 0, 1, 1])))
        >>> found.effective_dimension, found.variance_ratio
        (1.0, 19.75)
    """
    shares = torch.tensor(list(Counter(pool.groups).values()), dtype=torch.float64) / pool.classes
    means, within = _class_means(pool)
    counts = pool.counts.double()
    centred = means - means.mean(0)
    # The smaller Gram matrix has the same eigenvalues but for zeros; the ratio needs none of them.
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    trace, square = float(gram.trace()), float((gram**2).sum())
    ratio = None
    if len(pool.images) > pool.classes and pool.classes > 1 and within > 0:
        noise = within / (len(pool.images) - pool.classes)
        between = trace / (pool.classes - 1) - noise * float((1 / counts).mean())
        ratio = max(0.0, between) / noise
    return ClassSpread(
        classes=pool.classes,
        examples=len(pool.images),
        groups=len(set(pool.groups)),
        effective_groups=float(torch.exp(-(shares * shares.log()).sum())),
        effective_dimension=trace**2 / square if square else 0.0,
        variance_ratio=ratio,
    )


def _class_means(pool: Pool) -> tuple[Float[Tensor, "classes d"], float]:
    """Class means, and the sum of all squared distances to them."""
    means, within = [], 0.0
    unit = 255.0 if pool.images.dtype == torch.uint8 else 1.0
    for rows in pool.images.flatten(1).split(pool.counts.tolist()):
        values = rows.cpu().double() / unit
        means.append(values.mean(0))
        within += float(((values - means[-1]) ** 2).sum())
    return torch.stack(means), within


def task_choice(episodes: Episodes, tasks: int, seed: int = 0) -> TaskChoice:
    """How often classes come together again in tasks of the largest number of ways.

    Args:
        episodes: whose tasks.
        tasks: how many are drawn, to see which classes they reach.
        seed: of the generator that draws them.

    Raises:
        DataError: fewer than one task.

    Examples:
        >>> pool = Pool.from_labels(torch.rand(20, 2), torch.arange(20) // 2)
        >>> task_choice(Episodes(pool, way=5, shot=1, queries=1), tasks=50)
        TaskChoice(distinct=252, shared=2.5, seen=1.0)
    """
    way, classes = episodes.way[1], episodes.pool.classes
    drawn = episodes.draw(tasks, torch.Generator().manual_seed(seed)).classes
    return TaskChoice(
        distinct=math.comb(classes, way),
        shared=way**2 / classes,
        seen=len(drawn.unique()) / classes,
    )


def task_spread(source: TaskSource[Task], tasks: int = 200, seed: int = 0) -> TaskSpread:
    """How hard tasks are without learning, and how different the distinctions they ask for.

    The coefficient is the mean cosine distance between the embeddings of two tasks, as the
    diversity coefficient of Miranda et al. 2022 (section 3). Differs: theirs embeds a task by the
    Fisher information of a probe network (Task2Vec), which depends on the network; here it is the
    variance between the task's class means in each input dimension, scaled to length one: by which
    inputs its classes are told apart. It compares splits and data of one kind of input only.

    Args:
        source: of classification tasks whose inputs are tensors.
        tasks: how many to draw, at least two.
        seed: of the generator that draws them.

    Raises:
        DataError: fewer than two tasks, or inputs that are no tensors.

    Examples:
        >>> from quickstudy.data import Blobs
        >>> found = task_spread(Blobs(way=5, spread=0.01), tasks=50)
        >>> round(found.control, 2), 0 < found.coefficient < 0.5
        (1.0, True)
    """
    figures, embedded = [], []
    for task in _drawn(source, tasks, seed):
        figures.append(_control(task))
        embedded.append(_distinctions(task))
    right = torch.stack(figures).double()
    unit = torch.nn.functional.normalize(torch.stack(embedded).double(), dim=1)
    distances = 1 - unit @ unit.T
    distances.fill_diagonal_(0)
    # Every pair shares tasks with others: the spread of the tasks' own means is what counts.
    own = distances.sum(1) / (tasks - 1)
    spread = float(own.std())
    return TaskSpread(
        tasks=tasks,
        control=float(right.mean()),
        control_spread=float(right.std()),
        hard=float(right.quantile(0.05)),
        easy=float(right.quantile(0.95)),
        coefficient=float(own.mean()),
        interval95=1.96 * 2 * spread / tasks**0.5 if tasks > 2 else math.nan,
    )


def _control(task: Task) -> Float[Tensor, ""]:
    """Accuracy of the nearest class mean."""
    support, query = task
    sums, counts = class_sums(support.x.flatten(1), support.y, support.mask)
    means = sums / counts.clamp(min=1)[:, None]
    logits = forbid_absent(-squared_distances(query.x.flatten(1), means), counts)
    return accuracy(logits, query.y, query.mask)


def _distinctions(task: Task) -> Float[Tensor, " d"]:
    """The variance between class means in each input dimension."""
    whole = Examples(*(torch.cat(parts) for parts in zip(*task, strict=True)))
    sums, counts = class_sums(whole.x.flatten(1), whole.y, whole.mask)
    means = sums[counts > 0] / counts[counts > 0][:, None]
    return means.var(0, correction=0)


def function_spread(source: TaskSource[Task], tasks: int = 200, seed: int = 0) -> FunctionSpread:
    """How different the functions of regression tasks are at the same inputs.

    Each task is compared with the next one drawn: the target of every example of one with that of
    the nearest input of the other, inputs standardised. Source: none; the distance that k nearest
    neighbours see between two regression functions.

    Args:
        source: of regression tasks whose inputs are tensors; the more examples they have, the
            nearer the nearest.
        tasks: how many to draw, at least two.
        seed: of the generator that draws them.

    Raises:
        DataError: fewer than two tasks, or inputs that are no tensors.

    Examples:
        >>> from quickstudy.data import Sinusoids
        >>> found = function_spread(Sinusoids(30, 30))
        >>> 0.5 < found.between < 1, found.within < 0.1
        (True, True)
    """
    halves = [tuple(_points(half) for half in task) for task in _drawn(source, tasks, seed)]
    wholes = [(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in halves]
    x, y = (torch.cat(parts) for parts in zip(*wholes, strict=True))
    scale = x.std(0).clamp(min=1e-12)
    unit = max(2 * float(y.var(0).sum()), 1e-12)
    apart = [_apart(a, b, scale) for a, b in zip(wholes, [*wholes[1:], wholes[0]], strict=True)]
    same = [_apart(a, b, scale) for a, b in halves]
    between = torch.stack(apart) / unit
    own = torch.stack([2 * ((part - y.mean(0)) ** 2).sum(1).mean() for _, part in wholes]) / unit
    # A ratio: pairs of tasks with a large variance differ much, and make the unit large too.
    rest = between - between.mean() * (own + own.roll(-1)) / 2
    return FunctionSpread(
        tasks=tasks,
        between=float(between.mean()),
        within=float(torch.stack(same).mean()) / unit,
        interval95=1.96 * _deviation_in_a_ring(rest) if tasks > 2 else math.nan,
    )


def _deviation_in_a_ring(figures: Float[Tensor, " pairs"]) -> float:
    """Standard deviation of the mean of figures that each share a task with the next, in a ring."""
    rest = figures - figures.mean()
    # What two pairs with a task in common share is no less than nothing, but for chance.
    shared = max(0.0, float((rest * rest.roll(1)).mean()))
    return math.sqrt((float(rest.var()) + 2 * shared) / len(rest))


def _points(half: Examples) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
    """The real rows' inputs and targets."""
    real = half.mask > 0
    return half.x.flatten(1)[real].double(), half.y[real].double()


def _apart(
    a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], scale: Float[Tensor, " d"]
) -> Float[Tensor, ""]:
    """Mean squared difference of targets at the nearest inputs, both ways."""
    distances = torch.cdist(a[0] / scale, b[0] / scale)
    there = ((a[1] - b[1][distances.argmin(1)]) ** 2).sum(1).mean()
    back = ((b[1] - a[1][distances.argmin(0)]) ** 2).sum(1).mean()
    return (there + back) / 2


def _drawn(source: TaskSource[Task], tasks: int, seed: int) -> Iterator[Task]:
    if tasks < 2:
        raise DataError(f"diversity is between two tasks or more, got {tasks}")
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, tasks, SAMPLED_TOGETHER):
        batch = source.sample(min(SAMPLED_TOGETHER, tasks - start), generator)
        if not isinstance(batch.support.x, Tensor):
            raise DataError(
                f"diversity is told from inputs that are tensors, got {type(batch.support.x)}"
            )
        yield from unstack(batch)

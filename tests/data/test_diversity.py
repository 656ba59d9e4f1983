import itertools
import math

import pytest
import torch

import quickstudy as qs
from quickstudy.core import Examples, Task, one_hot
from quickstudy.data import Blobs, Episodes, Pool, Sinusoids
from quickstudy.data.diversity import class_spread, function_spread, task_choice, task_spread
from quickstudy.errors import DataError
from quickstudy.learners import NearestMean


def gaussian(classes, each, dimensions, between, within, seed=0, groups=()):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.as_tensor(between)
    centres = torch.randn(classes, 1, dimensions, generator=generator) * scale
    noise = torch.randn(classes, each, dimensions, generator=generator) * within
    labels = torch.arange(classes).repeat_interleave(each)
    return Pool.from_labels((centres + noise).flatten(0, 1), labels, groups=groups)


@pytest.mark.parametrize("each", [2, 20])
def test_the_variance_ratio_of_blobs_is_the_one_they_were_made_with(each):
    found = class_spread(gaussian(500, each, 10, between=2.0, within=1.0))
    assert found.variance_ratio == pytest.approx(4.0, rel=0.1)
    assert (found.classes, found.examples) == (500, 500 * each)


def test_no_difference_between_classes_is_none():
    assert class_spread(gaussian(50, 10, 10, between=0.0, within=1.0)).variance_ratio < 0.05
    assert class_spread(gaussian(50, 1, 10, between=1.0, within=1.0)).variance_ratio is None
    assert class_spread(gaussian(50, 3, 10, between=1.0, within=0.0)).variance_ratio is None


def test_the_effective_dimension_counts_directions():
    for used in (1, 4, 10):
        scale = torch.zeros(10)
        scale[:used] = 1
        found = class_spread(gaussian(2000, 1, 10, between=scale, within=0.0))
        assert found.effective_dimension == pytest.approx(used, rel=0.05)
    few = class_spread(gaussian(3, 1, 10, between=1.0, within=0.0))
    assert few.effective_dimension <= 2 + 1e-9  # three means span a plane


def test_effective_groups_weigh_their_sizes():
    def groups(*sizes):
        told = tuple(f"group {i}" for i, size in enumerate(sizes) for _ in range(size))
        return class_spread(gaussian(len(told), 1, 2, 1.0, 1.0, groups=told))

    assert groups(5).effective_groups == pytest.approx(1)
    assert groups(3, 3, 3).effective_groups == pytest.approx(3)
    uneven = groups(98, 1, 1)
    assert uneven.groups == 3
    assert uneven.effective_groups == pytest.approx(1.12, abs=0.01)


def test_bytes_are_read_as_pictures():
    images = torch.arange(48, dtype=torch.uint8).reshape(4, 3, 2, 2)
    labels = torch.tensor([0, 0, 1, 1])
    as_bytes = class_spread(Pool.from_labels(images, labels))
    as_floats = class_spread(Pool.from_labels(images.float() / 255, labels))
    assert as_bytes.variance_ratio == pytest.approx(as_floats.variance_ratio)


def test_how_many_tasks_there_are_and_what_they_share():
    pool = gaussian(12, 4, 2, 1.0, 1.0)
    source = Episodes(pool, way=5, shot=1, queries=2)
    found = task_choice(source, tasks=500)
    assert found.distinct == math.comb(12, 5)
    assert found.seen == 1.0
    assert task_choice(source, tasks=1).seen == 5 / 12
    drawn = source.draw(500, torch.Generator().manual_seed(0)).classes.tolist()
    shared = [len(set(a) & set(b)) for a, b in itertools.pairwise(drawn)]
    assert found.shared == pytest.approx(sum(shared) / len(shared), abs=0.1)


class Directions:
    """Two classes, at either end of one of some axes; each task draws its axis."""

    def __init__(self, axes):
        self.axes = axes

    def sample(self, count, generator):
        axis = torch.randint(self.axes, (count,), generator=generator)
        ends = torch.tensor([1.0, -1.0]).repeat(4)
        x = ends[:, None] * torch.eye(8)[axis][:, None]
        y = one_hot(torch.tensor([0, 1]).repeat(4), 2).expand(count, -1, -1)
        half = Examples(x, y, torch.ones(count, 8))
        return Task(half, half)


@pytest.mark.parametrize("axes", [1, 2, 8])
def test_the_coefficient_is_the_chance_that_two_tasks_ask_for_different_things(axes):
    found = task_spread(Directions(axes), tasks=400)
    assert found.coefficient == pytest.approx(1 - 1 / axes, abs=0.05)
    assert (found.control, found.control_spread) == (1.0, 0.0)


def test_its_interval_covers_other_samples():
    found = [task_spread(Blobs(way=3, dimensions=5), tasks=60, seed=seed) for seed in range(20)]
    middle = sum(one.coefficient for one in found) / len(found)
    inside = [abs(one.coefficient - middle) <= one.interval95 for one in found]
    assert sum(inside) >= 16
    assert all(0 < one.interval95 < 0.2 for one in found)


def test_the_control_is_the_one_of_evaluate():
    source = Blobs(way=4, shot=2, spread=0.7)
    found = task_spread(source, tasks=50, seed=3)
    wanted = qs.evaluate(NearestMean(), source, tasks=50, seed=3)
    assert found.control == pytest.approx(wanted.mean)
    assert found.control_spread == pytest.approx(float(wanted.values.std()))
    assert found.hard < found.control < found.easy


class Lines:
    """Regression tasks y = slope * x, slopes normal with this spread about 1."""

    def __init__(self, spread, noise=0.0):
        self.spread = spread
        self.noise = noise

    def sample(self, count, generator):
        slope = 1 + self.spread * torch.randn(count, 1, 1, generator=generator)
        x = torch.randn(count, 60, 1, generator=generator)
        y = slope * x + self.noise * torch.randn(count, 60, 1, generator=generator)
        half = Examples(x, y, torch.ones(count, 60))
        return Task(*(Examples(*(t[:, part] for t in half)) for part in (slice(30), slice(30, 60))))


def test_one_function_for_all_tasks_is_no_diversity():
    same, spread = function_spread(Lines(0.0)), function_spread(Lines(2.0))
    assert same.between < 0.02
    # E (a - b)^2 x^2 / 2 var: 2 * 4 against 2 * (1 + 4).
    assert spread.between == pytest.approx(0.8, abs=0.15)
    assert spread.within < 0.1
    noisy = function_spread(Lines(0.0, noise=1.0))
    assert noisy.between == pytest.approx(noisy.within, abs=0.05)


class Some(Lines):
    """A share of the tasks has the slope 5, the others 0."""

    def __init__(self, share):
        self.share = share

    def sample(self, count, generator):
        x = torch.randn(count, 60, 1, generator=generator)
        y = 5.0 * (torch.rand(count, 1, 1, generator=generator) < self.share) * x
        half = Examples(x, y, torch.ones(count, 60))
        return Task(*(Examples(*(t[:, part] for t in half)) for part in (slice(30), slice(30, 60))))


@pytest.mark.parametrize("source", [Lines(2.0), Some(0.5), Some(0.2), Sinusoids(30, 30)])
def test_the_interval_between_functions_is_as_wide_as_samples_differ(source):
    found = [function_spread(source, tasks=60, seed=seed) for seed in range(60)]
    between = torch.tensor([one.between for one in found])
    told = torch.tensor([one.interval95 for one in found]).mean()
    assert float(told) == pytest.approx(1.96 * float(between.std()), rel=0.15)


def test_two_tasks_say_nothing_of_how_much_others_differ():
    assert math.isnan(function_spread(Sinusoids(), tasks=2).interval95)
    assert 0 < function_spread(Sinusoids(), tasks=3).interval95 < 2


def test_padding_is_no_point_of_a_function():
    class Padded(Lines):
        def sample(self, count, generator):
            support, query = super().sample(count, generator)
            mask = support.mask.clone()
            mask[:, 20:] = 0
            y = support.y.clone()
            y[:, 20:] = 1e6
            return Task(support._replace(mask=mask, y=y), query)

    assert function_spread(Padded(0.0)).between < 0.02


def test_diversity_is_between_tasks():
    for told in (task_spread(Blobs(), tasks=2), function_spread(Sinusoids(), tasks=2)):
        assert told.tasks == 2
    for spread, source in ((task_spread, Blobs()), (function_spread, Sinusoids())):
        with pytest.raises(DataError, match="between two tasks or more, got 1"):
            spread(source, tasks=1)

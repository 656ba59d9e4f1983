import hashlib
from itertools import permutations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.tasks import stack, unstack
from quickstudy.data.episodes import Episodes, quarter_turns, scale, subsets
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(counts):
    """A pool whose row i holds i + 1, so that an example tells which image it is; 0 is padding."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Pool.from_labels(torch.arange(1, len(labels) + 1).float()[:, None], labels)


@st.composite
def sources(draw):
    """Pools of unequal classes, with any way, shot, queries and ranges of them that fit."""
    counts = draw(st.lists(st.integers(2, 9), min_size=2, max_size=12))
    way = draw(st.integers(2, len(counts)))
    shot = draw(st.integers(1, min(counts) - 1))
    queries = draw(st.integers(1, min(counts) - shot))
    ways = (draw(st.integers(2, way)), way) if draw(st.booleans()) else way
    shots = (draw(st.integers(1, shot)), shot) if draw(st.booleans()) else shot
    return Episodes(numbered(counts), ways, shots, queries)


@given(source=sources(), count=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_every_task_is_a_task(source, count, seed):
    batch = source.sample(count, seeded(seed))
    classes = source.pool.labels
    for task in unstack(batch):
        rows = {}
        for half, (x, y, mask) in zip(("support", "query"), task, strict=True):
            real = mask.bool()
            assert x.shape[1:] == (1,)
            assert set(mask.tolist()) <= {0.0, 1.0}
            assert not x[~real].any()  # padding is zero in x, y and mask
            assert not y[~real].any()
            assert torch.equal(y[real].sum(1), torch.ones(int(real.sum())))
            rows[half] = (x[real, 0].long() - 1, y[real].argmax(1))
        images = torch.cat([rows["support"][0], rows["query"][0]])
        labels = torch.cat([rows["support"][1], rows["query"][1]])
        assert len(images.unique()) == len(images)  # support and query are disjoint
        ways = int(labels.max()) + 1
        assert source.way[0] <= ways <= source.way[1]
        assert labels.unique().tolist() == list(range(ways))  # 0..way-1
        of = classes[images]
        pairs = {(int(label), int(kind)) for label, kind in zip(labels, of, strict=True)}
        assert len(pairs) == ways  # one class a label ...
        assert len({kind for _, kind in pairs}) == ways  # ... and one label a class
        shots = rows["support"][1].bincount()
        assert len(set(shots.tolist())) == 1
        assert source.shot[0] <= int(shots[0]) <= source.shot[1]
        assert rows["query"][1].bincount().tolist() == [source.queries] * ways


@given(source=sources(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_tasks_do_not_depend_on_how_they_are_batched(source, sizes):
    together = source.sample(sum(sizes), seeded())
    generator = seeded()
    apart = [task for size in sizes for task in unstack(source.sample(size, generator))]
    for one, other in zip(together, stack(apart), strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)


def test_seeds_draw_the_same_tasks_and_other_seeds_others():
    source = Episodes(numbered([20] * 30))
    first, again, other = (source.sample(3, seeded(seed)).support.x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def noisy(images, generator):
    return images.float() + torch.rand(images.shape, generator=generator)


@pytest.mark.parametrize(
    ("arguments", "digest"),
    [
        ({}, "7095d176af51c767"),
        ({"way": 3, "shot": 5, "queries": 2}, "27a122d8b2f02d9c"),
        ({"way": 8}, "5f7fd4d1675a38a9"),
        ({"way": (2, 6), "shot": (1, 4), "queries": 3}, "4137a5ae4d2f9b09"),
        ({"queries": 4, "rotations": True}, "5e0080959b5ba4ff"),
        ({"shot": 8, "queries": 20, "replacement": True}, "3a079e2d8405ac60"),
        ({"way": (2, 5), "shot": (1, 3), "replacement": True}, "20225cd28091cb75"),
        ({"queries": 2, "transform": noisy}, "cd9a02c318c16f0b"),
        (
            {"way": (2, 5), "shot": (1, 3), "queries": 4, "rotations": True, "transform": noisy},
            "6e0dab653b8da417",
        ),
    ],
)
def test_a_seed_means_these_tasks_for_ever(arguments, digest):
    """Stored runs and published figures depend on it: a faster sampler draws the same bytes."""
    labels = torch.arange(9).repeat_interleave(torch.arange(16, 25))
    images = (torch.arange(len(labels) * 16) * 37 % 256).to(torch.uint8).view(-1, 1, 4, 4)
    source = Episodes(Pool.from_labels(images, labels), **arguments)
    generator, seen = seeded(7), hashlib.sha256()
    for count in (20, 1, 9):
        for half in source.sample(count, generator):
            for part in half:
                seen.update(part.numpy().tobytes())
    assert seen.hexdigest()[:16] == digest


def test_what_is_sampled_may_be_written_to():
    for count, shot in ((1, 1), (3, 1), (3, 2)):
        task = Episodes(numbered([9] * 8), shot=shot, queries=1).sample(count, seeded())
        for half in task:
            for part in half:
                assert part.is_contiguous()
                part[0, 0] = -1.0
                assert (part == -1).sum() == part[0, 0].numel()  # no two share memory


def test_shapes_are_those_of_the_largest_task():
    source = Episodes(numbered([9] * 8), way=(2, 6), shot=(1, 3), queries=4)
    batch = source.sample(5, seeded())
    assert batch.support.x.shape == (5, 18, 1)
    assert batch.query.x.shape == (5, 24, 1)
    assert batch.query.y.shape == (5, 24, 6)


def test_ranges_are_drawn_whole():
    source = Episodes(numbered([9] * 8), way=(2, 4), shot=(1, 3), queries=1)
    draw = source.draw(200, seeded())
    assert set(draw.ways.tolist()) == {2, 3, 4}
    assert set(draw.shots.tolist()) == {1, 2, 3}


def test_every_class_image_and_label_is_equally_likely():
    """Each of 6 classes of 5 images is in half of the 3-way tasks, and each image in 3 of 5 cases.

    12,000 tasks: five standard deviations are 274 (classes), 190 (labels) and 158 (images).
    """
    source = Episodes(numbered([5] * 6), way=3, shot=1, queries=2)
    draw = source.draw(12_000, seeded())
    held = draw.classes.flatten().bincount()
    assert (held - 6_000).abs().max() < 274
    first = draw.classes[:, 0].bincount()  # no class prefers a label
    assert (first - 2_000).abs().max() < 5 * (12_000 * (1 / 6) * (5 / 6)) ** 0.5
    shots = draw.support.flatten().bincount()  # no image prefers the support
    assert (shots - 1_200).abs().max() < 5 * (36_000 * (1 / 30) * (29 / 30)) ** 0.5


def test_subsets_are_all_equally_likely():
    """Every ordered choice of 3 out of 4: 24 of them, 24,000 draws, within five deviations."""
    numbers = torch.rand(24_000, 2, 3, generator=seeded(), dtype=torch.float64)
    chosen = subsets(torch.full((24_000,), 4), numbers)
    codes = (chosen * torch.tensor([16, 4, 1])).sum(1).bincount(minlength=64)
    for choice in permutations(range(4), 3):
        code = choice[0] * 16 + choice[1] * 4 + choice[2]
        assert abs(int(codes[code]) - 1_000) < 5 * (24_000 / 24 * 23 / 24) ** 0.5
    assert int((codes > 0).sum()) == 24


@pytest.mark.parametrize(("k", "size"), [(k, k + more) for k in (1, 2, 4, 5) for more in (0, 1, 3)])
def test_subsets_are_floyds(k, size):
    """Every possible course of the algorithm, against its own words, taken step by step."""
    tops = range(size - k, size)
    courses = list(product(*(range(top + 1) for top in tops)))
    numbers = (torch.tensor(courses).double() + 0.5) / torch.tensor([top + 1 for top in tops])
    keys = torch.arange(k).expand(len(courses), k) / k  # no shuffle
    drawn = subsets(torch.full((len(courses),), size), torch.stack([numbers, keys], dim=1))
    for course, found in zip(courses, drawn.tolist(), strict=True):
        held = []
        for choice, top in zip(course, tops, strict=True):
            held.append(top if choice in held else choice)
        assert found == held


def test_subsets_of_extreme_numbers():
    almost_one = 1 - 2**-53
    for number in (0.0, almost_one):
        numbers = torch.full((2, 5), number, dtype=torch.float64)
        assert sorted(subsets(torch.tensor(5), numbers).tolist()) == [0, 1, 2, 3, 4]
        assert len(set(subsets(torch.tensor(1_000_000), numbers).tolist())) == 5


def test_replacement_serves_classes_smaller_than_a_task():
    source = Episodes(numbered([1, 2]), way=2, shot=3, queries=4, replacement=True)
    batch = source.sample(50, seeded())
    kinds = source.pool.labels[batch.query.x[..., 0].long() - 1]
    labels = batch.query.y.argmax(-1)
    for task in range(50):
        assert len({(int(a), int(b)) for a, b in zip(kinds[task], labels[task], strict=True)}) == 2
    assert set(batch.support.x.flatten().tolist()) == {1.0, 2.0, 3.0}


@given(source=sources())
def test_images_of_uint8_are_scaled_to_the_unit_interval(source):
    images = (source.pool.images * 2).to(torch.uint8)
    pool = Pool(images, source.pool.offsets, source.pool.names)
    x = Episodes(pool, source.way, source.shot, source.queries).sample(2, seeded()).query.x
    assert x.dtype == torch.float32
    rows = source.sample(2, seeded()).query.x
    torch.testing.assert_close(x, rows * 2 / 255)


def test_scale_leaves_floats_alone():
    values = torch.tensor([[-3.0, 300.0]])
    assert scale(values, seeded()) is values


def test_a_transform_sees_the_images_and_the_generator():
    pool = numbered([4] * 5)

    def noisy(images, generator):
        assert images.shape == (2 * 5 * 3, 1)
        return images + torch.rand(images.shape, generator=generator)

    source = Episodes(pool, shot=1, queries=2, transform=noisy)
    plain = Episodes(pool, shot=1, queries=2).sample(2, seeded(3))
    batch, again = source.sample(2, seeded(3)), source.sample(2, seeded(3))
    assert torch.equal(batch.query.x, again.query.x)
    assert torch.equal(batch.query.x.floor(), plain.query.x)
    assert not torch.equal(batch.query.x, plain.query.x)


def test_rotations_turn_whole_classes():
    base = torch.arange(12.0).reshape(12, 1, 1, 1) * 10
    images = base + torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # image i holds 10 i + its corners
    pool = Pool.from_labels(images, torch.arange(12) // 3)
    source = Episodes(pool, way=3, shot=1, queries=2, rotations=True)
    draw, batch = source.draw(100, seeded()), source.sample(100, seeded())
    assert set(draw.turns.flatten().tolist()) == {0, 1, 2, 3}
    for half, rows in (("support", draw.support), ("query", draw.query)):
        x = getattr(batch, half).x.reshape(*rows.shape, 1, 2, 2)
        for task, way in ((0, 0), (7, 2), (99, 1)):
            turns = int(draw.turns[task, way])
            for image, row in zip(x[task, way], rows[task, way], strict=True):
                assert torch.equal(image, torch.rot90(images[row], turns, (-2, -1)))
        kinds = (x.amax(dim=(-1, -2, -3)) / 10).long() // 3
        assert torch.equal(kinds, draw.classes[..., None].expand(rows.shape))
    assert all(len(set(row)) == 3 for row in draw.classes.tolist())


def test_quarter_turns_are_anticlockwise_and_leave_the_input():
    image = torch.tensor([[[1, 2], [3, 4]]]).expand(4, 2, 2)
    turned = quarter_turns(image, torch.tensor([0, 1, 2, 3]))
    assert turned.tolist() == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]
    assert image.tolist() == [[[1, 2], [3, 4]]] * 4


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        ([20] * 3, {}, "5-way tasks need 5 classes, got 3"),
        ([20] * 7, {"way": (5, 8)}, "8-way tasks need 8 classes, got 7"),
        ([20, 4], {"way": 2, "queries": 5}, "class '1' has 4 images, 1 shot + 5 queries need 6"),
        ([20, 4], {"way": 2, "shot": (1, 3), "queries": 2}, "3 shot + 2 queries need 5"),
        ([20] * 5, {"way": 1}, "at least 2 ways, got 1"),
        ([20] * 5, {"way": 0}, "way must be a whole number >= 1 or a range of them, got 0"),
        ([20] * 5, {"shot": 1.5}, "shot must be a whole number"),
        ([20] * 5, {"shot": (3, 1)}, "got (3, 1)"),
        ([20] * 5, {"shot": (1, 2, 3)}, "got (1, 2, 3)"),
        ([20] * 5, {"queries": True}, "queries must be a whole number"),
        ([20] * 5, {"queries": -1}, "got -1"),
        ([20] * 5, {"unlabelled": -1}, "unlabelled must be a whole number >= 0, got -1"),
        ([20] * 5, {"unlabelled": 5}, "1 shot + 15 queries + 5 unlabelled need 21"),
        ([20] * 5, {"distractors": 1}, "distractors are unlabelled images, got 1 classes of none"),
        (
            [20] * 5,
            {"unlabelled": 2, "distractors": 1},
            "5-way tasks with 1 distractors need 6 classes, got 5",
        ),
        ([20] * 5, {"rotations": True}, "square images [n, ..., side, side], got [100, 1]"),
    ],
)
def test_what_makes_no_task_is_refused_at_construction(counts, arguments, message):
    with pytest.raises(DataError) as error:
        Episodes(numbered(counts), **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_batch_needs_a_task():
    with pytest.raises(DataError, match="at least one task, got 0"):
        Episodes(numbered([20] * 5)).sample(0, seeded())


def test_the_generator_is_the_only_source_of_randomness():
    source = Episodes(numbered([20] * 9), rotations=False)
    state = torch.get_rng_state()
    source.sample(4, seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_means_the_same_tasks_wherever_the_pool_lies():
    images = torch.rand(60, 1, 4, 4, generator=seeded())
    pool = Pool.from_labels(images, torch.arange(60) // 6)
    sources = [Episodes(p, (2, 4), (1, 2), 3, rotations=True) for p in (pool, pool.to("cuda"))]
    here, there = (source.sample(7, seeded()) for source in sources)
    for half, other in zip(here, there, strict=True):
        for a, b in zip(half, other, strict=True):
            assert b.device.type == "cuda"
            assert torch.equal(a, b.cpu())


def test_tasks_lie_where_the_pool_lies():
    pool = Pool.from_labels(torch.rand(60, 3, device="meta"), torch.arange(60) // 6)
    batch = Episodes(pool, (2, 4), (1, 2), 3).sample(7, seeded())
    for half in batch:
        assert {part.device.type for part in half} == {"meta"}
    assert batch.support.x.shape == (7, 8, 3)


@pytest.mark.parametrize("ways", [3, (2, 3)])
@pytest.mark.parametrize("distractors", [0, 2])
def test_unlabelled_examples_follow_the_labelled_ones(ways, distractors):
    pool = numbered([9, 8, 7, 9, 8, 7])
    options = {"unlabelled": 4, "distractors": distractors}
    batch = Episodes(pool, ways, shot=2, queries=1, **options).sample(40, seeded())
    assert batch.support.x.shape == (40, 3 * 2 + (3 + distractors) * 4, 1)
    assert batch.support.y.shape[-1] == 3
    for task in unstack(batch):
        (x, y, mask), query = task
        real = mask.bool()
        assert not x[~real].any()
        labelled, free = y.sum(1) > 0, real & (y.sum(1) == 0)
        assert not labelled[6:].any()
        images = torch.cat([x[real], query.x[query.mask.bool()]])[:, 0].long() - 1
        assert len(images.unique()) == len(images)  # none comes twice
        ways_here = int(labelled.sum()) // 2
        kinds = pool.labels[x[free, 0].long() - 1]
        assert len(kinds) == 4 * (ways_here + distractors)
        counts = {int(kind): int((kinds == kind).sum()) for kind in kinds.unique()}
        assert set(counts.values()) == {4}
        own = {int(kind) for kind in pool.labels[x[labelled, 0].long() - 1]}
        assert own <= set(counts)
        assert len(set(counts) - own) == distractors
        # Each unlabelled row of a way stands with those of its own class.
        first = pool.labels[x[6 : 6 + 4 * ways_here : 4, 0].long() - 1]
        assert first.tolist() == pool.labels[x[: 2 * ways_here : 2, 0].long() - 1].tolist()


def test_unlabelled_examples_turn_with_their_class():
    corner = torch.zeros(20, 2, 2)
    corner[:, 0, 0] = 1
    pool = Pool.from_labels(corner, torch.arange(20) // 10)
    source = Episodes(pool, way=2, shot=1, queries=1, rotations=True, unlabelled=3)
    for task in unstack(source.sample(30, seeded())):
        x = task.support.x
        for k in range(2):
            assert all(torch.equal(x[k], row) for row in x[2 + 3 * k : 5 + 3 * k])


def test_tasks_with_unlabelled_examples_do_not_depend_on_how_they_are_batched():
    source = Episodes(numbered([9] * 6), 3, 1, 2, unlabelled=3, distractors=1)
    generator = seeded()
    parts = [source.sample(count, generator) for count in (2, 3)]
    whole = source.sample(5, seeded())
    assert torch.equal(torch.cat([part.support.x for part in parts]), whole.support.x)

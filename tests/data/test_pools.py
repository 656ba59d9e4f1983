import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.data.pools import Pool, Splits, join, split_classes
from quickstudy.errors import DataError


def pool_of(counts, prefix="c"):
    """Row i holds the number i; classes have these sizes."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    names = [f"{prefix}{i}" for i in range(len(counts))]
    return Pool.from_labels(torch.arange(len(labels)).float()[:, None], labels, names)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_from_labels_sorts_by_class_and_keeps_the_order_within(labels):
    pool = Pool.from_labels(torch.arange(len(labels)), torch.tensor(labels))
    kinds = sorted(set(labels))
    assert pool.names == tuple(str(kind) for kind in kinds)
    for i, kind in enumerate(kinds):
        rows = pool.images[pool.offsets[i] : pool.offsets[i + 1]].tolist()
        assert rows == [row for row, label in enumerate(labels) if label == kind]
    assert pool.counts.tolist() == [labels.count(kind) for kind in kinds]
    assert [kinds[i] for i in pool.labels.tolist()] == sorted(labels)


def test_names_and_groups_follow_the_labels():
    pool = Pool.from_labels(
        torch.zeros(3, 2), torch.tensor([1, 0, 1]), ["ant", "bee"], ["insects", "fliers"]
    )
    assert pool.names == ("ant", "bee")
    assert pool.groups == ("insects", "fliers")
    assert pool.counts.tolist() == [1, 2]
    assert repr(pool) == "Pool(2 classes in 2 groups, 3 of [2] float32)"


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (torch.zeros(2), torch.tensor([0, 1, 1]), None, "agree in number, got [2] and 3 labels"),
        (torch.zeros(2), torch.tensor([0.0, 1.0]), None, "must be integers [n], got float32 [2]"),
        (torch.zeros(2), torch.tensor([True, False]), None, "got bool"),
        (torch.zeros(2), torch.tensor([[0], [1]]), None, "got int64 [2, 1]"),
        (torch.zeros(0), torch.zeros(0, dtype=torch.int64), None, "at least one image, got none"),
        (torch.zeros(2), torch.tensor([0, 2]), ["a", "b"], "lie in 0..1 for 2 names, got 0..2"),
        (torch.zeros(2), torch.tensor([-1, 0]), ["a", "b"], "got -1..0"),
        (torch.zeros(2), torch.tensor([0, 0]), ["a", "b"], "needs an image, got none for 'b'"),
        (torch.zeros(2), torch.tensor([0, 1]), ["a", "a"], "must differ, got 'a' more than once"),
    ],
)
def test_labels_that_do_not_fit(images, labels, names, message):
    with pytest.raises(DataError) as error:
        Pool.from_labels(images, labels, names)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("offsets", "names", "groups", "message"),
    [
        (torch.tensor([0, 2]), ("a", "b"), (), "2 class names need 3 offsets"),
        (torch.tensor([0]), (), (), "at least one class"),
        (torch.tensor([0, 2, 3]), ("a", "b"), (), "got 0 to 3 for images [4, 1]"),
        (torch.tensor([1, 2, 4]), ("a", "b"), (), "got 1 to 4 for images [4, 1]"),
        (torch.tensor([0, 2, 4]), ("a", "b"), ("x",), "2 classes need as many groups, got 1"),
        (torch.tensor([0.0, 2.0, 4.0]), ("a", "b"), (), "must be int64"),
        (torch.tensor([0, 5, 4]), ("a", "b"), (), "none for 'b'"),
    ],
)
def test_parts_that_do_not_fit_together(offsets, names, groups, message):
    with pytest.raises(DataError) as error:
        Pool(torch.zeros(4, 1), offsets, names, groups)
    assert message in str(error.value)


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=8))
def test_select_keeps_whole_classes(classes):
    pool = pool_of([count for count, _ in classes])
    keep = [kept for _, kept in classes]
    if not any(keep):
        with pytest.raises(DataError, match="must keep a class"):
            pool.select(keep)
        return
    part = pool.select(keep)
    assert part.names == tuple(name for name, kept in zip(pool.names, keep, strict=True) if kept)
    kept_rows = [row for row, label in enumerate(pool.labels.tolist()) if keep[label]]
    assert part.images[:, 0].tolist() == kept_rows
    assert part.counts.tolist() == [count for count, kept in classes if kept]


def test_select_refuses_another_length():
    with pytest.raises(DataError, match="must be 2 booleans, one a class, got bool \\[3\\]"):
        pool_of([1, 1]).select([True, False, True])
    with pytest.raises(DataError, match="got int64"):
        pool_of([1, 1]).select(torch.tensor([0, 1]))


def test_a_pool_moves_to_another_device():
    pool = pool_of([2, 1])
    moved = pool.to("meta")
    assert moved.images.device.type == "meta"
    assert moved.names == pool.names
    assert moved.counts.tolist() == [2, 1]
    assert pool.images.device.type == "cpu"


def test_join_is_the_inverse_of_select():
    pool = pool_of([2, 1, 3])
    again = join([pool.select([True, False, False]), pool.select([False, True, True])])
    assert again.names == pool.names
    assert torch.equal(again.images, pool.images)
    assert torch.equal(again.offsets, pool.offsets)


def test_join_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="at least one pool, got none"):
        join([])
    with pytest.raises(DataError, match="got 'c0' more than once"):
        join([pool_of([1]), pool_of([1])])
    other = Pool.from_labels(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(
        DataError, match="one shape and type, got \\[1\\] float32 and \\[2\\] float"
    ):
        join([pool_of([1]), other])


def test_disjoint_refuses_a_shared_class_and_other_images():
    a, b, c = (pool_of([1, 2], prefix) for prefix in "abc")
    assert Splits.disjoint(a, b, c).test is c
    with pytest.raises(DataError, match="train and test must share no class, got 'a0', 'a1' in"):
        Splits.disjoint(a, b, a)
    floats = Pool.from_labels(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0]))
    with pytest.raises(DataError, match="got \\[1\\] float32 and \\[1\\] float64"):
        Splits.disjoint(a, floats, c)


@given(classes=st.integers(3, 60), at_least=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_split_classes_is_a_partition(classes, at_least, seed):
    pool = pool_of([1] * classes)
    parts = split_classes(pool, seed=seed, at_least=at_least)
    assert sorted(name for part in parts for name in part.names) == sorted(pool.names)
    floor = min(at_least, classes // 3)
    assert min(part.classes for part in parts) >= floor
    again = split_classes(pool, seed=seed, at_least=at_least)
    assert [part.names for part in again] == [part.names for part in parts]


def test_split_classes_by_fractions_and_seed():
    pool = pool_of([1] * 100)
    sizes = [part.classes for part in split_classes(pool, (0.5, 0.2, 0.3))]
    assert sizes == [50, 20, 30]
    assert split_classes(pool, seed=0).test.names != split_classes(pool, seed=1).test.names


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.0), (0.5, 0.2, 0.2), (1.5, -0.25, -0.25)])
def test_split_classes_refuses_what_are_no_shares(fractions):
    with pytest.raises(DataError, match="three positive shares that add up to 1, got"):
        split_classes(pool_of([1] * 10), fractions)


def test_split_classes_needs_three_classes():
    with pytest.raises(DataError, match="needs 3 classes, got 2"):
        split_classes(pool_of([1, 1]))

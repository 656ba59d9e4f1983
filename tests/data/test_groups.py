import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import TaskSource
from quickstudy.data import Groups, Pool
from quickstudy.errors import DataError


def rows(counts, outputs=1):
    """Each row says its group, its place in it, and as target their sum (and its double)."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    place = torch.cat([torch.arange(count) for count in counts])
    columns = [labels, place, labels * 1000 + place, 2 * (labels * 1000 + place)]
    values = torch.stack(columns[: 2 + outputs], 1).double()
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(1))
    return Pool.from_labels(values[order], labels[order], [f"g{i}" for i in range(len(counts))])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.integers(5, 9), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 99))
def test_rows_of_one_group_none_of_them_twice(counts, shot, seed):
    source = Groups(rows(counts, outputs=2), outputs=2, shot=shot, queries=5 - shot)
    assert isinstance(source, TaskSource)
    task = source.sample(7, generator(seed))
    x = torch.cat([task.support.x, task.query.x], 1)
    y = torch.cat([task.support.y, task.query.y], 1)
    assert x.shape == (7, 5, 2)
    assert y.shape == (7, 5, 2)
    assert torch.equal(y[..., 0], 1000 * x[..., 0] + x[..., 1])
    assert torch.equal(y[..., 1], 2 * y[..., 0])
    for one in x:
        assert len(set(one[:, 0].tolist())) == 1, "one group"
        assert len(set(one[:, 1].tolist())) == 5, "no row twice"
    assert float(task.support.mask.min()) == float(task.query.mask.min()) == 1


def test_the_same_seed_draws_the_same_however_it_is_batched():
    source = Groups(rows([9, 6, 7]), outputs=1, shot=(1, 3), queries=2)
    together, first = source.sample(50, generator()), generator()
    parts = [source.sample(20, first), source.sample(30, first)]
    for half in (0, 1):
        for whole, *some in zip(together[half], *(p[half] for p in parts), strict=True):
            assert torch.equal(whole, torch.cat(some))
    assert not torch.equal(source.sample(50, generator(1)).support.x, together.support.x)


def test_every_group_and_row_comes_equally_often():
    source = Groups(rows([6, 12]), outputs=1, shot=2, queries=3)
    drawn = source.sample(4000, generator()).support.x
    assert abs(float((drawn[:, 0, 0] == 0).double().mean()) - 0.5) < 0.04
    small = drawn[drawn[:, 0, 0] == 0][:, :, 1].flatten()
    assert torch.bincount(small.long()).div(len(small)).sub(1 / 6).abs().max() < 0.03


def test_a_range_of_shots_is_padded_with_zeros():
    task = Groups(rows([9, 9]), outputs=1, shot=(1, 4), queries=3).sample(200, generator())
    assert task.support.x.shape == (200, 4, 2)
    shots = task.support.mask.sum(1)
    assert set(shots.tolist()) == {1, 2, 3, 4}
    padding = task.support.mask == 0
    assert torch.equal(padding, torch.arange(4) >= shots[:, None])
    assert not task.support.x[padding].any()
    assert not task.support.y[padding].any()
    assert bool((task.query.mask == 1).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shot": 1, "queries": 1}, "1 shot + 1 query need 2 rows, group 'g1' has 1 (2 groups"),
        ({"shot": 3, "queries": 2}, "3 shots + 2 queries need 5 rows, group 'g0' has 3 (3 groups"),
        ({"shot": 0}, "at least 1, got 0 shots and 10 queries"),
        ({"shot": (3, 2)}, "got (3, 2) shots"),
        ({"queries": 0}, "got 5 shots and 0 queries"),
        ({"outputs": 3}, "with at least one of each, got [5, 3] and 3 outputs"),
        ({"outputs": 0}, "got [5, 3] and 0 outputs"),
    ],
)
def test_groups_that_make_no_tasks(options, message):
    with pytest.raises(DataError) as error:
        Groups(rows([3, 1, 1]), **{"outputs": 1} | options)
    assert message in str(error.value)


def test_a_batch_holds_a_task():
    with pytest.raises(DataError, match="at least one task, got 0"):
        Groups(rows([9]), outputs=1, shot=1, queries=1).sample(0, generator())

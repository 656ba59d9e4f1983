import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import Examples, Task, TaskSource
from quickstudy.data import Episodes, Pool, Sinusoids, UnbalancedQueries
from quickstudy.data.unbalanced import apportioned
from quickstudy.errors import DataError

POOL = Pool.from_labels(torch.arange(200.0)[:, None], torch.arange(200) // 20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 45), st.sampled_from([0.1, 1.0, 2.0, 50.0]), st.integers(0, 99))
def test_a_tasks_queries_are_of_its_classes_and_none_of_them_twice(queries, alpha, seed):
    episodes = Episodes(POOL, way=(3, 5), shot=(1, 2), queries=15)
    source = UnbalancedQueries(episodes, queries, alpha)
    assert isinstance(source, TaskSource)
    task = source.sample(3, generator(seed))
    assert task.query.x.shape == (3, queries, 1)
    assert task.query.y.shape == (3, queries, 5)
    assert bool((task.query.mask == 1).all())
    for support, query in zip(
        zip(*task.support, strict=True), zip(*task.query, strict=True), strict=True
    ):
        rows = query[0][:, 0].tolist()
        assert len(set(rows)) == queries, "none twice"
        real = support[2] > 0
        assert not set(rows) & set(support[0][real, 0].tolist())
        for x, y in zip(query[0], query[1], strict=True):
            same = support[0][real & (support[1] @ y > 0)]
            assert set((same // 20).flatten().tolist()) == {float(x) // 20}, "of its label's class"
        assert query[1].argmax(1).tolist() == sorted(query[1].argmax(1).tolist()), "class by class"
        assert int(query[1].sum(0).max()) <= 15


def test_the_same_seed_draws_the_same_however_it_is_batched():
    source = UnbalancedQueries(Episodes(POOL, way=5, shot=1, queries=15), 25)
    together, first = source.sample(9, generator()), generator()
    parts = [source.sample(4, first), source.sample(5, first)]
    for half in (0, 1):
        for whole, *some in zip(together[half], *(p[half] for p in parts), strict=True):
            assert torch.equal(whole, torch.cat(some))
    assert not torch.equal(source.sample(9, generator(1)).query.x, together.query.x)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 20.0])
def test_shares_are_those_of_a_dirichlet_distribution(alpha):
    """By the mean and the variance of the shares, which rounding hardly changes among many."""
    pool = Pool.from_labels(torch.zeros(2005, 1), torch.arange(2005) // 401)
    source = UnbalancedQueries(Episodes(pool, way=5, shot=1, queries=400), 400, alpha)
    shares = source.sample(1500, generator()).query.y.sum(1) / 400
    assert (shares.mean(0) - 0.2).abs().max() < 0.03
    assert (shares.var(0) / (0.2 * 0.8 / (1 + 5 * alpha)) - 1).abs().max() < 0.2


def test_at_two_concentrations_tasks_are_the_same_but_for_their_numbers():
    episodes = Episodes(POOL, way=5, shot=1, queries=15)
    alike, unlike = (
        UnbalancedQueries(episodes, 25, alpha).sample(20, generator()) for alpha in (1e6, 2.0)
    )
    assert torch.equal(alike.support.x, unlike.support.x)
    assert bool((alike.query.y.sum(1) == 5).all())
    assert unlike.query.y.sum(1).std() > 2
    for one, other in zip(alike.query.x, unlike.query.x, strict=True):
        firsts = [
            {int(x) // 20: int(x) for x in reversed(half[:, 0].tolist())} for half in (one, other)
        ]
        assert all(firsts[0][place] == row for place, row in firsts[1].items()), "same first ones"


def test_classes_that_a_task_has_not_have_no_share():
    episodes = Episodes(POOL, way=(2, 9), shot=1, queries=15)
    task = UnbalancedQueries(episodes, 15, 0.01).sample(200, generator())
    largest = task.query.y.sum(1).max(1).values / 15
    assert (largest > 0.9).float().mean() > 0.85, "nearly all queries are of one class"


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(sum),
    st.data(),
)
def test_numbers_are_the_shares_rounded_and_no_class_gives_more_than_it_has(held, data):
    parts = data.draw(st.lists(st.floats(0.01, 1), min_size=len(held), max_size=len(held)))
    shares = [part / sum(parts) for part in parts]
    total = data.draw(st.integers(1, sum(held)))
    got = apportioned(shares, held, total)
    assert sum(got) == total
    assert all(0 <= n <= most for n, most in zip(got, held, strict=True))
    free = apportioned(shares, [total] * len(held), total)
    assert all(abs(n - total * share) < 1 for n, share in zip(free, shares, strict=True))


def test_all_that_there_are_come_in_their_old_order():
    episodes = Episodes(POOL, way=4, shot=1, queries=6)
    whole = UnbalancedQueries(episodes, 24).sample(1, generator())
    plain = episodes.sample(1, generator())
    for one, other in zip(whole.query, plain.query, strict=True):
        assert torch.equal(one, other)


class Changed:
    """Tasks of 3 classes with 2 queries each, of which the first is something else."""

    def __init__(self, change):
        self.change = change

    def sample(self, count, generator):
        task = Episodes(POOL, way=3, shot=1, queries=2).sample(count, generator)
        return Task(task.support, self.change(*(part.clone() for part in task.query)))


def padded(x, y, mask):
    x[:, 0], y[:, 0], mask[:, 0] = torch.nan, torch.nan, 0
    return Examples(x, y, mask)


def unlabelled(x, y, mask):
    y[:, 0] = 0
    return Examples(x, y, mask)


def of_truth(x, y, mask):
    x, y, mask = unlabelled(x, y, mask)
    return Examples(x, y.bool(), mask)


@pytest.mark.parametrize("change", [padded, unlabelled, of_truth])
def test_padding_and_what_has_no_label_is_not_drawn(change):
    source = UnbalancedQueries(Changed(change), 5)
    assert source.sample(8, generator()).query.y.sum(1)[:, 0].tolist() == [1.0] * 8
    with pytest.raises(DataError, match="6 queries are to be drawn, got a task of 5"):
        UnbalancedQueries(Changed(change), 6).sample(1, generator())


def test_what_is_refused():
    episodes = Episodes(POOL, way=5, shot=1, queries=2)
    for queries in (0, -1, 2.5, "3", True):
        with pytest.raises(DataError, match="queries must be a whole number >= 1, got"):
            UnbalancedQueries(episodes, queries)
    for alpha in (0.0, -1.0, float("inf"), float("nan"), 1e7, "2", True):
        with pytest.raises(DataError, match=r"alpha must lie in \(0, 1,000,000\], got"):
            UnbalancedQueries(episodes, 5, alpha)
    with pytest.raises(DataError, match="at least one task, got 0"):
        UnbalancedQueries(episodes, 5).sample(0, generator())
    with pytest.raises(DataError, match="11 queries are to be drawn, got a task of 10"):
        UnbalancedQueries(episodes, 11).sample(1, generator())
    with pytest.raises(DataError, match=r"y must be one-hot \[m, way\], got other numbers \[10, 1"):
        UnbalancedQueries(Sinusoids(), 5).sample(1, generator())

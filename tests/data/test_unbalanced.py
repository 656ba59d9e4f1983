import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import Examples, Task, TaskSource
from quickstudy.data import Episodes, Pool, Sinusoids, UnbalancedQueries
from quickstudy.data.unbalanced import urn
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
    """By the mean and the variance of Dirichlet-multinomial numbers, and no class is preferred."""
    ways, queries = 5, 10
    numbers = torch.rand(4000, queries, generator=generator()).tolist()
    counts = torch.tensor([urn([99] * ways, alpha, row) for row in numbers]).double()
    assert bool((counts.sum(1) == queries).all())
    assert (counts.mean(0) - queries / ways).abs().max() < 0.15
    share, whole = 1 / ways, ways * alpha
    variance = queries * share * (1 - share) * (queries + whole) / (1 + whole)
    assert (counts.var(0) / variance - 1).abs().max() < 0.12


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(sum),
    st.floats(1e-3, 1e3),
    st.data(),
)
def test_no_class_gives_more_than_it_has(held, alpha, data):
    few = st.floats(0, 1, exclude_max=True)
    numbers = data.draw(st.lists(few, min_size=1, max_size=sum(held)))
    drawn = urn(held, alpha, numbers)
    assert sum(drawn) == len(numbers)
    assert all(0 <= n <= most for n, most in zip(drawn, held, strict=True))


def test_all_that_there_are_come_in_their_old_order():
    episodes = Episodes(POOL, way=4, shot=1, queries=6)
    whole = UnbalancedQueries(episodes, 24).sample(1, generator())
    plain = episodes.sample(1, generator())
    for one, other in zip(whole.query, plain.query, strict=True):
        assert torch.equal(one, other)


def test_padding_is_not_chosen():
    class Padded:
        def sample(self, count, generator):
            task = Episodes(POOL, way=3, shot=1, queries=2).sample(count, generator)
            mask = task.query.mask.clone()
            mask[:, 0] = 0
            return Task(task.support, Examples(task.query.x, task.query.y, mask))

    source = UnbalancedQueries(Padded(), 5)
    assert source.sample(8, generator()).query.y.sum(1)[:, 0].tolist() == [1.0] * 8
    with pytest.raises(DataError, match="6 queries are chosen from more, got a task of 5"):
        UnbalancedQueries(Padded(), 6).sample(1, generator())


def test_what_is_refused():
    episodes = Episodes(POOL, way=5, shot=1, queries=2)
    with pytest.raises(DataError, match="at least one query, got 0"):
        UnbalancedQueries(episodes, 0)
    for alpha in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="alpha must be a positive number, got"):
            UnbalancedQueries(episodes, 5, alpha)
    with pytest.raises(DataError, match="at least one task, got 0"):
        UnbalancedQueries(episodes, 5).sample(0, generator())
    with pytest.raises(DataError, match="11 queries are chosen from more, got a task of 10"):
        UnbalancedQueries(episodes, 11).sample(1, generator())
    with pytest.raises(DataError, match="are of classes; these targets are none"):
        UnbalancedQueries(Sinusoids(), 5).sample(1, generator())

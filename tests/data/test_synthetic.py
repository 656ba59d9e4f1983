import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.tasks import TaskSource
from quickstudy.data.synthetic import Blobs, Sinusoids
from quickstudy.errors import DataError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(shot=st.integers(1, 20), queries=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_a_sinusoid_task_is_one_sinusoid(shot, queries, seed):
    batch = Sinusoids(shot, queries).sample(4, seeded(seed))
    assert batch.support.x.shape == batch.support.y.shape == (4, shot, 1)
    assert batch.query.x.shape == batch.query.y.shape == (4, queries, 1)
    x = torch.cat([batch.support.x, batch.query.x], dim=1).double()[..., 0]
    y = torch.cat([batch.support.y, batch.query.y], dim=1).double()[..., 0]
    assert x.abs().max() <= 5
    assert bool((torch.cat([batch.support.mask, batch.query.mask], 1) == 1).all())
    if shot + queries < 3:
        return
    # y = a sin(x) + b cos(x) with a = A cos(phase), b = -A sin(phase): fit, and read A and phase.
    basis = torch.stack([x.sin(), x.cos()], dim=-1)
    fitted = torch.linalg.lstsq(basis, y[..., None]).solution
    torch.testing.assert_close((basis @ fitted)[..., 0], y, atol=1e-3, rtol=0)


def test_amplitudes_and_phases_fill_the_papers_ranges():
    batch = Sinusoids(shot=200, queries=1).sample(2_000, seeded())
    x, y = batch.support.x.double()[..., 0], batch.support.y.double()[..., 0]
    basis = torch.stack([x.sin(), x.cos()], dim=-1)
    a, b = torch.linalg.lstsq(basis, y[..., None]).solution[..., 0].unbind(-1)
    amplitude, phase = torch.hypot(a, b), torch.atan2(-b, a)
    assert 0.1 - 1e-3 < float(amplitude.min()) < 0.13
    assert 4.97 < float(amplitude.max()) < 5 + 1e-3
    assert -1e-3 < float(phase.min()) < 0.02
    assert math.pi - 0.02 < float(phase.max()) < math.pi + 1e-3
    assert -5 <= float(x.min()) < -4.99
    assert 4.99 < float(x.max()) <= 5


def test_sinusoids_do_not_depend_on_how_they_are_batched():
    source, generator = Sinusoids(3, 4), seeded()
    together = source.sample(10, seeded()).query.y
    apart = torch.cat([source.sample(size, generator).query.y for size in (1, 3, 6)])
    assert torch.equal(together, apart)


@given(way=st.integers(2, 6), shot=st.integers(1, 4), queries=st.integers(1, 4))
def test_blobs_of_no_spread_are_their_centres(way, shot, queries):
    batch = Blobs(way, shot, queries, dimensions=3, spread=0.0).sample(2, seeded())
    assert (
        batch.support.y.argmax(-1).tolist()
        == [[label for label in range(way) for _ in range(shot)]] * 2
    )
    for task in range(2):
        centres = batch.support.x[task, ::shot]
        assert torch.equal(batch.query.x[task], centres.repeat_interleave(queries, dim=0))
        assert len(centres.unique(dim=0)) == way


def test_blobs_have_the_spread_that_was_asked_for():
    batch = Blobs(way=2, shot=50, queries=50, dimensions=4, spread=0.3).sample(100, seeded())
    x = batch.support.x.reshape(100, 2, 50, 4)
    assert float(x.std(dim=2).square().mean().sqrt()) == pytest.approx(0.3, rel=0.02)
    assert float(x.mean(dim=2).std()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("source", [Sinusoids(), Blobs()])
def test_sources_are_seeded_and_protocols(source):
    assert isinstance(source, TaskSource)
    first, again, other = (source.sample(2, seeded(seed)).query.x for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(DataError, match="a batch must be a whole number >= 1, got 0"):
        source.sample(0, seeded())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sinusoids(shot=0), "shot must be a whole number >= 1, got 0"),
        (lambda: Sinusoids(queries=2.5), "queries must be a whole number >= 1, got 2.5"),
        (lambda: Blobs(way=1), "at least 2 ways, got 1"),
        (lambda: Blobs(dimensions=0), "dimensions must be a whole number >= 1, got 0"),
        (lambda: Blobs(spread=-1), "spread must be a number >= 0, got -1"),
        (lambda: Blobs(spread=float("nan")), "spread must be a number >= 0, got nan"),
    ],
)
def test_numbers_that_make_no_task(make, message):
    with pytest.raises(DataError) as error:
        make()
    assert message in str(error.value)

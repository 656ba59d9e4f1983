import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.functional import (
    class_sums,
    cosine_similarities,
    prototypes,
    ridge,
    squared_distances,
)
from quickstudy.errors import TaskError


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_squared_distances_equal_the_naive_ones(n, d, seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, d, dtype=torch.float64, generator=g)
    b = torch.randn(3, d, dtype=torch.float64, generator=g)
    naive = ((a[:, None] - b[None]) ** 2).sum(-1)
    torch.testing.assert_close(squared_distances(a, b), naive, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(4, 9), (9, 4), (5, 5)])
def test_ridge_equals_the_normal_equations_on_real_rows_only(n, d):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, dtype=torch.float64, generator=g)
    y = torch.randn(n, 2, dtype=torch.float64, generator=g)
    mask = torch.ones(n, dtype=torch.float64)
    mask[-1] = 0
    real_z, real_y = z[:-1].numpy(), y[:-1].numpy()
    wanted = np.linalg.solve(real_z.T @ real_z + 0.3 * np.eye(d), real_z.T @ real_y)
    z[-1] = float("nan")
    np.testing.assert_allclose(ridge(z, y, mask, 0.3).numpy(), wanted, rtol=1e-9)


def test_what_is_masked_cannot_spread_nan():
    z = torch.tensor([[1.0], [float("nan")]], requires_grad=True)
    y = torch.tensor([[1.0], [1.0]])
    means = prototypes(z, y, torch.tensor([1.0, 0.0]))
    means.sum().backward()
    assert means.tolist() == [[1.0]]
    assert z.grad.tolist() == [[1.0], [0.0]]


def test_targets_that_are_masked_cannot_spread_nan():
    z, mask = torch.eye(3), torch.tensor([1.0, 1.0, 0.0])
    y = torch.tensor([[1.0], [1.0], [0.0]])
    broken = torch.where(mask[:, None] > 0, y, torch.nan)
    for wanted, got in zip(class_sums(z, y, mask), class_sums(z, broken, mask), strict=True):
        assert torch.equal(got, wanted)
    assert torch.equal(ridge(z, broken, mask, 0.5), ridge(z, y, mask, 0.5))


def test_a_class_without_support_has_a_zero_count():
    sums, counts = class_sums(torch.ones(1, 2), torch.tensor([[0.0, 1.0]]), torch.ones(1))
    assert counts.tolist() == [0, 1]
    assert sums[0].tolist() == [0, 0]


def test_the_cosine_of_a_zero_row_is_zero():
    assert cosine_similarities(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0


@pytest.mark.parametrize("offset", [0.0, 3e3, 1e5])
def test_distances_in_float32_survive_an_offset(offset):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(9, 4, generator=g), torch.randn(3, 4, generator=g)
    wanted = ((a.double()[:, None] - b.double()[None]) ** 2).sum(-1)
    found = squared_distances(a + offset, b + offset)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=0.05 * (1 + offset / 1e5))
    assert (squared_distances(b + offset, b + offset) >= 0).all()


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_refused(penalty):
    with pytest.raises(TaskError, match="ridge penalty must be positive"):
        ridge(torch.eye(2), torch.eye(2), torch.ones(2), penalty)


@pytest.mark.parametrize(("n", "d"), [(3, 5), (5, 3)])
@pytest.mark.parametrize("batched", [False, True])
def test_a_singular_ridge_is_one_clear_error(n, d, batched):
    arguments = (torch.ones(n, d), torch.ones(n, 2), torch.ones(n), torch.tensor(1e-30))
    solve = torch.func.vmap(ridge) if batched else ridge
    if batched:
        arguments = tuple(t.expand(2, *t.shape) for t in arguments)
    with pytest.raises(TaskError, match="the ridge regression is singular"):
        solve(*arguments)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize(("n", "d"), [(3, 5), (5, 3)])
@pytest.mark.parametrize("batched", [False, True])
def test_a_ridge_without_finite_features_has_nan_for_weights(n, d, batched, bad):
    z = torch.randn(2, n, d, generator=torch.Generator().manual_seed(0))
    whole = ridge(z[0], torch.ones(n, 2), torch.ones(n), 0.5)
    z[1, 0, 0] = bad
    y, mask = torch.ones(2, n, 2), torch.ones(2, n)
    penalty = torch.full((2,), 0.5)
    if batched:
        weights = torch.func.vmap(ridge)(z, y, mask, penalty)
    else:
        weights = torch.stack([ridge(*one) for one in zip(z, y, mask, penalty, strict=True)])
    torch.testing.assert_close(weights[0], whole)  # the other task is none the worse for it
    assert weights[1].isnan().all()


@pytest.mark.parametrize(("n", "d"), [(3, 5), (5, 3)])
def test_the_derivatives_of_ridge_are_right(n, d):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, dtype=torch.float64, generator=g).requires_grad_()
    y = torch.randn(n, 2, dtype=torch.float64, generator=g)
    penalty = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(n, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z, p: ridge(z, y, mask, p), (z, penalty))

import pytest
import torch
import torch.nn.functional as F

from quickstudy.errors import TaskError
from quickstudy.nets.norm import in_training, with_batch_statistics, with_statistics
from quickstudy.nets.norm_pool import PooledBatchNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def norm_of(weight):
    norm = PooledBatchNorm(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(weight))
        norm.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
        norm.mean.copy_(torch.tensor([0.1, 0.2, -0.4]))
        norm.variance.copy_(torch.tensor([1.5, 0.5, 2.0]))
    return norm


def images(layout=torch.contiguous_format):
    x = torch.randn(4, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (2 * x + 5).to(memory_format=layout).requires_grad_()


def apart(norm, x, mask=None):
    rows = x if mask is None else x[mask > 0]
    mean, variance = rows.mean((0, 2, 3)), rows.var((0, 2, 3), correction=0)
    y = (x - mean[:, None, None]) / (variance + norm.eps).sqrt()[:, None, None]
    return F.max_pool2d(y * norm.weight[:, None, None] + norm.bias[:, None, None], 2).relu()


def gradients(value, x, norm, order):
    """Of a sum of squares; to second order, of the square of the first ones."""
    found = torch.autograd.grad((value**2).sum(), [x, *norm.parameters()], create_graph=order == 2)
    if order == 1:
        return found
    return torch.autograd.grad(sum((g**2).sum() for g in found), [x, *norm.parameters()])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weight", [[0.5, 1.0, 2.0], [0.5, -1.0, 2.0]])
def test_it_is_a_norm_and_a_pool_to_second_order(weight, layout, order):
    norm, x = norm_of(weight), images(layout)
    ours, theirs = in_training(norm, x), apart(norm, x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        gradients(ours, x, norm, order), gradients(theirs, x, norm, order), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weight", [[0.5, 1.0, 2.0], [0.5, -1.0, 2.0]])
def test_statistics_may_be_kept_given_or_those_of_the_population(weight):
    norm, x = norm_of(weight), images()
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    for told in (None, mask):
        z, statistics = with_batch_statistics(norm, x, mask=told)
        torch.testing.assert_close(z, apart(norm, x, told))
        torch.testing.assert_close(with_statistics(norm, x, statistics), z)
    population = F.batch_norm(x, norm.mean, norm.variance, norm.weight, norm.bias, eps=norm.eps)
    torch.testing.assert_close(norm(x), F.max_pool2d(population, 2).relu())


def test_many_values_cost_no_digits():
    x = (torch.randn(100, 8, 28, 28, generator=torch.Generator().manual_seed(0)) + 3).to(
        memory_format=torch.channels_last
    )
    mean, variance = with_batch_statistics(PooledBatchNorm(8), x)[1][0]
    exact = x.double()
    assert (mean - exact.mean((0, 2, 3))).abs().max() < 5e-6
    assert (variance - exact.var((0, 2, 3), correction=0)).abs().max() < 5e-6


def test_what_is_no_image_is_refused():
    with pytest.raises(TaskError, match=r"images \[n, channels, h, w\], got \[5, 3\]"):
        PooledBatchNorm(3)(torch.rand(5, 3))


def test_images_may_lie_in_any_order_and_be_of_another_type():
    norm, x = norm_of([0.5, 1.0, 2.0]), images().detach().transpose(2, 3).requires_grad_()
    torch.testing.assert_close(in_training(norm, x), apart(norm, x))
    for a, b in zip(
        gradients(in_training(norm, x), x, norm, 2), gradients(apart(norm, x), x, norm, 2),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        block = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), norm.float())
        found = in_training(block, torch.randn(4, 1, 8, 8))
        found.float().sum().backward()
    assert block[0].weight.grad.isfinite().all()

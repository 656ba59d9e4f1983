"""The convolution's derivatives are torch's, to third order."""

import pytest
import torch
from torch import nn

from quickstudy.nets.convolution import Convolution


def pair(**told):
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    ours, theirs = Convolution(**told).double(), nn.Conv2d(**told).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


KINDS = [
    {"in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": 1},
    {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": 1, "stride": 2},
    {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 2, "dilation": 2},
    {"in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": "same"},
]


def slopes(net, x, order):
    """The value, and gradients of gradients of what is no sum of it."""
    found = [net(x)]
    asked = [t for t in (x, *net.parameters()) if t.requires_grad]
    value = (found[0] ** 3).sum()
    for _ in range(order):
        grads = torch.autograd.grad(value, asked, create_graph=True)
        found += grads
        value = sum((g**2).sum() for g in grads)
    return found


@pytest.mark.parametrize("of_images", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("told", KINDS)
def test_derivatives_are_those_of_torch(told, bias, of_images):
    ours, theirs = pair(**told, bias=bias)
    x = torch.randn(2, told["in_channels"], 7, 6, dtype=torch.float64, requires_grad=of_images)
    for a, b in zip(slopes(ours, x, 3), slopes(theirs, x, 3), strict=True):
        torch.testing.assert_close(a, b)


def test_under_vmap_and_grad_it_is_the_same():
    ours, _ = pair(**KINDS[1], bias=False)
    x = torch.randn(3, 2, 3, 7, 6, dtype=torch.float64)

    def loss(images):
        return (ours(images) ** 3).sum()

    together = torch.func.vmap(torch.func.grad(loss))(x)
    for one, found in zip(x, together, strict=True):
        one = one.requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(loss(one), one)[0], found)


def test_autocast_and_single_images_are_torchs_business():
    ours, theirs = pair(**KINDS[1], bias=False)
    ours, theirs, x = ours.float(), theirs.float(), torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == theirs(x).dtype == torch.bfloat16
        torch.testing.assert_close(ours(x.bfloat16()), theirs(x.bfloat16()))

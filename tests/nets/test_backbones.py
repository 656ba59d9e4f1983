import pytest
import torch
from torch import nn

from quickstudy.errors import TaskError
from quickstudy.nets import MLP, Conv4


def test_relu_after_pooling_is_the_papers_function():
    net = Conv4(1, width=4, size=28, norm="group").eval()
    x = torch.rand(3, 1, 28, 28)
    z = x
    for convolution, norm, pool, relu in net.blocks:
        z = pool(relu(norm(convolution(z))))
    torch.testing.assert_close(net(x), z.flatten(1))


@pytest.mark.parametrize(
    ("size", "down", "features"), [(28, "pool", 64), (28, "stride", 256), (84, "pool", 1600)]
)
def test_the_output_is_as_wide_as_the_papers(size, down, features):
    net = Conv4(3, size=size, down=down)
    assert net(torch.rand(2, 3, size, size)).shape == (2, features)
    assert net.features == features


def test_images_of_another_shape_are_refused():
    with pytest.raises(TaskError, match=r"takes images \[1, 28, 28\], got \[3, 28, 28\]"):
        Conv4()(torch.rand(1, 3, 28, 28))
    with pytest.raises(TaskError, match="takes 4 numbers an input, got 5"):
        MLP(4)(torch.rand(1, 5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv4(size=8),
        lambda: Conv4(width=0),
        lambda: Conv4(width=(8, 8)),
        lambda: Conv4(halvings=5),
        lambda: Conv4(down="average"),
        lambda: MLP(0),
        lambda: MLP(4, [0]),
    ],
)
def test_impossible_nets_are_refused(make):
    with pytest.raises(TaskError):
        make()


def test_an_mlp_without_hidden_layers_is_affine():
    net = MLP(3, [], 2)
    assert isinstance(net.layers, nn.Sequential)
    assert len(net.layers) == 1

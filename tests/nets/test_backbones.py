from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quickstudy.errors import TaskError
from quickstudy.nets import MLP, Conv4, ResNet12
from quickstudy.nets.norm import with_batch_statistics


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
        lambda: ResNet12(size=15),
        lambda: ResNet12(width=(8, 8)),
        lambda: ResNet12(channels=0),
        lambda: ResNet12(norm="layer"),
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


def written_out(net, x):
    """A ResNet12 by torch's own functions, with every relu where the paper has it."""

    def convolved(z, convolution, norm):
        z = F.conv2d(z, convolution.weight, padding=convolution.padding)
        return F.batch_norm(z, None, None, norm.weight, norm.bias, training=True)

    for block in net.blocks:
        first, norm1, _, second, norm2, _, third, norm3 = block.layers
        z = F.leaky_relu(convolved(x, first, norm1), 0.1)
        z = F.leaky_relu(convolved(z, second, norm2), 0.1)
        z = convolved(z, third, norm3) + convolved(x, *block.short)
        x = F.max_pool2d(F.leaky_relu(z, 0.1), 2)
    return x


@pytest.mark.parametrize("average", [True, False])
def test_a_resnet12_is_the_papers_function(average):
    torch.manual_seed(0)
    net = ResNet12(3, width=(4, 6, 8, 10), size=40, average=average).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.rand(5, 3, 40, 40).double()
    wanted = written_out(net, x)
    wanted = wanted.mean((2, 3)) if average else wanted.flatten(1)
    torch.testing.assert_close(with_batch_statistics(net, x)[0], wanted)


@pytest.mark.parametrize(
    ("size", "average", "maps"),
    [(84, True, (640, 1, 1)), (84, False, (640, 5, 5)), (16, False, (640, 1, 1))],
)
def test_a_resnet12_is_as_wide_as_the_papers(size, average, maps):
    net = ResNet12(size=size, average=average)
    assert net.maps == maps
    assert net.features == maps[0] * maps[1] * maps[2]
    assert net(torch.rand(1, 3, size, size)).shape == (1, net.features)
    # 3x3 and 1x1 weights of the four blocks, and two numbers a map of four norms in each
    ends = [3, 64, 160, 320, 640]
    blocks = pairwise(ends)
    assert sum(p.numel() for p in net.parameters()) == sum(
        10 * i * o + 18 * o * o + 8 * o for i, o in blocks
    )


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_resnet12_takes_images_of_any_layout_and_one_task_or_many(norm):
    torch.manual_seed(0)
    net = ResNet12(2, width=8, size=21, norm=norm)
    x = torch.rand(3, 4, 2, 21, 21)
    alone = torch.stack([net(images) for images in x])
    torch.testing.assert_close(torch.func.vmap(net)(x), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(TaskError, match=r"takes images \[2, 21, 21\], got \[3, 21, 21\]"):
        net(torch.rand(1, 3, 21, 21))

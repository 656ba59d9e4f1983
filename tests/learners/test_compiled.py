"""Compiled inner steps give the gradients of those that are not, or say that they cannot be."""

import warnings

import pytest
import torch
from torch import nn

from quickstudy.core import SGD, Examples, Task, examples
from quickstudy.learners import MAML, MetaSGD
from quickstudy.learners.compiled import seconds_compiling
from quickstudy.nets import MLP
from quickstudy.nets.convolution import Convolution
from quickstudy.nets.norm_pool import PooledBatchNorm


class OneBlock(nn.Sequential):
    """What a Conv4 is made of, once: four of them take a compiler a minute."""

    features = 16

    def __init__(self):
        convolution = Convolution(1, 4, 3, padding=1, bias=False)
        super().__init__(convolution, PooledBatchNorm(4), nn.Flatten())


def images(way=3, shot=1, side=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def half(each):
        x = torch.rand(way * each, 1, side, side, generator=generator, dtype=torch.float64)
        return examples(x, torch.arange(way).repeat_interleave(each), way=way)

    def double(part):
        return Examples(*(t.double() for t in part))

    return Task(double(half(shot)), double(half(2)))


def pair(make):
    """The same learner without and with compiled steps."""
    both = []
    for compiled in (False, True):
        torch.manual_seed(0)
        both.append(make(compiled).double().train())
    return both


def gradient(learner, task):
    learner.zero_grad(set_to_none=True)
    loss = learner.loss(task)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in learner.parameters())]


@pytest.mark.parametrize(
    "make",
    [
        lambda compiled: MAML(OneBlock(), SGD(0.1), steps=3, compiled=compiled),
        lambda compiled: MetaSGD(OneBlock(), steps=2, compiled=compiled),
    ],
    ids=["MAML", "MetaSGD"],
)
def test_gradients_are_the_same_for_every_task_and_all_weights(make, need):
    need.program("g++", "clang++")
    plain, compiled = pair(make)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for seed in range(2):  # another task, and other weights, by the same compiled code
            task = images(seed=seed)
            for found, wanted in zip(gradient(compiled, task), gradient(plain, task), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)
            for learner in (plain, compiled):
                with torch.no_grad():
                    for p in learner.parameters():
                        p += 0.05 * p.grad
    assert seconds_compiling(compiled) > 0
    assert seconds_compiling(plain) == 0


def test_padding_and_scales_that_are_not_positive_are_done_without(need):
    need.program("g++", "clang++")
    plain, compiled = pair(lambda compiled: MAML(OneBlock(), SGD(0.1), steps=2, compiled=compiled))
    task = images()
    mask = task.support.mask.clone()
    mask[-1] = 0
    padded = task._replace(support=task.support._replace(mask=mask))
    torch.testing.assert_close(gradient(compiled, padded), gradient(plain, padded))
    assert seconds_compiling(compiled) == 0
    gradient(compiled, task)
    for learner in (plain, compiled):
        with torch.no_grad():
            learner.net[1].weight[0] = -0.5
    torch.testing.assert_close(gradient(compiled, task), gradient(plain, task))


class Choosing(nn.Module):
    """A net that looks at numbers to decide what to do, which cannot be traced."""

    features = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.layer(x) if x.mean() > 0 else -self.layer(x)


def test_what_cannot_be_compiled_is_said_once_and_trains_all_the_same():
    plain, compiled = pair(lambda compiled: MAML(Choosing(), SGD(0.1), steps=2, compiled=compiled))
    part = examples(torch.randn(4, 8), torch.arange(4) % 2, way=2)
    part = Examples(*(t.double() for t in part))
    task = Task(part, part)
    with pytest.warns(RuntimeWarning, match="MAML goes on without compiled inner steps: "):
        found = gradient(compiled, task)
    torch.testing.assert_close(found, gradient(plain, task))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        gradient(compiled, task)


def test_without_a_compiler_it_goes_on(monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/c++",))
    monkeypatch.setattr("torch._inductor.config.fx_graph_cache", False)
    plain, compiled = pair(
        lambda compiled: MAML(MLP(5, [3], 3), SGD(0.1), steps=2, compiled=compiled)
    )
    part = examples(torch.randn(4, 5), torch.arange(4) % 2, way=2)
    part = Examples(*(t.double() for t in part))
    with pytest.warns(RuntimeWarning, match="goes on without compiled inner steps: .*"):
        found = gradient(compiled, Task(part, part))
    torch.testing.assert_close(found, gradient(plain, Task(part, part)))

"""Compiled inner steps give the gradients of those that are not, or say that they cannot be."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from quickstudy.core import SGD, Examples, Task, examples
from quickstudy.errors import TaskError
from quickstudy.learners import MAML, MetaSGD
from quickstudy.learners.compiled import seconds_compiling
from quickstudy.nets import MLP
from quickstudy.nets.convolution import Convolution
from quickstudy.nets.norm_pool import PooledBatchNorm

# What one has compiled the others find compiled.
pytestmark = pytest.mark.xdist_group("compiled")


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


WITHOUT = """
import torch, warnings
from quickstudy import MAML, MLP, SGD, Task, examples
part = examples(torch.randn(4, 5), torch.arange(4) % 2, way=2)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        learner = MAML(MLP(5, [3], 3), SGD(0.1), steps=2, compiled=compiled)
        loss = learner.loss(Task(part, part))
        loss.backward()
        losses.append(learner.net.layers[0].weight.grad)
torch.testing.assert_close(*losses)
print(*(w.message for w in said if w.category is RuntimeWarning))
"""


def test_without_a_compiler_it_goes_on(tmp_path):
    nowhere = {"CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=os.environ | nowhere, timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MAML goes on without compiled inner steps: ") == 1


class Foreign(nn.Module):
    """A net that reads a tensor which asks for a gradient and is no parameter of it."""

    features = 4

    def __init__(self, other):
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.other = [other]

    def forward(self, x):
        return self.layer(x) * self.other[0]


def flat(side=5):
    part = examples(torch.randn(4, side), torch.arange(4) % 2, way=2)
    part = Examples(*(t.double() for t in part))
    return Task(part, part)


def test_a_gradient_that_would_be_lost_is_refused():
    other = torch.ones((), dtype=torch.float64, requires_grad=True)
    learner = MAML(Foreign(other), SGD(0.1), steps=2, compiled=True).double()
    with pytest.raises(TaskError, match=r"reads a tensor \[\] that needs a gradient"):
        learner.loss(flat())


def test_a_net_that_draws_is_not_compiled():
    net = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5))
    net.features = 4
    plain, compiled = (
        MAML(net, SGD(0.1), steps=2, compiled=c).double().train() for c in (False, True)
    )
    compiled.load_state_dict(plain.state_dict())
    task = flat()
    with pytest.warns(RuntimeWarning, match=r"goes on without .*: it draws random numbers"):
        gradient(compiled, task)
    found = []
    for learner in (plain, compiled):
        torch.manual_seed(0)
        found.append(gradient(learner, task))
    torch.testing.assert_close(*found)


def test_another_objective_is_compiled_anew(need):
    need.program("g++", "clang++")
    plain, compiled = pair(
        lambda compiled: MAML(MLP(5, [3], 3), SGD(0.1), steps=2, compiled=compiled)
    )
    task = flat()
    for objective in (None, "squared_error"):
        plain.objective = compiled.objective = objective
        for found, wanted in zip(gradient(compiled, task), gradient(plain, task), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)

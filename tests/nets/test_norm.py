import threading

import pytest
import torch
from torch import nn

from quickstudy.core import Examples
from quickstudy.errors import TaskError
from quickstudy.learners import MAML, ProtoNet
from quickstudy.nets import MLP, BatchNorm, Conv4
from quickstudy.nets.norm import calibrate, with_batch_statistics, with_statistics


def test_batch_statistics_are_those_of_torch():
    x = torch.randn(8, 5, 6, 6, dtype=torch.float64)
    ours, theirs = BatchNorm(5).double(), nn.BatchNorm2d(5).double()
    with torch.no_grad():
        for parameter in ("weight", "bias"):
            getattr(theirs, parameter).copy_(getattr(ours, parameter).normal_())
    torch.testing.assert_close(with_batch_statistics(ours, x)[0], theirs(x))


def test_population_statistics_are_what_calibration_saw():
    net = Conv4(1, width=4, size=16)
    x = torch.rand(40, 1, 16, 16)
    calibrate(net, [Examples(x, x, torch.ones(40))])
    torch.testing.assert_close(net(x), with_batch_statistics(net, x)[0], rtol=1e-4, atol=1e-5)
    before = [b.clone() for b in net.buffers()]
    net(torch.rand(3, 1, 16, 16))
    with_batch_statistics(net, torch.rand(3, 1, 16, 16))
    assert all(map(torch.equal, before, net.buffers()))


def test_a_norm_that_runs_twice_is_recorded_twice():
    norm = BatchNorm(3)
    net = nn.Sequential(norm, nn.Linear(3, 3), norm)
    x = torch.randn(9, 3)
    z, statistics = with_batch_statistics(net, x)
    assert len(statistics) == 2
    torch.testing.assert_close(with_statistics(net, x, statistics), z)


def test_threads_do_not_see_each_others_statistics():
    net, wrong = nn.Sequential(BatchNorm(2)), []
    shifted = [torch.randn(50, 2) + 10 * i for i in range(8)]
    wanted = [with_batch_statistics(net, x) for x in shifted]

    def work(i):
        for _ in range(50):
            z, statistics = with_batch_statistics(net, shifted[i])
            again = with_statistics(net, shifted[i], statistics)
            if not (torch.equal(z, wanted[i][0]) and torch.allclose(again, z, atol=1e-5)):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


@pytest.mark.parametrize("make", [ProtoNet, lambda net: MAML(net)])
def test_torchs_own_batch_norm_is_refused_by_name(make):
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net.features = 4
    with pytest.raises(TaskError, match=r"the net's 1 is torch\.nn\.BatchNorm1d"):
        make(net)


def test_unknown_norms_are_refused():
    with pytest.raises(TaskError, match="batch, group or none, got 'layer'"):
        MLP(4, norm="layer")

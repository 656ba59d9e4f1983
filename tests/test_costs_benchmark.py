"""The floor under a step's cost is counted rightly, and the curves hold what they say."""

import pytest
from benchmarks import costs, costs_picture, flops
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.core import SGD
from quickstudy.hub.benching import made_up_tasks
from quickstudy.learners import MAML, ProtoNet
from quickstudy.nets import Conv4

WIDTH = 8


def test_a_known_layer_by_hand():
    # 3 channels to 4 images of 5x5: 100 numbers, each of 27 products and as many sums.
    assert flops.convolution(3, 4, side=5) == 100 * 2 * 27
    assert flops.affine(10, 3) == 60
    layers = [flops.Layer(100, reads_data=True), flops.Layer(10)]
    assert flops.gradient(layers) == 2 * 100 + 3 * 10
    assert flops.curvature(layers) == 2 * 100 + 6 * 10
    # One inner step on 1 x 2 support examples, both ways, and 1 x 3 queries.
    assert flops.maml(layers, 1, ways=1, shots=2, queries=3) == 2 * (230 + 260) + 3 * 230
    assert flops.maml(layers, 1, 1, 2, 3, first_order=True) == 5 * 230


def test_the_papers_net_by_hand():
    sides = {"pool": (28, 14, 7, 3), "stride": (14, 7, 4, 2)}
    for down, at in sides.items():
        forward = [layer.forward for layer in flops.conv4(64, down=down)]
        assert forward == [2 * 9 * (64 if n else 1) * 64 * s * s for n, s in enumerate(at)]
    assert flops.conv4(64, outputs=5)[-1].forward == 2 * 64 * 5
    assert flops.mlp([784, 64, 5]) == [flops.Layer(2 * 784 * 64, True), flops.Layer(2 * 64 * 5)]


def counted(learner):
    """What torch counts in a step on a task of 5 ways, 1 shot and 4 queries."""
    task = made_up_tasks(1, ways=5, shots=1, queries=4)[0]
    with FlopCounterMode(display=False) as seen:
        learner.loss(task).backward()
    return seen.get_total_flops()


@pytest.mark.parametrize("down", ["pool", "stride"])
@pytest.mark.parametrize("first_order", [False, True])
def test_a_step_of_maml_does_no_less_and_no_more(down, first_order):
    net = Conv4(1, WIDTH, 28, down=down)
    learner = MAML(net, SGD(0.1), steps=1, outputs=5, transductive=True, first_order=first_order)
    layers = flops.conv4(WIDTH, down=down, outputs=5)
    assert counted(learner) == flops.maml(layers, 1, 5, 1, 4, first_order)


def test_a_step_of_protonet_does_little_more():
    wanted = flops.protonet(flops.conv4(WIDTH), WIDTH, 5, 1, 4)
    assert counted(ProtoNet(Conv4(1, WIDTH, 28))) == pytest.approx(wanted, rel=1e-3)


def test_the_curves_hold_every_point_and_become_pictures_and_tables(tmp_path):
    grid = {"tasks": (1, 3), "steps": (1, 2), "ways": (2,), "width": (4,)}
    base = {"tasks": 1, "steps": 1, "ways": 3, "width": 4}
    found = costs.measure(repeats=1, threads=1, base=base, grid=grid)
    places = {name: [(row["learner"], row["at"]) for row in rows]
              for name, rows in found["curves"].items()}  # fmt: skip
    assert places["tasks"] == [("MAML", 1), ("MAML", 3), ("ProtoNet", 1), ("ProtoNet", 3)]
    assert places["steps"] == [("MAML", 1), ("MAML", 2)], "ProtoNet has no inner steps"
    one, three = found["curves"]["tasks"][:2]
    assert three["gflop"] == pytest.approx(3 * one["gflop"], abs=2e-4)
    for rows in found["curves"].values():
        for row in rows:
            low, high = row["spread_ms"]
            assert 0 < low <= row["ms"] <= high
            assert row["peak_mb"] > 0
            assert row["floor_ms"] >= 0
    names = [row["name"] for row in found["choices"]]
    assert len(set(names)) == len(names)
    assert "ProtoNet, 1 thread" not in names, "all ran on one"
    for quantity in ("ms", "peak_mb"):
        costs_picture.draw(found, quantity, tmp_path / f"{quantity}.png")
        assert (tmp_path / f"{quantity}.png").read_bytes()[1:4] == b"PNG"
    told = costs_picture.tables(found)
    assert "| inner steps: 2 |" in told["costs"]
    assert "| – | – | – |" in told["costs"]
    assert told["choices"].count(" ms | ") == len(names)

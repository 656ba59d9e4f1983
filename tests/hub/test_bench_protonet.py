"""The bench of ProtoNet: what it reports and refuses, not how fast this machine is."""

import pytest
import torch

from quickstudy.errors import RunError
from quickstudy.hub.bench_protonet import bench_protonet, plain_loss
from quickstudy.hub.benching import made_up_tasks
from quickstudy.hub.comparing import Stepper, gradient_errors

SMALL = ["--width", "4", "--queries", "2", "--repeats", "2", "--threads", "1"]


def test_it_reports_what_the_bench_of_maml_does(call):
    said = call("bench", "protonet", *SMALL, "--ways", "3", "--shots", "2", "--json")
    assert said.code == 0, said.err
    found = said.json
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["quickstudy", "plain PyTorch", "plain PyTorch, our layout"]
    for row in rows.values():
        assert row.keys() == {"name", "ms_per_task", "spread_ms", "peak_mb", "gradient_error"}
        low, high = row["spread_ms"]
        assert 0 < low <= row["ms_per_task"] <= high
        assert row["peak_mb"] > 0
        assert row["gradient_error"] <= 1e-4
    ratio = rows["plain PyTorch"]["ms_per_task"] / rows["quickstudy"]["ms_per_task"]
    assert found["speedup_over_fastest_peer"] == pytest.approx(ratio, rel=0.05)
    asked = {"ways": 3, "shots": 2, "queries": 2, "width": 4, "repeats": 2, "threads": 1}
    assert found.items() >= {**asked, "device": "cpu", "torch": torch.__version__}.items()


def test_people_read_one_line_a_row(call):
    said = call("bench", "protonet", *SMALL)
    assert said.code == 0, said.err
    assert said.out.startswith("ProtoNet, 5-way 1-shot, 2 queries a class, 1 threads; 2 repeats\n")
    assert said.out.count("ms a task") == 3
    assert "x the plain step as usually written" in said.out
    assert all(len(line) <= 100 for line in said.out.splitlines())


@pytest.mark.parametrize("option", ["ways", "shots", "queries", "width", "repeats", "threads"])
def test_what_cannot_be_measured_is_one_line(call, option):
    said = call("bench", "protonet", f"--{option}", "0")
    assert (said.code, said.out) == (2, "")
    least = 2 if option == "ways" else 1
    assert said.err == f"error: --{option} must be at least {least}, got 0\n"


class Linear(torch.nn.Module):
    """A small net that stands for whoever takes a step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(28 * 28, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))


def stepper(net, scale=1.0):
    return Stepper(net, lambda task: scale * plain_loss(net, task))


def test_a_wrong_gradient_is_refused():
    tasks, exact = made_up_tasks(3, ways=3, shots=1, queries=2), stepper(Linear().double())
    right = gradient_errors({"right": stepper(Linear())}, exact, tasks)
    assert right["right"] < 1e-5
    both = {"right": stepper(Linear()), "wrong": stepper(Linear(), scale=1.001)}
    with pytest.raises(RunError, match=r"right to 0\.0001 .* off are wrong by 1\.0e-03$"):
        gradient_errors(both, exact, tasks)
    nothing = {"nothing": stepper(Linear(), scale=float("nan"))}
    with pytest.raises(RunError, match="off are nothing by nan"):
        gradient_errors(nothing, exact, tasks)


def test_the_plain_loss_is_the_papers():
    """Snell et al. 2017, algorithm 1, sum by sum."""
    task = made_up_tasks(1, ways=3, shots=2, queries=2)[0]
    rows = task.support.x.flatten(1).double()
    total = 0.0
    for place, query in enumerate(task.query.x.flatten(1).double()):
        distances = [((query - rows[2 * k : 2 * k + 2].mean(0)) ** 2).sum() for k in range(3)]
        total += distances[place // 2] + torch.logsumexp(-torch.stack(distances), 0)
    found = plain_loss(torch.nn.Flatten(), task)
    assert found.item() == pytest.approx(total.item() / 6, rel=1e-5)


def test_made_up_tasks_come_from_their_seed():
    one, again, other = (made_up_tasks(2, 3, 1, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(one[1].query.x, again[1].query.x)
    assert not torch.equal(one[0].query.x, one[1].query.x[:6])
    assert not torch.equal(one[0].query.x, other[0].query.x)
    assert one[0].query.y.argmax(1).tolist() == [0, 0, 1, 1, 2, 2]


def test_the_gradient_check_holds_at_the_papers_size():
    rows = bench_protonet(ways=20, shots=5, queries=1, repeats=1)["rows"]
    assert max(row["gradient_error"] for row in rows) <= 1e-4

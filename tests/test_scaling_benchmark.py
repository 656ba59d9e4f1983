"""Scaling: real runs are started as they should be, and the sums on paper are right."""

import subprocess
import sys

import pytest
from benchmarks import scaling, scaling_paper
from benchmarks.pages import write_between


def test_a_run_of_two_processes_gives_steps_a_second(monkeypatch):
    quick = {
        "data": "blobs",
        "ways": 3,
        "shots": 1,
        "queries": 3,
        "tasks_per_step": 2,
        "validation_tasks": 1,
    }
    monkeypatch.setattr(scaling, "COMMON", quick)
    monkeypatch.setattr(scaling, "STEPS", {"ProtoNet": 6})
    monkeypatch.setattr(scaling, "SETUPS", {"two": (2, 1)})
    (row,) = scaling.measured(rounds=1)
    assert (row["learner"], row["setup"], row["processes"]) == ("ProtoNet", "two", 2)
    assert 0 < row["spread"][0] == row["steps_per_second"]
    part = scaling.parts("ProtoNet", repeats=1)
    assert "no more than" in scaling_paper._limits("ProtoNet", part)
    assert part["parameters"] == sum(p.numel() for p in made().parameters())
    assert min(part.values()) >= 0


def made():
    from quickstudy.hub.config import make_config
    from quickstudy.hub.job import make_job

    return make_job(make_config(scaling.told("ProtoNet", 1))).learner


def test_first_and_last_steps_do_not_count():
    rows = [{"step": n, "seconds": s} for n, s in enumerate([9.0, 9.5, 10.0, 12.0, 14.0, 99.0], 1)]
    assert scaling.steps_a_second(rows) == 0.5


TWO = """
import sys, torch
from torch import distributed
from quickstudy.core.distributed import add_up
distributed.init_process_group("gloo", init_method=sys.argv[1], rank=int(sys.argv[2]), world_size=2)
reduce, seen = distributed.all_reduce, []
distributed.all_reduce = lambda flat: seen.append(flat.nbytes) or reduce(flat)
add_up(list(torch.nn.Linear(5, 3).parameters()), torch.zeros(2))
print(sum(seen), flush=True)
distributed.destroy_process_group()
"""


def test_bytes_are_those_of_the_all_reduce(tmp_path):
    meeting = (tmp_path / "meeting").as_uri()
    started = [
        subprocess.Popen([sys.executable, "-c", TWO, meeting, str(rank)], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    told = [int(process.communicate(timeout=120)[0]) for process in started]
    assert told == [scaling_paper.sent(parameters=18, tensors=2)] * 2


def test_a_ring_by_hand():
    # 4 processes: 6 rounds, each a quarter of 4 MB over 1 Gbit/s (8 ms) and 1 ms of latency.
    assert scaling_paper.ring(4e6, 4, 1, 1e-3) == pytest.approx(6 * 0.009)


def test_the_tasks_needed_are_the_fewest():
    costs = {"task": 0.02, "draw": 1e-4, "update": 0.001, "reduce": 0.03}
    for processes in (2, 8, 16):
        needed = scaling_paper.tasks_needed(processes, **costs)
        assert scaling_paper.efficiency(processes, needed, **costs) >= 0.9
        assert scaling_paper.efficiency(processes, needed - 1, **costs) < 0.9
    most = scaling_paper.most_processes(costs["task"], costs["draw"])
    assert scaling_paper.tasks_needed(most + 1, **costs) is None
    assert scaling_paper.tasks_needed(most - 1, **costs) > 1
    free = {"task": 0.02, "draw": 0.0, "update": 0.0, "reduce": 0.0}
    assert scaling_paper.efficiency(8, 1, **free) == pytest.approx(1)


def test_a_part_goes_between_its_markers_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\n<!-- end -->\n")
    write_between(page, {"x": "new \\1", "y": "other"})
    assert page.read_text() == (
        "a\n<!-- x -->\nnew \\1\n<!-- end -->\nb\n<!-- y -->\nother\n<!-- end -->\n"
    )
    with pytest.raises(SystemExit, match="must hold <!-- z --> and its end once, got 0"):
        write_between(page, {"z": ""})

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from quickstudy.errors import RunError
from quickstudy.hub.bench_maml import bench_maml
from quickstudy.hub.cli import app
from quickstudy.hub.comparing import peak_mb

SMALL = ["--width", "4", "--queries", "2", "--repeats", "1"]


def test_peers_take_the_same_gradient(need):
    for peer in ("higher", "torchopt"):
        need.package(peer)
    told = ["bench", "maml", "--peers", "higher,torchopt", "--inner-steps", "2", *SMALL, "--json"]
    found = json.loads(CliRunner().invoke(app, told).stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [
        "quickstudy", "plain loop", "plain loop, our layout", "higher", "higher, our layout",
        "torchopt", "torchopt, our layout",
    ]  # fmt: skip
    assert all(row["gradient_error"] <= 1e-4 for row in rows.values())
    assert all(row["ms_per_task"] > 0 and row["peak_mb"] > 0 for row in rows.values())
    fastest = min(rows[name]["ms_per_task"] for name in ("higher", "torchopt"))
    ratio = fastest / rows["quickstudy"]["ms_per_task"]
    assert found["speedup_over_fastest_peer"] == pytest.approx(ratio, rel=0.05)


def test_our_memory_is_flat_in_the_inner_steps_and_the_plain_loops_is_not():
    def peaks(steps):
        rows = bench_maml(inner_steps=steps, width=8, queries=2, repeats=1)["rows"]
        return {row["name"]: row["peak_mb"] for row in rows}

    one, many = peaks(1), peaks(20)
    assert many["quickstudy"] <= 1.2 * one["quickstudy"]
    assert many["plain loop"] > 4 * one["plain loop"]


def test_the_peak_is_what_was_alive_at_once():
    def work():
        for _ in range(3):
            torch.zeros(1000, 1000)
        return torch.zeros(1000, 500)

    assert peak_mb(work) == pytest.approx(4, rel=0.01)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(RunError, match="--ways must be at least 2, got 1"):
        bench_maml(ways=1)
    with pytest.raises(RunError, match="--inner-rate must be a positive number, got inf"):
        bench_maml(inner_rate=math.inf)
    with pytest.raises(RunError, match="--inner-steps must be at least 1, got 0"):
        bench_maml(inner_steps=0)
    with pytest.raises(RunError, match="--peers must be among higher, torchopt, got 'lightning'"):
        bench_maml(peers="lightning")

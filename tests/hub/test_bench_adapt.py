"""The bench of adapting: what it reports and refuses, not how fast this machine is."""

import pytest

from quickstudy.hub.bench_adapt import USUAL, bench_adapt
from quickstudy.hub.catalogue import LEARNERS

SMALL = ["--width", "4", "--queries", "2", "--repeats", "2", "--threads", "1"]


def test_learners_by_any_name_once_each(call):
    named = ["--learner", "proto-net", "--learner", "maml", "--learner", "ProtoNet"]
    said = call("bench", "adapt", *named, *SMALL, "--ways", "3", "--json")
    assert said.code == 0, said.err
    found = said.json
    assert [row["name"] for row in found["rows"]] == ["ProtoNet", "MAML"]
    for row in found["rows"]:
        for what in ("adapt", "predict"):
            low, high = row[f"{what}_spread_ms"]
            assert 0 < low <= row[f"{what}_ms"] <= high
    asked = {"ways": 3, "shots": 1, "queries": 2, "width": 4, "repeats": 2, "threads": 1}
    assert found.items() >= asked.items()


def test_a_state_is_as_large_as_its_tensors():
    rows = bench_adapt(learners=["ProtoNet", "MAML"], width=4, repeats=1)["rows"]
    sizes = {row["name"]: row["state_kb"] for row in rows}
    # Floats: sums [5, 4] and counts [5]; of MAML weights, a head, the norms' statistics and counts.
    assert sizes["ProtoNet"] == round(4 * (5 * 4 + 5) / 1e3, 1)
    weights = 9 * 4 + 3 * 9 * 4 * 4 + 4 * 2 * 4
    assert sizes["MAML"] == round(4 * (weights + (4 + 1) * 5 + 4 * 2 * 4 + 5) / 1e3, 1)


def test_the_usual_ones_are_of_many_families(call):
    rows = bench_adapt(width=4, queries=1, repeats=1)["rows"]
    assert tuple(row["name"] for row in rows) == USUAL
    assert {row["family"] for row in rows} == {LEARNERS[name].family for name in USUAL}
    assert len({row["family"] for row in rows}) >= 5
    assert {row["name"]: row["steps"] for row in rows}.items() >= {"MAML": 5, "R2D2": None}.items()


def test_people_read_one_table(call):
    said = call("bench", "adapt", "--learner", "r2d2", *SMALL)
    assert said.code == 0, said.err
    first, heading, row = said.out.splitlines()
    assert first.startswith("5-way 1-shot, 10 queries, 1 threads; median of 2 repeats")
    assert heading.split() == ["ms", "to", "adapt", "ms", "to", "answer", "state,", "kB"]
    assert row.split()[0] == "R2D2"
    assert len(row) == len(heading) <= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ways", "1"], "--ways must be at least 2, got 1"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["--learner", "protonett"], "got 'protonett'; did you mean ProtoNet?"),
        (["--learner", "NearestMean"], "train on classes here, and NearestMean does not"),
        (["--learner", "ALPaCA"], "train on classes here, and ALPaCA does not"),
    ],
)
def test_what_cannot_be_measured_is_one_line(call, options, message):
    said = call("bench", "adapt", *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err

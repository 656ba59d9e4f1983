"""The table of learners stands on runs of what it says, all alike."""

import pytest
from benchmarks import learners

from quickstudy.hub.config import make_config
from quickstudy.hub.runs import open_run

QUICK = {
    "data": "blobs", "ways": 3, "validation_ways": 3, "steps": 2, "validation_tasks": 5,
    "rotations": False, "backbone_options": {"hidden": [4]}, "device": "cpu", "threads": 1,
}  # fmt: skip


def test_a_run_of_other_options_is_trained_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(learners, "RUNS", tmp_path)
    monkeypatch.setattr(learners, "COMMON", QUICK)
    folder = learners.train("ProtoNet", 0)
    wanted = make_config(learners.given("ProtoNet", 0))
    assert open_run(folder).config == wanted
    made = (folder / "manifest.json").stat().st_mtime_ns
    assert learners.train("ProtoNet", 0) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == made, "it was there already"
    monkeypatch.setattr(learners, "OPTIONS", {"ProtoNet": {"rate": 0.01, "rotations": False}})
    learners.train("ProtoNet", 0)
    assert open_run(folder).config.rate == 0.01
    assert open_run(folder).finished


@pytest.mark.parametrize("key", ["seed", "tasks", "steps", "ways", "shots", "queries"])
def test_rows_that_differ_make_no_table(key):
    row = {"learner": "MAML", "seed": 0, "tasks": 9, "steps": 5, "ways": 5, "shots": 1}
    row["queries"] = 5
    with pytest.raises(SystemExit, match=f"one table.* ANIL has {key} 7, MAML "):
        learners.table([row, {**row, "learner": "ANIL", key: 7}])

import pytest
import torch

import quickstudy as qs
from hub.folders import draw_folder
from quickstudy.errors import RunError
from quickstudy.hub.evaluating import Setting, judge
from quickstudy.hub.sources import open_source
from quickstudy.learners import NearestMean


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def test_queries_in_unlike_numbers(trained, tmp_path, call):
    more = draw_folder(tmp_path / "more", classes=5, each=14, seed=9)
    options = ["--data", more, "--ways", "5", "--queries", "4", "--tasks", "6", "--json"]
    alike = call("evaluate", trained, *options, "--dirichlet", "1e6")
    unlike = call("evaluate", trained, *options, "--dirichlet", "0.5")
    assert (unlike.code, unlike.err) == (0, "")
    assert (alike.json["dirichlet"], unlike.json["dirichlet"]) == (1e6, 0.5)
    assert alike.json["accuracy"] != unlike.json["accuracy"]
    assert call("evaluate", trained, *options).json["dirichlet"] is None
    assert unlike.json["queries"] == 4
    same = qs.Platform.load(trained).evaluate(more, count=6, ways=5, queries=4, dirichlet=0.5)
    assert same["accuracy"] == unlike.json["accuracy"]
    assert (same["queries"], same["dirichlet"]) == (4, 0.5)
    shown = call("evaluate", trained, *options[:-1], "--dirichlet", "0.5").out
    assert "4 queries a class on average (Dirichlet 0.5), 6 tasks" in shown
    rows = call("evaluate", trained, *options, "--shots", "1,2", "--dirichlet", "2").json["rows"]
    assert [row["dirichlet"] for row in rows] == [2, 2]


def test_classes_have_unlike_numbers_of_queries_and_the_control_the_same_ones(tmp_path):
    folder = draw_folder(tmp_path, classes=5, each=13)
    source = open_source(str(folder))
    setting = Setting(5, 1, 4, tasks=40, dirichlet=1.0)
    drawn = setting.tasks_of(source, "all")
    numbers = drawn.sample(40, torch.Generator().manual_seed(0)).query.y.sum(1)
    assert bool((numbers.sum(1) == 20).all())
    assert numbers.max() == 12, "three times as many as on average"
    assert numbers.std() > 2
    row = judge(NearestMean(), drawn, setting)
    assert row["control"]["accuracy"] == row["accuracy"]
    assert row["control"]["interval95"] == row["interval95"]


def test_where_no_such_queries_are(trained, sales_run, call):
    said = call("evaluate", trained, "--queries", "2", "--dirichlet", "2")
    assert said.code == 2
    assert (
        "1 shot + 6 queries need 7: with --dirichlet a class may have 3 times the 2 q" in said.err
    )
    assert (
        call("evaluate", trained, "--tasks", "3", "--dirichlet", "2", "--json").json["queries"] == 1
    )
    said = call("evaluate", trained, "--ways", "9", "--dirichlet", "2")
    assert said.code == 2
    assert "--dirichlet" not in said.err
    said = call("evaluate", sales_run, "--dirichlet", "2")
    assert (said.code, "take no --dirichlet: the targets are numbers" in said.err) == (2, True)
    for wrong in ("0", "-1", "nan", "1e7"):
        said = call("evaluate", trained, "--dirichlet", wrong)
        assert said.code == 2
        assert "--dirichlet must lie in (0, 1,000,000], got" in said.err
    with pytest.raises(RunError, match="dirichlet must lie in"):
        qs.Platform.load(trained).evaluate(dirichlet="2")
    with pytest.raises(RunError, match="ways must be a whole number, got '5'"):
        qs.Platform.load(trained).evaluate(ways="5")

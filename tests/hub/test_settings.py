import json

import pytest

from hub.folders import SMALL
from quickstudy.errors import RunError
from quickstudy.hub.runs import open_run
from quickstudy.hub.settings import layered, parse_setting

FILE = """
# a comment
recipe: demo
learner: protonet
steps: 300
checkpoint-every: 7
learner_options:
  turns: 2
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_later_places_come_over_earlier_ones(file):
    options, recipe = layered(
        file, ["steps=400", "rate=1e-3", "learner_options.shift=1"], {"steps": 500, "seed": 3}
    )
    assert recipe == "demo"
    assert options == {
        "learner": "protonet", "steps": 500, "checkpoint_every": 7, "rate": 1e-3, "seed": 3,
        "learner_options": {"turns": 2, "shift": 1},
    }  # fmt: skip
    assert layered(file, [], {"recipe": "fonts"})[1] == "fonts"
    assert layered(None, [], {"steps": 5}) == ({"steps": 5}, None)


@pytest.mark.parametrize(
    ("pair", "wanted"),
    [
        ("warp=none", {"warp": "none"}),
        ("ways=5-20", {"ways": "5-20"}),
        ("first-order=true", {"first_order": True}),
        ("learner_options.distance=cosine", {"learner_options": {"distance": "cosine"}}),
        ("clip=null", {"clip": None}),
        ("features=[a, b]", {"features": ["a", "b"]}),
        ("data=a=b.csv", {"data": "a=b.csv"}),
        ("data=2020-13-45", {"data": "2020-13-45"}),
    ],
)
def test_a_setting(pair, wanted):
    assert parse_setting(pair) == wanted


@pytest.mark.parametrize("pair", ["steps", "=3", ".a=3", "a.=3", "a.b.c=3", ""])
def test_no_setting(pair):
    with pytest.raises(RunError, match=r"--set must be NAME=VALUE"):
        parse_setting(pair)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", r"must hold options .* got \[1, 2\]"),
        (b"just words", r"must hold options"),
        (b"steps: [1,\n", r"is no YAML: .*line 2"),
        (b"1: 2", r"must hold options"),
        (b"\xff\xfe\x00", r"is no YAML"),
        (b"steps: {a: 1}", r"steps holds no options of its own"),
        (b"a: !!python/object/apply:os.system ['true']", r"is no YAML: could not determine"),
    ],
)
def test_a_file_that_is_no_options(tmp_path, content, message):
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        layered(path, [], {})


def test_a_run_by_file_settings_and_flags(photos, tmp_path, call):
    file = tmp_path / "options.yaml"
    file.write_text("steps: 3\nschedule: cosine\nrate: 0.5\nlearner: maml\n", encoding="utf-8")
    told = ["--config", file, "--set", "steps=4", "--set", "rate=0.25", "--data", photos]
    out = tmp_path / "run"
    said = call("train", *told, *SMALL, "--steps", "2", "--out", out, "--json")
    assert said.code == 0, said.err
    config = open_run(out).config
    assert (config.schedule, config.rate, config.steps) == ("cosine", 0.25, 2)
    assert config.learner == "ProtoNet"  # of SMALL, a flag
    again = tmp_path / "again"
    said = call("train", "--config", out / "config.json", "--set", "seed=1", "--out", again)
    assert said.code == 0, said.err
    changed = {"seed": 1}
    assert open_run(again).config == config.model_copy(update=changed)


def test_bad_options_from_a_file_name_the_option(tmp_path, call):
    file = tmp_path / "options.yaml"
    for content, said in (("stepps: 3", "--stepps is no option"), ("steps: x", "--steps must be")):
        file.write_text(content, encoding="utf-8")
        told = call("train", "--config", file, "--out", tmp_path / "run")
        assert told.code == 2
        assert said in told.err
    told = call("train", "--config", tmp_path / "none.yaml", "--out", tmp_path / "run")
    assert told.code == 2
    assert "none.yaml: No such file" in told.err
    assert not (tmp_path / "run").exists()
    file.write_text(json.dumps({"config": {"steps": 0}}), encoding="utf-8")
    assert "--steps must be at least 1" in call("train", "--config", file, "--out", "x").err

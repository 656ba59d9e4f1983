"""Features of users on the command line of `quickstudy recommend`."""

import numpy as np
import pytest
from tests.apps.recommend import tastes


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tastes.write(folder / "ratings.csv", tastes.interactions())
    tastes.write(folder / "items.csv", tastes.items())
    tastes.write(folder / "users.csv", tastes.users())
    tastes.write(folder / "mine.csv", {"item": ["i0", "i2"]})
    return folder


@pytest.fixture(scope="module")
def run(shop, call_once):
    call_once("recommend", "train", "--ratings", shop / "ratings.csv", "--items",
              shop / "items.csv", "--users", shop / "users.csv", "--out", shop / "run")  # fmt: skip
    return shop / "run"


def even(rows):
    return np.mean([int(row["item"][1:]) % 2 == 0 for row in rows if row["item"] != "new"])


def test_who_has_done_nothing_is_served_by_what_they_tell(call, run):
    for about, wanted in (("town=north", 1.0), ("age=70", 0.0)):
        best = call("recommend", "top", run, "--about", about, "-k", 8, "--json")
        assert best.code == 0
        assert even(best.json) == pytest.approx(wanted, abs=0.2)


def test_what_is_told_is_kept_in_a_state(call, shop, run):
    told = ("--about", "town=north", "--about", "age=31", "--about", "member=true")
    kept = call("recommend", "adapt", run, "--history", shop / "mine.csv", *told, "--out",
                shop / "state", "--json")  # fmt: skip
    assert kept.json["interactions"] == 2
    best = call("recommend", "top", run, "--history", shop / "mine.csv", *told, "--json")
    assert call("recommend", "top", run, "--state", shop / "state", "--json").json == best.json
    without = call("recommend", "top", run, "--history", shop / "mine.csv", "--json")
    assert without.json != best.json


def test_whom_to_ask_what_may_depend_on_what_they_tell(call, run):
    asked = call("recommend", "ask", run, "--about", "town=north", "-k", 3, "--json")
    assert asked.code == 0
    assert len(asked.json) == 3


def test_a_kind_that_nobody_had_is_noted(call, run):
    said = call("recommend", "top", run, "--about", "town=west", "-k", 3)
    assert said.code == 0
    assert "note: nobody in training had town=west" in said.err


def test_evaluate_reads_users_and_controls_do_not(call, shop):
    asked = ("recommend", "evaluate", "--ratings", shop / "ratings.csv", "--shots", 1,
             "--time-cut", 0.7, "--json")  # fmt: skip
    figures = []
    for more in ((), ("--users", shop / "users.csv")):
        said = call(*asked, *more)
        assert said.code == 0
        figures.append({row["model"]: row["ndcg10"] for row in said.json["rows"]})
    without, told = figures
    assert told.pop("quickstudy") != without.pop("quickstudy")
    assert told == without


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "--ratings", "ratings.csv", "--users", "users.csv", "--by", "item"],
         "--users goes with --by user, got --by item"),
        (["evaluate", "--ratings", "ratings.csv", "--users", "users.csv", "--by", "category"],
         "--users goes with --by user, got --by category"),
        (["evaluate", "--ratings", "ratings.csv", "--users", "none.csv"], "no such table"),
        (["train", "--ratings", "ratings.csv", "--users", "twice.csv", "--out", "x"],
         "each user must have one row in twice.csv, got 'u1' twice"),
        (["train", "--ratings", "ratings.csv", "--users", "items.csv", "--out", "x"],
         "no column that looks like the user"),
        (["top", "run", "--about", "north"], "--about must be COLUMN=VALUE"),
        (["top", "run", "--about", "age=1", "--about", "age=2"], "each column once, got 'age=2'"),
        (["top", "run", "--about", "age=old"], "'age' of a user must be a number"),
        (["top", "run", "--about", "city=north"], "no feature 'city' of users in training"),
        (["top", "run", "--state", "s", "--about", "age=1"], "either --history FILE or --state"),
        (["adapt", "run", "--out", "s"], "either --history FILE or --state"),
        (["top", "plain", "--about", "age=1"], "trained without features of users"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(call, shop, run, arguments, said, monkeypatch):
    monkeypatch.chdir(shop)
    tastes.write(shop / "twice.csv", {"user": ["u1", "u1"], "town": tastes.TOWNS})
    if "plain" in arguments:
        call("recommend", "train", "--ratings", "ratings.csv", "--out", "plain")
    result = call("recommend", *arguments)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert said in result.err
    assert result.err.count("\n") == 1

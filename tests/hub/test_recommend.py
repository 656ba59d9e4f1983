"""`quickstudy recommend`, as people type it."""

import pytest
from tests.apps.recommend import tastes


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tastes.write(folder / "ratings.csv", tastes.interactions())
    tastes.write(folder / "items.csv", tastes.items())
    tastes.write(folder / "mine.csv", {"item": ["i0", "i2", "i4"], "stars": [5, 5, 4]})
    return folder


@pytest.fixture(scope="module")
def run(shop, call_once):
    call_once("recommend", "train", "--ratings", shop / "ratings.csv", "--items",
              shop / "items.csv", "--out", shop / "run")  # fmt: skip
    return shop / "run"


def test_train_then_top_then_adapt(call, shop, run):
    best = call("recommend", "top", run, "--history", shop / "mine.csv", "-k", 5, "--json")
    assert best.code == 0
    assert len(best.json) == 5
    assert all(int(row["item"][1:]) % 2 == 0 for row in best.json if row["item"] != "new")
    told = call(
        "recommend", "adapt", run, "--history", shop / "mine.csv", "--out", shop / "s", "--json"
    )
    assert told.json["interactions"] == 3
    again = call("recommend", "top", run, "--state", shop / "s", "-k", 5, "--json")
    assert again.json == best.json


def test_ask_of_a_known_and_of_a_new_user(call, shop, run):
    asked = call("recommend", "ask", run, "--history", shop / "mine.csv", "-k", 3, "--json")
    assert asked.code == 0
    names = [row["item"] for row in asked.json]
    assert len(set(names) - {"i0", "i2", "i4"}) == 3
    said = call("recommend", "ask", run, "-k", 2)
    assert len(said.out.splitlines()) == 2


def test_evaluate_gives_rows_and_pairs(call, shop):
    said = call("recommend", "evaluate", "--ratings", shop / "ratings.csv", "--user", "user",
                "--item", "item", "--value", "stars", "--time", "time", "--scale", "0,5",
                "--shots", "1,3", "--json")  # fmt: skip
    assert said.code == 0
    told = said.json
    assert {row["shots"] for row in told["rows"]} == {1, 3}
    assert {"model", "control", "shots", "rmse", "mae", "ndcg10", "recall20", "interval95"} <= set(
        told["rows"][0]
    )
    assert all(pair["control"] != "quickstudy" for pair in told["paired"])


def test_evaluate_for_people_behind_a_cut(call, shop):
    said = call("recommend", "evaluate", "--ratings", shop / "ratings.csv", "--shots", "2",
                "--time-cut", "0.7")  # fmt: skip
    assert said.code == 0
    assert "nDCG@10 after" in said.out
    assert "time cut at 0.7" in said.out


def spoil(shop):
    """A table whose first rating is no number, and whose last user is missing."""
    columns = tastes.interactions()
    columns["stars"][0], columns["user"][-1] = "good", ""
    return tastes.write(shop / "bad.csv", columns)


def test_bad_rows_are_left_out_if_wanted(call, shop):
    said = call("recommend", "train", "--ratings", spoil(shop), "--leave-out-bad", "--out",
                shop / "clean", "--json")  # fmt: skip
    assert said.code == 0
    assert said.json["interactions"] == 60 * 12 - 2
    assert said.json["report"][0].startswith("left out 2 of 720 rows: ")
    assert "note: left out 2 of 720 rows" in said.err


def test_a_shop_is_written_and_can_be_read(call, tmp_path):
    size = ("--users", 60, "--items", 90, "--interactions", 900)
    made = call("recommend", "shop", tmp_path / "made", *size, "--json")
    assert made.code == 0
    assert (made.json["users"], made.json["items"]) == (60, 90)
    tables = [tmp_path / "made" / f"{name}.csv" for name in ("interactions", "items", "users")]
    written = [path.read_bytes() for path in tables]
    assert written[0].count(b"\n") == made.json["interactions"] + 1
    told = call("recommend", "train", "--ratings", tables[0], "--items", tables[1], "--out",
                tmp_path / "run", "--json")  # fmt: skip
    assert told.json["feedback"] == "implicit"
    assert told.json["items"] == 90
    again = call("recommend", "shop", tmp_path / "made", *size)
    assert again.code == 2
    assert "--overwrite replaces it" in again.err
    again = call("recommend", "shop", tmp_path / "made", *size, "--overwrite")
    assert "next: quickstudy recommend train" in again.out
    assert [path.read_bytes() for path in tables] == written


def test_learners_are_judged_beside_ours(call, shop):
    said = call("recommend", "evaluate", "--ratings", shop / "ratings.csv", "--shots", "2",
                "--time-cut", "0.7", "--learner", "r2d2", "--learner", "R2D2",
                "--json")  # fmt: skip
    rows = {row["model"]: row for row in said.json["rows"]}
    assert not rows["R2D2"]["control"]
    assert rows["R2D2"]["ndcg10"] > 0
    assert rows["R2D2"]["users"] == rows["quickstudy"]["users"]
    assert rows["popularity"]["control"]
    assert "R2D2" not in {pair["control"] for pair in said.json["paired"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "--ratings", "ratings.csv", "--shots", "x"], "--shots must be numbers"),
        (["evaluate", "--ratings", "ratings.csv", "--scale", "1"], "--scale must be two numbers"),
        (["evaluate", "--ratings", "ratings.csv", "--by", "shop"], "--by must be"),
        (["evaluate", "--ratings", "ratings.csv", "--learner", "R3"], "a learner must be one of"),
        (["evaluate", "--ratings", "none.csv"], "no such table"),
        (["train", "--ratings", "ratings.csv", "--out", "run"], "--overwrite replaces it"),
        (
            ["train", "--ratings", "ratings.csv", "--scale", "0,90", "--out", "x"],
            "nothing to learn a ranking from",
        ),
        (["evaluate", "--ratings", "ratings.csv", "--seeds", "0"], "--seeds must be at least 1"),
        (["evaluate", "--ratings", "latin.csv"], "UTF-8"),
        (["evaluate", "--ratings", "bad.csv"], "1 where 'stars' is no number (row 0: 'good')"),
        (["train", "--ratings", "bad.csv", "--out", "x"], "leave_out_bad=True, --leave-out-bad"),
        (["top", "run"], "either --history FILE or --state STATE"),
        (["top", "run", "--history", "ratings.csv"], "a history must be one user's, got 60"),
        (["shop", "made", "--items", "3"], "36 items at least, got 3"),
        (["top", "nowhere", "--history", "mine.csv"], "no recommender in nowhere"),
        (["top", "run", "--history", "mine.csv", "-k", "0"], "k must be at least 1"),
        (["ask", "run", "-k", "0"], "k must be at least 1"),
        (["top", "run", "--state", "mine.csv"], "does not begin as a quickstudy"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, shop, run, arguments, said, monkeypatch):
    monkeypatch.chdir(shop)
    spoil(shop)
    (shop / "latin.csv").write_bytes("user,item\nJürgen,x\nb,y\n".encode("latin-1"))
    result = call("recommend", *arguments)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert said in result.err
    assert result.err.count("\n") == 1


@pytest.fixture(scope="module")
def sold(tmp_path_factory, call_once):
    """A made-up shop on disk, and a recommender of it."""
    folder = tmp_path_factory.mktemp("sold")
    call_once("recommend", "shop", folder / "shop", "--users", 200, "--items", 150,
              "--interactions", 5000)  # fmt: skip
    tables = folder / "shop" / "interactions.csv", folder / "shop" / "items.csv"
    call_once("recommend", "train", "--ratings", tables[0], "--items", tables[1], "--out",
              folder / "run")  # fmt: skip
    tastes.write(folder / "mine.csv", {"item": ["bag 01", "hat 02"]})
    tastes.write(folder / "first.csv", {"user": ["u001", "x"], "item": ["mug 00", "mug 01"]})
    return folder


def test_a_category_is_opened(call, sold):
    said = call("recommend", "open", sold / "run", "--items", "category=mug", "--ratings",
                sold / "first.csv", "--history", sold / "mine.csv", "-k", 3, "--json")  # fmt: skip
    assert said.code == 0
    assert said.json["interactions"] == 2
    assert said.json["report"] == ["1 of 2 users were not there in training"]
    assert [row["item"].split()[0] for row in said.json["top"]] == ["mug"] * 3
    wrong = call("recommend", "open", sold / "run", "--items", "category=mugs", "--history",
                 sold / "mine.csv")  # fmt: skip
    assert wrong.code == 2
    assert "no tag 'category=mugs'; near it are category=mug" in wrong.err


def test_evaluate_by_category_tells_both_protocols(call, shop):
    tastes.write(shop / "many.csv", tastes.interactions(users=200))
    said = call("recommend", "evaluate", "--ratings", shop / "many.csv", "--items",
                shop / "items.csv", "--by", "category", "--shots", "5", "--json")  # fmt: skip
    assert said.code == 0
    for told in (said.json, said.json["time_cut"]):
        assert {row["model"] for row in told["rows"]} >= {"quickstudy", "popularity"}
        assert told["paired"]


def test_numbers_may_tell_categories(call, shop):
    columns = tastes.items()
    columns["shelf"] = [7 if kind == "odd" else 3 for kind in columns.pop("kind")]
    ratings = tastes.write(shop / "many.csv", tastes.interactions(users=200))
    shelves = tastes.write(shop / "shelves.csv", columns)
    said = call("recommend", "evaluate", "--ratings", ratings, "--items", shelves, "--by",
                "category", "--category", "shelf", "--shots", "5", "--no-time-cut",
                "--json")  # fmt: skip
    assert said.code == 0
    assert set(said.json["categories"]) == {"3", "7"}


def test_evaluate_by_item_for_people(call, sold):
    tables = sold / "shop" / "interactions.csv", sold / "shop" / "items.csv"
    said = call("recommend", "evaluate", "--ratings", tables[0], "--items", tables[1], "--by",
                "item")  # fmt: skip
    assert said.code == 0
    assert "20% of the items never seen" in said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "category"], "new categories need a column of the items"),
        (["--by", "category", "--learner", "ANIL"], "--learner goes with --by user"),
        (["--category", "kind"], "--category goes with --by category"),
        (["--by", "item", "--shots", "3"], "--by item takes no --shots"),
        (["--time-cut", "0.5", "--no-time-cut"], "either --time-cut or --no-time-cut"),
        (["--time-cut", "1.5"], "between 0 and 1, got 1.5"),
    ],
)
def test_wishes_that_do_not_go_together(call, shop, arguments, said):
    result = call("recommend", "evaluate", "--ratings", shop / "ratings.csv", *arguments)
    assert result.code == 2
    assert said in result.err


def test_without_categories_no_user_is_stored(call, shop):
    said = call("recommend", "train", "--ratings", shop / "ratings.csv", "--no-categories", "--out",
                shop / "nameless")  # fmt: skip
    assert said.code == 0
    stored = (shop / "nameless" / "recommender.safetensors").read_bytes()
    assert b"i17" in stored
    assert b"u17" not in stored
    refused = call("recommend", "open", shop / "nameless", "--items", "kind=odd", "--history",
                   shop / "mine.csv")  # fmt: skip
    assert refused.code == 2

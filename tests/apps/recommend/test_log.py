import numpy as np
import pytest

from quickstudy.apps.recommend import interactions
from quickstudy.errors import DataError


def rows(**columns):
    return {"user": ["a", "a", "b"], "item": ["x", "y", "x"], **columns}


def test_usual_names_are_found_in_any_case():
    log = interactions({"userId": [1, 2], "Movie_ID": [7, 8], "Rating": [1.0, 5.0], "Date": [3, 4]})
    assert (log.users, log.items) == (["1", "2"], ["7", "8"])
    assert log.value.tolist() == [1.0, 5.0]
    assert log.time.tolist() == [3.0, 4.0]


def test_told_columns_come_before_usual_names():
    log = interactions(
        {"who": ["a", "b"], "user": ["x", "y"], "what": ["p", "q"]}, user="who", item="what"
    )
    assert (log.users, log.items) == (["a", "b"], ["p", "q"])


@pytest.mark.parametrize(
    ("scale", "values", "liked"),
    [
        (None, [0.5, 4.0, 5.0], [False, True, True]),
        ((0, 10), [7.0, 8.0, 3.0], [False, True, False]),
        ((1, 5), [3.0, 4.0, 5.0], [False, True, True]),
    ],
)
def test_liked_is_the_upper_part_of_the_scale(scale, values, liked):
    log = interactions(rows(rating=values), scale=scale)
    assert log.liked.tolist() == liked


def test_without_ratings_everything_was_liked_and_without_times_rows_are_in_order():
    log = interactions(rows())
    assert log.scale is None
    assert log.liked.all()
    assert log.time.tolist() == [0, 1, 2]


def test_ratings_that_are_all_alike_say_nothing():
    log = interactions(rows(rating=[3, 3, 3]))
    assert log.scale is None
    assert "implicit" in log.report[0]


def test_the_latest_word_counts():
    log = interactions(
        {"user": ["a", "b", "a"], "item": ["x", "y", "x"], "rating": [5, 3, 1], "time": [9, 1, 2]}
    )
    assert sorted(zip(log.user.tolist(), log.value.tolist(), strict=True)) == [(0, 5.0), (1, 3.0)]
    assert "1 of 3 rows repeat" in log.report[0]


def test_dates_are_seconds_whatever_the_zone():
    log = interactions(
        rows(date=["2020-01-01", "2020-01-01T12:00:00Z", "2020-01-01T12:00:00+02:00"])
    )
    assert (log.time - log.time[0]).tolist() == [0, 12 * 3600, 10 * 3600]


def test_more_items_can_be_catalogued_and_none_moves():
    log = interactions(rows()).catalogued(["new", "y"])
    assert log.items == ["new", "y", "x"]
    assert [log.items[place] for place in log.item] == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"user": [1, 2], "thing": [1, 2]}, {}, "no column that looks like the item"),
        (rows(rating=["good", "1", "2"]), {}, "1 where 'rating' is no number .row 0: 'good'"),
        (rows(rating=[1.0, np.nan, 2.0]), {}, "1 where 'rating' is missing .row 1: nan"),
        (rows(rating=[1.0, 9.0, 2.0]), {"scale": (0, 5)}, "on the scale 0 to 5 .row 1: 9"),
        (rows(rating=[1.0, 4.0, 2.0]), {"scale": (5, 0)}, "a lower and a higher number"),
        (rows(time=["1/2/2020", "x", "y"]), {}, "date .row 0: '1/2/2020', row 1: 'x'"),
        (rows(rating=[1.0, 1e300, np.inf]), {}, "2 where 'rating' is not finite .row 1: 1e.300"),
        (rows(rating=[[1], [2], [3]]), {}, "value column 'rating' must be numbers, got list"),
        (rows(time=[[1], [2], [3]]), {}, "time column 'time' must be numbers or dates, got list"),
        ({"user": [[1], [2]], "item": ["x", "y"]}, {}, "'user' must be text, numbers or dates"),
        (rows(rating=[None, None, None]), {"leave_out_bad": True}, "3 of 3 rows: .*mend them$"),
        (
            {"user": ["a", "b", None], "item": ["x", "x", "y"]},
            {"leave_out_bad": True},
            "2 items at least, got 2 and 1",
        ),
        ({"user": [], "item": []}, {}, "at least one row, got none"),
        (rows(), {"scale": (0, 5)}, "a scale needs a column of values"),
        (rows(), {"user": "usr"}, "did you mean 'user'"),
        (rows(), {"user": "item"}, "columns of their own"),
        ({"user": ["a", "a"], "item": ["x", "y"]}, {}, "2 users and 2 items"),
    ],
)
def test_bad_input_is_one_clear_error(columns, options, said):
    with pytest.raises(DataError, match=said):
        interactions(columns, **options)


BAD = {
    "user": ["a", None, "b", "b", "a", " ", "c", "c"],
    "item": ["x", "x", "y", "", "y", "x", "x", "y"],
    "rating": ["5", "4", "n/a", "3", "1", "2", "inf", "4.5"],
    "time": ["2020-01-01", "2020-01-02", "2020-01-03", "soon", "", "2020-01-06", "2020-01-07",
             "2020-01-08T06:00:00+06:00"],
}  # fmt: skip


def test_all_bad_rows_are_told_at_once():
    with pytest.raises(DataError) as error:
        interactions(BAD)
    assert str(error.value) == (
        "this dict has bad rows, 6 of 8 rows: 2 where 'user' is missing (row 1: nothing, "
        "row 5: ' '); 1 where 'item' is missing (row 3: ''); 2 where 'rating' is no number "
        "(row 2: 'n/a', row 6: 'inf'); 1 where 'time' is missing (row 4: ''); 1 where 'time' is "
        "no number or ISO 8601 date (row 3: 'soon'); mend them, or leave them out: "
        "leave_out_bad=True, --leave-out-bad"
    )


def test_bad_rows_are_left_out_if_wanted_and_that_is_said():
    more = {name: [*column, column[0]] for name, column in BAD.items()}
    more["user"][-1] = "b"
    log = interactions(more, leave_out_bad=True)
    told = [(log.users[u], log.items[i]) for u, i in zip(log.user, log.item, strict=True)]
    assert told == [("a", "x"), ("c", "y"), ("b", "x")]
    assert log.value.tolist() == [5, 4.5, 5]
    assert (log.time[1] - log.time[0]) / 86_400 == 7
    assert log.report[0].startswith("left out 6 of 9 rows: 2 where 'user' is missing (row 1: ")


def test_good_rows_alone_say_nothing_and_are_as_without_the_option():
    columns = rows(rating=[1.0, 4.0, 2.0], time=[3, 1, 2])
    assert interactions(columns, leave_out_bad=True).report == ()
    for one, other in zip(
        interactions(columns)[:4], interactions(columns, leave_out_bad=True)[:4], strict=True
    ):
        assert np.array_equal(one, other)


def test_what_is_off_the_scale_can_be_left_out():
    log = interactions(rows(rating=[1.0, 9.0, 2.0]) | {"item": ["x", "y", "z"]},
                       scale=(0, 5), leave_out_bad=True)  # fmt: skip
    assert log.value.tolist() == [1, 2]
    assert "1 where 'rating' is not on the scale 0 to 5 (row 1: 9)" in log.report[0]


def test_only_the_first_five_rows_of_a_fault_are_told():
    columns = {"user": list("abcdefgh"), "item": list("xyxyxyxy"), "rating": ["?"] * 7 + ["1"]}
    with pytest.raises(DataError, match=r"7 where 'rating' .* row 4: '\?', \.\.\.\)") as error:
        interactions(columns)
    assert "row 5" not in str(error.value)


def test_a_large_file_that_turns_bad_late(tmp_path):
    """A million rows; kinds of columns are not settled by how a file begins."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, 50_000, 10**6), random.integers(0, 10_000, 10**6)
    path = tmp_path / "sales.csv"
    lines = [f"{u},sku{i},{1 + (u + i) % 5},{n}\n" for n, (u, i) in enumerate(
        zip(user.tolist(), item.tolist(), strict=True))]  # fmt: skip
    lines[900_000] = f"{user[900_000]},sku1,good,900000\n"
    lines[999_999] = ",sku1,4,yesterday\n"
    path.write_text("user,item,rating,time\n" + "".join(lines))
    with pytest.raises(DataError, match=r"2 of 1000000 rows: .* \(row 900000: 'good'\)"):
        interactions(path)
    log = interactions(path, leave_out_bad=True)
    pairs = np.unique(np.stack([user, item])[:, np.delete(np.arange(10**6), [900_000, 999_999])],
                      axis=1)  # fmt: skip
    assert len(log.user) == pairs.shape[1]
    assert log.scale == (1, 5)
    assert (len(log.users), len(log.items)) == (len(np.unique(pairs[0])), len(np.unique(pairs[1])))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a table: Empty CSV file"),
        (b"user,item\n", "at least one row, got none below its column names"),
        ("user,item\nJürgen,x\nb,y\n".encode("latin-1"), "'user' .* bytes that are not UTF-8"),
        ("user,item,rating\na,x,½\nb,y,1\n".encode("latin-1"), "must be numbers, got bytes that"),
        ("user,item,time\na,x,März\nb,y,1\n".encode("latin-1"), "or dates, got bytes that are"),
        ("üser,item\na,x\nb,y\n".encode("latin-1"), "must be UTF-8, got names of columns"),
        (b"user,item\na,x\nb\n", "Expected 2 columns, got 1"),
        (b"user,item\na,x\na,x\n", "2 users and 2 items at least"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, content, said):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    for leave_out_bad in (False, True):
        with pytest.raises(DataError, match=said) as error:
            interactions(path, leave_out_bad=leave_out_bad)
        assert "\n" not in str(error.value)

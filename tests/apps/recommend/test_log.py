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
        (rows(rating=["good", "1", "2"]), {}, "the text 'good' in row 0"),
        (rows(rating=[1.0, np.nan, 2.0]), {}, "no missing values"),
        (rows(rating=[1.0, 9.0, 2.0]), {"scale": (0, 5)}, "got 9 in row 1"),
        (rows(rating=[1.0, 4.0, 2.0]), {"scale": (5, 0)}, "a lower and a higher number"),
        (rows(time=["1/2/2020", "x", "y"]), {}, "got '1/2/2020' in row 0"),
        (rows(), {"scale": (0, 5)}, "a scale needs a column of values"),
        (rows(), {"user": "usr"}, "did you mean 'user'"),
        (rows(), {"user": "item"}, "columns of their own"),
        ({"user": ["a", "a"], "item": ["x", "y"]}, {}, "two users and two items"),
    ],
)
def test_bad_input_is_one_clear_error(columns, options, said):
    with pytest.raises(DataError, match=said):
        interactions(columns, **options)

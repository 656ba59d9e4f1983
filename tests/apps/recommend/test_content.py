import numpy as np
import pytest

from quickstudy.apps.recommend import items
from quickstudy.apps.recommend.content import like
from quickstudy.errors import DataError

FILMS = {
    "item": ["a", "b", "c"],
    "genres": ["Action|War", "War", ""],
    "title": ["A war (1944)", "Peace (1960)", "Old war (1945)"],
    "price": [1.0, None, 9.0],
}


def test_each_kind_of_column_becomes_what_it_is():
    content = items({**FILMS, "sold": [True, False, True]})
    assert list(content.tags) == ["genres=Action", "genres=War", "sold=False", "sold=True"]
    assert content.numbers.shape == (3, 2 * 12)  # the price, and the year of the title


def test_rows_have_length_one_or_nothing():
    content = items(FILMS)
    kinds = np.linalg.norm(content.kinds.toarray(), axis=1)
    assert kinds == pytest.approx([1, 1, 0], abs=1e-6)
    assert np.linalg.norm(content.numbers, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


def test_near_numbers_are_alike():
    content = items({"item": list("abc"), "price": [1.0, 2.0, 9.0]})
    alike = content.numbers @ content.numbers.T
    assert alike[0, 1] > alike[0, 2]


def test_items_come_in_the_order_that_is_asked_for_and_unknown_ones_are_empty():
    content = items(FILMS)
    moved = content.of(["c", "nobody", "b"])
    assert moved.kinds.toarray().tolist()[2] == content.kinds.toarray().tolist()[1]
    assert not moved.kinds[1].nnz
    assert not moved.numbers[1].any()


def test_lists_are_tags():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"item": ["a", "b"], "tags": [["x", "y"], ["y"]]})
    assert list(items(table).tags) == ["tags=x", "tags=y"]


def test_an_item_has_one_row():
    with pytest.raises(DataError, match="'a' twice"):
        items({"item": ["a", "a"], "price": [1, 2]})


def test_an_item_without_a_name_is_said():
    with pytest.raises(DataError, match=r"no missing values, got 1 in 'item' \(the first in row 1"):
        items({"item": ["a", None], "price": [1, 2]})


def test_a_column_that_is_not_there_is_said():
    with pytest.raises(DataError, match="did you mean 'price'"):
        items({"item": ["a", "b"], "price": [1, 2]}, columns=["prices"])


def test_other_items_are_read_as_the_first_were():
    first = items({**FILMS, "sold": [True, False, True]})
    later = like(first, {**FILMS, "sold": [True, False, True], "item": ["x", "y", "z"]})
    assert (first.kinds != later.kinds).nnz == 0
    assert (first.tokens != later.tokens).nnz == 0
    np.testing.assert_array_equal(first.numbers, later.numbers)


def test_what_the_first_table_did_not_have_is_no_feature():
    later = like(items(FILMS), {"item": ["x"], "genres": ["Noir"], "title": ["?"], "price": [None]})
    assert not later.kinds.nnz
    assert not later.tokens.nnz
    assert not later.numbers.any()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"item": ["x"], "genres": ["War"], "title": ["?"]}, "'price'"),
        ({"item": ["x"], "genres": ["War"], "title": ["?"], "price": ["dear"]}, "must be numbers"),
    ],
)
def test_other_columns_than_the_first_are_refused(table, said):
    with pytest.raises(DataError, match=said):
        like(items(FILMS), table)


def test_whole_numbers_of_categories_are_kinds():
    table = {"item": list("abcdefgh"), "category": [1, 1, 2, 2, 1, 2, 1, 2], "price": [1] * 8}
    assert list(items(table).tags) == ["category=1", "category=2"]
    told = items({**table, "shelf": [3, 4] * 4}, kinds=["shelf"])
    assert list(told.tags) == ["category=1", "category=2", "shelf=3", "shelf=4"]


def test_columns_whose_names_have_the_same_beginning_are_told_apart():
    table = {"item": list("abcd"), "a": ["x", "y", "x", "y"], "a=b": ["x", "x", "y", "y"]}
    coding = items(table).coding
    assert coding.values("a") == coding.values("a=b") == ["x", "y"]

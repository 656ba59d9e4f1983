import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quickstudy.data import Columns, Episodes, Groups, table
from quickstudy.data.frames import is_table
from quickstudy.errors import DataError

SALES = {
    "shop": ["b", "a", "b", "a", "c", "c"],
    "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "open": [True, False, True, True, False, True],
    "note": ["x", "y", "x", "y", "x", "y"],
    "sold": [6, 5, 4, 3, 2, 1],
}


@pytest.fixture(autouse=True)
def arrow(need):
    return need.package("pyarrow")


def generator():
    return torch.Generator().manual_seed(0)


def written(folder, columns, kind):
    import pyarrow as pa
    from pyarrow import csv, parquet

    path = folder / f"table.{kind}"
    (csv.write_csv if kind == "csv" else parquet.write_table)(pa.table(columns), str(path))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "pq", "CSV"])
def test_files_become_rows_by_group(kind, tmp_path):
    path = written(tmp_path, SALES, kind.lower()).rename(tmp_path / f"my.{kind}")
    found = table(path, targets="sold", group="shop")
    assert found.pool.names == ("a", "b", "c")
    assert found.features == ("price", "open"), "all numbers and truth values but the target"
    assert (found.targets, found.group, found.outputs) == (("sold",), "shop", 1)
    assert found.pool.images.tolist() == [
        [2, 0, 5], [4, 1, 3], [1, 1, 6], [3, 1, 4], [5, 0, 2], [6, 1, 1]
    ]  # fmt: skip
    assert found.pool.images.dtype == torch.float64
    assert is_table(path)
    assert not is_table(tmp_path)


def test_columns_come_in_the_order_they_are_named_in():
    found = table(SALES, targets=["sold", "price"], group="shop", features=["open"])
    assert found.pool.images[0].tolist() == [0, 5, 2]
    assert found.outputs == 2


def test_frames(need):
    pandas = need.package("pandas")
    frame = pandas.DataFrame(SALES, index=[5, 4, 3, 2, 1, 0])
    frame["shop"] = frame["shop"].astype("category")
    found = table(frame, targets="sold", group="shop")
    assert found.features == ("price", "open"), "an index without a name is no feature"
    assert torch.equal(found.pool.images, table(SALES, "sold", "shop").pool.images)
    classes = table(frame, targets="shop", features=["price"])
    assert (classes.pool.names, classes.outputs) == (("a", "b", "c"), None)


def test_an_arrow_table_and_what_exports_one(arrow):
    class Exports:
        def __arrow_c_stream__(self, requested_schema=None):
            return arrow.table(SALES).__arrow_c_stream__(requested_schema)

    for source in (arrow.table(SALES), Exports()):
        found = table(source, targets="sold", group="shop")
        assert torch.equal(found.pool.images, table(SALES, "sold", "shop").pool.images)


@pytest.mark.parametrize("layout", ["string", "large_string", "string_view"])
def test_text_of_any_layout(arrow, layout):
    """polars hands out views, pandas large strings, and both categories."""
    kinds = arrow.array(["b", "a", "c", ""]).cast(getattr(arrow, layout)())
    places = arrow.array([0, 1, 0, 1, 2, 2], arrow.uint32())
    coded = arrow.DictionaryArray.from_arrays(places, kinds)
    chunks = arrow.chunked_array([coded[:2], coded[2:]])
    expected = table(SALES, "sold", "shop").pool
    for text in (coded, chunks, arrow.array(SALES["shop"]).cast(kinds.type)):
        held = arrow.table({"shop": text, "price": SALES["price"], "sold": SALES["sold"]})
        assert table(held, "sold", "shop").pool.names == expected.names
        assert table(held, "shop").pool.counts.tolist() == [2, 2, 2]
    gap = arrow.DictionaryArray.from_arrays(arrow.array([0, 1, 0, 3, 2, 2]), kinds)
    with pytest.raises(DataError, match=r"got 1 in 'shop' \(the first in row 3\)"):
        table({"shop": gap, "price": SALES["price"], "sold": SALES["sold"]}, "sold", "shop")


def test_categories_of_numbers_are_classes(arrow):
    kinds = arrow.DictionaryArray.from_arrays(arrow.array([0, 1, 0]), arrow.array([7, 5, 6]))
    assert table({"x": [1.0, 2.0, 3.0], "kind": kinds}, "kind").pool.names == ("5", "7")


def test_groups_are_in_the_order_of_their_values():
    found = table({"id": [10, 9, 10], "x": [1, 2, 3], "y": [1, 2, 3]}, "y", "id")
    assert found.pool.names == ("9", "10")


def test_a_groups_name_is_the_same_whatever_type_its_column_has(arrow):
    """A column with one missing value, or a detour through another program, turns to floats."""
    from decimal import Decimal

    held = {"x": [1, 2, 3, 4], "y": [1, 2, 3, 4]}
    whole = [10, 2, 0, -3]
    for keys in (
        whole,
        list(map(float, whole)),
        arrow.array(whole, arrow.float32()),
        list(map(Decimal, ("10.00", "2.00", "0.00", "-3.00"))),
    ):
        assert table(held | {"id": keys}, "y", "id").pool.names == ("-3", "0", "2", "10")
    assert table(held | {"id": [2.5, 1.0, 2.5, 1e20]}, "y", "id").pool.names == (
        "1", "2.5", "100000000000000000000",
    )  # fmt: skip
    found = table(held | {"id": [0.0, -0.0, 1.0, float("inf")]}, "y", "id").pool
    assert (found.names, found.counts.tolist()) == (("0", "1", "inf"), [2, 1, 1])
    assert table(held | {"id": ["1", "1.0", "1", "1.0"]}, "y", "id").pool.names == ("1", "1.0")


names = st.lists(st.text("abcxyz", min_size=1, max_size=5), min_size=4, max_size=4, unique=True)
number = st.one_of(st.integers(-(2**50), 2**50), st.floats(-1e9, 1e9).filter(lambda v: v != 0))


@given(st.data(), names, st.sampled_from(["csv", "parquet", "memory"]))
def test_numbers_come_back(tmp_path_factory, data, columns, kind):
    count = data.draw(st.integers(1, 12))
    keys = data.draw(st.lists(st.integers(-5, 5), min_size=count, max_size=count))
    values = [
        data.draw(st.lists(number.map(float), min_size=count, max_size=count)) for _ in range(3)
    ]
    group, *others = columns
    held = {group: keys, **dict(zip(others, values, strict=True))}
    source = held if kind == "memory" else written(tmp_path_factory.mktemp("t"), held, kind)
    found = table(source, targets=others[2], group=group, features=others[:2])
    order = sorted(range(count), key=keys.__getitem__)
    assert found.pool.images.tolist() == [[column[i] for column in values] for i in order]
    assert found.pool.names == tuple(map(str, sorted(set(keys))))
    assert found.pool.counts.tolist() == [keys.count(key) for key in sorted(set(keys))]


@pytest.mark.parametrize("labels", [["b", "a", "b", "a", "c", "c"], [True, False] * 3])
def test_without_a_group_the_target_is_the_class(labels):
    found = table(SALES | {"kind": labels}, targets="kind")
    assert found.pool.names == tuple(map(str, sorted(set(labels))))
    assert found.features[:2] == ("price", "open")
    tasks = found.tasks(found.columns(), way=2, shot=1, queries=1)
    assert isinstance(tasks, Episodes)
    assert tasks.sample(3, generator()).support.y.shape == (3, 2, 2)


MISSING = {"shop": ["a", "a", ""], "x": [1.0, None, float("nan")], "y": [1, 2, 3]}


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({}, {"targets": "slod"}, "no target 'slod'; did you mean 'sold'? columns: shop, price"),
        ({}, {"targets": "?"}, "no target '?'; columns: shop"),
        ({}, {"group": "shops"}, "no group 'shops'; did you mean 'shop'?"),
        ({}, {"features": ["prize"]}, "no feature 'prize'; did you mean 'price'?"),
        ({}, {"targets": []}, "at least one target column, got none"),
        ({}, {"features": []}, "at least one feature column of numbers, got only shop, price"),
        ({}, {"features": ["price", "sold"]}, "'sold' is two"),
        ({}, {"targets": ["sold", "sold"]}, "'sold' is two"),
        ({}, {"group": None}, "target 'sold' holds numbers, so a group column has to say"),
        ({}, {"group": None, "targets": ["note", "shop"]}, "note, shop need a group column"),
        ({}, {"features": ["note"]}, "feature 'note' must be numbers, got the text 'x' in row 0"),
        ({}, {"targets": "note"}, "target 'note' must be numbers, got the text 'x' in row 0"),
        ({"price": ["1", "2", "3", "", "four", "5"]}, {"features": ["price"]},
         "feature 'price' must be numbers, got the text 'four' in row 4"),
        ({"price": [[1]] * 6}, {"features": ["price"]}, "must be numbers, got list<"),
        ({"shop": [[1]] * 6}, {}, "column 'shop' must be text, numbers or dates, got list<"),
        ({"price": [1.0, 2, float("inf"), 4, 5, 6]}, {}, "must be finite, got infinity in row 2"),
        (MISSING, {"targets": "y"}, "no missing values, got 2 in 'x' (the first in row 1), 1 in "
         "'shop' (the first in row 2) of 3 rows; fill them, or leave the rows out"),
        (MISSING, {"targets": "shop", "group": None}, "got 1 in 'shop' (the first in row 2)"),
        ({"price": [1, 2]}, {}, "cannot be read as a table: Column 1 named price expected"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_used_are_one_clear_line(columns, asked, message):
    source = columns if columns is MISSING else SALES | columns
    with pytest.raises(DataError) as error:
        table(source, **{"targets": "sold", "group": "shop"} | asked)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "t.csv cannot be read as a table: Empty CSV file"),
        ("t.csv", b"shop,x,y\n", "t.csv must hold at least one row, got none below its column"),
        ("t.csv", b"shop,x,y\na,1\n", "cannot be read as a table: CSV parse error: Expected 3"),
        ("t.csv", b"shop,x,x\na,1,2\n", "must have different names, got two 'x'"),
        ("t.csv", b"\xff\xfe\x00\x01", "cannot be read as a table"),
        ("t.parquet", b"PAR1 but no more", "cannot be read as a table: "),
        ("t.parquet", b"", "cannot be read as a table: "),
        ("t.txt", b"shop,x,y\n", "a table must be a file .csv, .parquet, .pq, got"),
    ],
)
def test_files_that_are_no_table(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        table(tmp_path / name, targets="y", group="shop")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no such table: .*none\.csv"):
        table(tmp_path / "none.csv", targets="y")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"a table must be a file \.csv"):
        table(tmp_path / "folder.csv", targets="y")
    for other in (7, None, [1, 2], np.zeros((2, 2))):
        with pytest.raises(DataError, match="cannot be read as a table"):
            table(other, targets="y")


def test_two_columns_of_one_name_in_parquet(arrow, tmp_path):
    from pyarrow import parquet

    held = arrow.table([[1, 2], [3, 4], ["a", "b"]], names=["x", "x", "shop"])
    parquet.write_table(held, str(tmp_path / "t.parquet"))
    with pytest.raises(DataError, match="different names, got two 'x'"):
        table(tmp_path / "t.parquet", targets="x", group="shop")


def test_without_pyarrow_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'quickstudy\[tables\]'"):
        table(SALES, targets="sold", group="shop")


def many(groups=20, rows=6):
    random = np.random.default_rng(0)
    count = groups * rows
    x = random.normal(50, 10, (count, 2))
    return table(
        {"g": np.repeat(np.arange(groups), rows), "a": x[:, 0], "b": x[:, 1] * 1e6,
         "y": x.sum(1) * 3 - 7, "z": random.normal(0, 1e-3, count)},
        targets=["y", "z"], group="g",
    )  # fmt: skip


def test_whole_groups_are_split():
    whole = many()
    parts = whole.split()
    assert [part.pool.classes for part in parts] == [14, 3, 3]
    names = [name for part in parts for name in part.pool.names]
    assert sorted(names) == sorted(whole.pool.names)
    assert whole.split()[0].pool.names == parts[0].pool.names
    assert whole.split(seed=1)[0].pool.names != parts[0].pool.names
    with pytest.raises(DataError, match=r"needs 3 groups, column 'g' has 2"):
        many(groups=2).split()
    with pytest.raises(DataError, match=r"needs 3 classes, column 'kind' has 2"):
        table({"x": [1, 2], "kind": ["a", "b"]}, "kind").split()


def test_statistics_are_those_of_meta_train():
    train, _, test = many().split()
    columns = train.columns()
    tasks = train.tasks(columns, shot=2, queries=4)
    assert isinstance(tasks, Groups)
    assert tasks.pool.images.dtype == torch.float32
    torch.testing.assert_close(tasks.pool.images.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(tasks.pool.images.std(0, correction=0), torch.ones(4))
    other = test.tasks(columns, shot=2, queries=4).pool.images
    assert other.mean(0).abs().max() > 1e-3, "meta-test has no say in them"
    torch.testing.assert_close(
        columns.in_units(other[:, 2:]), test.pool.images[:, 2:], rtol=1e-5, atol=1e-6
    )


@given(st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=2, max_size=9))
def test_units_there_and_back(values):
    rows = torch.tensor([[1.0, v, v] for v in values], dtype=torch.float64)
    rows[0, 0] = 0
    if len(set(values)) == 1:
        with pytest.raises(DataError, match=r"is .* in all"):
            Columns.of(rows, ["a"], ["b", "c"], "g")
        return
    columns = Columns.of(rows, ["a"], ["b", "c"], "g")
    back = columns.in_units(columns.standardised(rows[:, 1:], first=1))
    assert (back - rows[:, 1:]).abs().max() <= 1e-5 * max(map(abs, values))
    assert Columns.model_validate(columns.model_dump(mode="json")) == columns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [7] * 6}, "feature 'x' is 7 in all 6 rows of meta-train, so it cannot be standard"),
        ({"y": [0.5] * 6}, "target 'y' is 0.5 in all 6 rows of meta-train, .* nothing to predict"),
        ({"x": [1e200, -1e200] * 3}, r"feature 'x' spans -1e\+200 to 1e\+200, .* rescale it"),
    ],
)
def test_columns_without_variance(change, message):
    held = {"g": list("aabbcc"), "x": [1, 2, 3, 4, 5, 6], "y": [1, 2, 3, 4, 5, 6]}
    with pytest.raises(DataError, match=message):
        table(held | change, "y", "g").columns()


def test_columns_that_do_not_fit_together():
    good = {"group": "g", "features": ["a"], "targets": ["b"], "means": [0, 0]}
    assert Columns(**good, deviations=[1, 1]).outputs == 1
    for wrong in ([1], [1, 0], [1, float("nan")], [1, 1, 1]):
        with pytest.raises(ValidationError):
            Columns(**good, deviations=wrong)


def test_small_groups_are_left_out_only_where_that_is_said():
    held = {"g": list("aaabbbc"), "x": [1, 2, 3, 4, 5, 6, 7], "y": [1, 2, 3, 4, 5, 6, 7]}
    found = table(held, "y", "g")
    columns = found.columns()
    with pytest.raises(DataError, match=r"1 shot \+ 1 query need 2 rows, group 'c' has 1$"):
        found.tasks(columns, shot=1, queries=1)
    assert found.tasks(columns, shot=1, queries=1, leave_out_small=True).pool.names == ("a", "b")
    with pytest.raises(DataError, match="need 9 rows, group 'a' has 3"):
        found.tasks(columns, shot=4, queries=5, leave_out_small=True)


def test_a_table_is_read_by_the_columns_of_another():
    held = {"g": list("aabb"), "x": [1, 2, 3, 4], "z": [5, 6, 7, 9], "y": [7, 8, 9, 5]}
    first = table(held, ["y"], "g", ["x", "z"])
    turned = table({"more": [0, 0, 0, 1]} | held, ["y"], "g", ["more", "z", "x"])
    assert torch.equal(turned.read_as(first.columns()).pool.images, first.pool.images)
    assert first.read_as(first.columns()) is first
    as_feature = table(held, ["z"], "g", ["x", "y"]).read_as(first.columns())
    assert torch.equal(as_feature.pool.images, first.pool.images)
    assert (as_feature.features, as_feature.targets) == (("x", "z"), ("y",))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"features": ["z"]}, "no column 'x'; the table has z, y"),
        ({"group": "x", "features": ["z"]}, "the model knows 'g', got a table by 'x'"),
        ({"group": None, "targets": "g"}, "made of groups of 'g', got classes of 'g'"),
    ],
)
def test_a_table_that_lacks_a_column_of_another(asked, message):
    held = {"g": list("aabb"), "x": [1, 2, 3, 4], "z": [5, 6, 7, 9], "y": [7, 8, 9, 5]}
    columns = table(held, "y", "g", ["x", "z"]).columns()
    with pytest.raises(DataError, match=message):
        table(held, **{"targets": "y", "group": "g"} | asked).read_as(columns)


def test_classes_must_be_those_of_one_column():
    held = {"a": list("pqpq"), "b": list("rrss"), "x": [1, 2, 3, 4]}
    columns = table(held, "a").columns()
    with pytest.raises(DataError, match="the model knows 'a', got a table by 'b'"):
        table(held, "b").read_as(columns)
    with pytest.raises(DataError, match="made of classes of 'a', got groups of 'b'"):
        table({"y": [1, 2, 3, 4]} | held, "y", "b").read_as(columns)
    assert table(held, "a").read_as(columns).pool.names == ("p", "q")


def test_movielens(need):
    path = need.data("movielens_latest_small_ratings.parquet")
    found = table(path, targets="rating", group="userId", features=["movieId", "timestamp"])
    train, _, _ = found.split()
    source = train.tasks(train.columns(), shot=5, queries=10)
    task = source.sample(8, generator())
    assert task.support.x.shape == (8, 5, 2)
    assert int(found.pool.counts.min()) >= 20
    assert abs(float(source.pool.images.mean())) < 1e-3

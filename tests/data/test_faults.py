"""Columns read row by row."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from quickstudy.data.faults import bad_rows, missing_names, read_numbers, read_times
from quickstudy.data.frames import read_frame
from quickstudy.errors import DataError

ANY_TEXT = st.text(max_size=6) | st.sampled_from(["", " ", "1e999", "+5", "5.", ".5", "1,5", "0x1"])


def numbers(values):
    return read_numbers(read_frame({"a": values}), "column", "a")


@given(st.lists(st.floats().map(str) | st.integers().map(str) | ANY_TEXT | st.none(), min_size=1))
def test_text_is_a_number_where_python_says_so_and_it_is_finite(texts):
    values, faults = numbers([*texts, "x"])  # the last keeps the column text
    bad = set(bad_rows(faults).tolist())
    for row, text in enumerate(texts):
        if row in bad:
            assert np.isnan(values[row])
        else:
            assert values[row] == float(text)
    for row, text in enumerate(texts):
        plain = text is not None and text.isascii() and "_" not in text
        if plain and reads(text) and text.strip(" ") == text.strip():
            assert row not in bad


def reads(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


@given(
    st.lists(
        st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
        | st.datetimes(
            datetime(1900, 1, 2),
            datetime(2100, 1, 1),
            timezones=st.integers(-12, 12).map(lambda h: timezone(timedelta(hours=h))),
        ),
        min_size=1,
    )
)
def test_text_that_is_iso_8601_is_that_moment(moments):
    times, faults = read_times(read_frame({"a": [m.isoformat() for m in moments]}), "a")
    assert faults == []
    utc = UTC
    wanted = [(m if m.tzinfo else m.replace(tzinfo=utc)).timestamp() for m in moments]
    assert times == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["964982703", "964982704", "soon"], [964982703, 964982704, np.nan]),
        (["2000-07-30", "964982704", "2000-07-31"], [964915200, np.nan, 965001600]),
        (["1970-01-02", None, ""], [86400, np.nan, np.nan]),
        ([datetime(1970, 1, 2), None], [86400, np.nan]),
        ([3, None, 5], [3, np.nan, 5]),
        ([None, None], [np.nan, np.nan]),
        (["never", "soon"], [np.nan, np.nan]),
    ],
)
def test_times_of_all_kinds(values, wanted):
    times, faults = read_times(read_frame({"a": values}), "a")
    assert np.array_equal(times, wanted, equal_nan=True)
    assert bad_rows(faults).tolist() == np.flatnonzero(np.isnan(wanted)).tolist()


def test_true_and_false_are_numbers():
    values, faults = numbers([True, False, None])
    assert values[:2].tolist() == [1, 0]
    assert [str(fault) for fault in faults] == ["1 where 'a' is missing (row 2: nothing)"]


def test_long_text_is_told_in_short():
    (fault,) = numbers(["1", "x" * 500])[1]
    assert len(str(fault)) < 100


def test_names_of_any_kind_can_be_missing():
    for values, rows in (
        (["a", "", " ", None], [1, 2, 3]),
        ([1.0, np.nan, 2.0], [1]),
        ([1, None], [1]),
        (["a", "b"], []),
    ):
        faults = missing_names(read_frame({"a": values}), "a")
        assert bad_rows(faults).tolist() == rows


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_columns_may_be_separated_otherwise(tmp_path, need, mark):
    need.package("pyarrow")
    path = tmp_path / "t.csv"
    path.write_text(f"user{mark}item\na{mark}x, y\nb{mark}z\n", encoding="utf-8")
    frame = read_frame(path)
    assert frame.names == ["user", "item"]
    assert frame.arrow["item"].to_pylist() == ["x, y", "z"]


def test_utf_16_is_said(tmp_path, need):
    need.package("pyarrow")
    path = tmp_path / "t.csv"
    path.write_text("user,item\na,x\n", encoding="utf-16")
    with pytest.raises(DataError, match="it is UTF-16, not UTF-8"):
        read_frame(path)

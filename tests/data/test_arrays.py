import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from quickstudy.data import Episodes, from_arrays
from quickstudy.errors import DataError


@pytest.mark.parametrize(
    "x",
    [
        [[1, 2], [3, 4], [5, 6]],
        ((1, 2), (3, 4), (5, 6)),
        np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float64),
        np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int16),
        torch.tensor([[1, 2], [3, 4], [5, 6]]),
        torch.tensor([[1, 2], [3, 4], [5, 6]], dtype=torch.bfloat16),
        [torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([5, 6])],
        [np.array([1, 2]), np.array([3, 4]), np.array([5, 6])],
    ],
)
def test_all_kinds_of_arrays_become_float32(x):
    pool = from_arrays(x, ["b", "a", "b"])
    assert pool.images.dtype == torch.float32
    assert pool.images.tolist() == [[3, 4], [1, 2], [5, 6]]
    assert pool.names == ("a", "b")


def test_uint8_stays_and_is_copied():
    x = np.zeros((4, 1, 2, 2), np.uint8)
    x.setflags(write=False)
    pool = from_arrays(x, [0, 0, 1, 1])
    assert pool.images.dtype == torch.uint8
    pool.images[0] = 9
    assert x.max() == 0


@example(["a", "a\0", "", "\0"])
@given(st.lists(st.text(max_size=3), min_size=1, max_size=20))
def test_string_labels_are_sorted_names(labels):
    pool = from_arrays(np.arange(len(labels), dtype=float), np.array(labels, dtype=object))
    assert pool.names == tuple(sorted(set(labels)))
    for row, name in zip(pool.images.tolist(), pool.labels.tolist(), strict=True):
        assert labels[int(row)] == pool.names[name]


def test_integer_labels_sort_as_numbers():
    assert from_arrays([[0.0]] * 3, [10, 9, -1]).names == ("-1", "9", "10")


def test_names_say_what_the_integers_mean():
    pool = from_arrays([[1.0], [2.0]], torch.tensor([1, 0]), names=["cat", "dog"], groups="mm")
    assert pool.names == ("cat", "dog")
    assert pool.images.tolist() == [[2.0], [1.0]]
    assert pool.groups == ("m", "m")


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        ([[1.0], [2.0, 3.0]], [0, 1], "x must be an array whose rows have one shape"),
        ([[1.0], [float("nan")]], [0, 1], "NaN or infinity in 1 of 2 rows (row 1)"),
        (np.array([[np.inf], [-np.inf]]), [0, 1], "in 2 of 2 rows (row 0)"),
        (np.array([[1e300], [0]]), [0, 1], "in 1 of 2 rows (row 0)"),
        ([[1.0], [2.0]], [0, 1, 2], "agree in number, got 2 rows and 3 labels"),
        ([["a"], ["b"]], [0, 1], "x must be numbers, got strings"),
        ([[1j], [2j]], [0, 1], "x must be numbers, got complex numbers"),
        ([[object()], [None]], [0, 1], "x must be numbers, got Python objects"),
        ([], [], "at least one row of numbers, got shape [0]"),
        (np.zeros((2, 0)), [0, 1], "got shape [2, 0]"),
        (1.0, [0], "got shape []"),
        ([[1.0], [2.0]], [0.0, 1.0], "labels must be strings or integers, got float64"),
        ([[1.0], [2.0]], [True, False], "got bool"),
        ([[1.0], [2.0]], ["a", None], "labels must be of one kind, got NoneType and str"),
        ([[1.0], [2.0]], ["1", 1], "labels must be of one kind, got int and str"),
        ([[1.0], [2.0]], [[0], [1]], "labels must be [n], one a row, got shape [2, 1]"),
        ([[1.0], [2.0]], [None, None], "got Python objects"),
    ],
)
def test_what_is_no_data(x, labels, message):
    with pytest.raises(DataError) as error:
        from_arrays(x, labels)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "labels must be integers where names are given, got strings"),
        ([0, 2], "must lie in 0..1 for 2 names, got 0..2"),
        ([0, -1], "got -1..0"),
        (np.array([0, 2**63], np.uint64), "got 0..9223372036854775808"),
        ([0, 0], "got none for 'dog'"),
    ],
)
def test_labels_that_have_no_name(labels, message):
    with pytest.raises(DataError) as error:
        from_arrays([[1.0], [2.0]], labels, names=["cat", "dog"])
    assert message in str(error.value)


def test_arrays_become_tasks():
    x = np.random.default_rng(0).normal(size=(60, 3))
    pool = from_arrays(x, np.arange(60) % 6)
    task = Episodes(pool, way=3, shot=2, queries=4).sample(2, torch.Generator().manual_seed(0))
    assert task.query.x.shape == (2, 12, 3)
    assert {tuple(row) for row in task.query.x.reshape(-1, 3).tolist()} <= {
        tuple(row) for row in x.astype(np.float32).tolist()
    }

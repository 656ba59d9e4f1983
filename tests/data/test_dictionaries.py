import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import quickstudy as qs
from quickstudy.core import Task
from quickstudy.data import TaskList, as_task
from quickstudy.errors import TaskError

GOOD = {
    "support_x": [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]],
    "support_y": ["b", "a", "b"],
    "query_x": [[0.2, 0.8]],
    "query_y": ["b"],
}
LINE = GOOD | {"support_y": [0.0, 1.0, 0.5], "query_y": [0.2]}


@pytest.mark.parametrize("form", [np.array, torch.tensor, list, lambda v: [np.array(r) for r in v]])
def test_any_arrays_make_the_same_task(form):
    given_x = {key: form(GOOD[key]) for key in ("support_x", "query_x")}
    task = as_task(GOOD | given_x)
    assert isinstance(task, Task)
    assert task.support.x.tolist() == GOOD["support_x"]
    assert task.support.x.dtype == task.support.y.dtype == task.support.mask.dtype == torch.float32
    assert task.support.y.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert task.query.y.tolist() == [[0, 1]]
    assert task.support.mask.tolist() == [1, 1, 1]
    assert as_task(task) is task


@pytest.mark.parametrize("form", [np.array, torch.tensor, list])
def test_integers_are_classes_and_floats_are_values(form):
    task = as_task(GOOD | {"support_y": form([9, -2, 9]), "query_y": form([-2])})
    assert task.support.y.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert task.query.y.tolist() == [[1, 0]]
    task = as_task(LINE | {"support_y": form([0.5, 1.0, 2.0]), "query_y": form([3.0])})
    assert task.support.y.tolist() == [[0.5], [1.0], [2.0]]
    two = {"support_y": form([[1.0, 2.0]] * 3), "query_y": form([[3.0, 4.0]])}
    assert as_task(LINE | two).query.y.tolist() == [[3.0, 4.0]]


def test_bytes_are_scaled():
    black = np.zeros((2, 1, 4, 4), np.uint8)
    white = black + np.uint8(255)
    task = as_task(
        {"support_x": black, "support_y": [0, 1], "query_x": white, "query_y": [0, 0]}
    )  # fmt: skip
    assert task.support.x.max() == 0
    assert task.query.x.min() == 1


def test_more_ways_than_the_support_has_classes():
    task = as_task(GOOD | {"support_y": [3, 0, 3], "query_y": [3]}, way=5)
    assert task.support.y.argmax(1).tolist() == [3, 0, 3]
    assert task.query.y.shape == (1, 5)
    for labels in (["a", "b", "b"], [0, 5, 5], [-1, 0, 0]):
        with pytest.raises(TaskError, match=r"where way is 5, labels must be integers in 0\.\.4"):
            as_task(GOOD | {"support_y": labels, "query_y": labels[:1]}, way=5)
    with pytest.raises(TaskError, match="way is for classes, and these targets are floats"):
        as_task(LINE, way=5)


@given(st.data())
def test_labels_come_back(data):
    way = data.draw(st.integers(2, 5))
    kind = data.draw(st.sampled_from([st.integers(-(2**40), 2**40), st.text(max_size=4)]))
    labels = data.draw(st.lists(kind, min_size=way, max_size=way, unique=True))
    extra = data.draw(st.lists(st.sampled_from(labels), max_size=4))
    support = data.draw(st.permutations(labels + extra))
    query = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=6))
    task = as_task(
        {"support_x": np.arange(len(support)), "support_y": support,
         "query_x": np.arange(len(query)), "query_y": query}
    )  # fmt: skip
    known = sorted(labels)
    assert [known[i] for i in task.support.y.argmax(1).tolist()] == support
    assert [known[i] for i in task.query.y.argmax(1).tolist()] == query
    assert torch.equal(task.query.y.sum(1), torch.ones(len(query)))


floats = st.floats(-1e6, 1e6, width=32)


@given(st.data(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_values_come_back(data, rows, asked, d):
    shapes = {"support_x": (rows, 2), "support_y": (rows, d), "query_x": (asked, 2),
              "query_y": (asked, d)}  # fmt: skip
    drawn = {
        key: data.draw(arrays.arrays(np.float32, shape, elements=floats))
        for key, shape in shapes.items()
    }
    task = as_task(drawn)
    for key, array in drawn.items():
        half, part = key.split("_")
        np.testing.assert_array_equal(getattr(getattr(task, half), part), array)


BAD = {
    "query_y is missing": {"query_y": None},
    "support_x and query_y are missing": {"support_x": None, "query_y": None},
    "query_y is missing, 'query_labels' is none of them (did you mean query_y?)": {
        "query_y": None, "query_labels": ["b"]},
    "support_y must hold one target for each row of support_x, got 2 for 3 rows": {
        "support_y": ["a", "b"]},
    "query_y must hold one target for each row of query_x, got 2 for 1 row": {
        "query_y": ["b", "a"]},
    "support_y must hold one target for each row of support_x, got 1 for 3 rows": {
        "support_y": ["b"]},
    "query_y must hold labels that support_y holds too, got 'c'; it holds 'a', 'b'": {
        "query_y": ["c"]},
    "support_y and query_y must be of one kind, got strings and integers": {"query_y": [1]},
    "support_y and query_y must be of one kind, got strings and floats": {"query_y": [1.0]},
    "support_y must hold at least 2 classes, got only 'b'": {"support_y": ["b"] * 3},
    "support_y must be strings or integers, got bool": {
        "support_y": [True, False, True], "query_y": [True]},
    "support_y must be [n], one a row, got shape [3, 1]": {
        "support_y": [[0], [1], [0]], "query_y": [0]},
    "support_x must be an array whose rows have one shape": {"support_x": [[1.0], [1.0, 2.0]]},
    "support_x must be finite, got NaN or infinity in 1 of 3 rows (row 1)": {
        "support_x": [[0.0, 0.0], [0.0, np.nan], [0.0, 0.0]]},
    "query_x must hold at least one row of numbers, got shape [0]": {"query_x": []},
    "query_y must hold at least one target, got shape [0]": {"query_y": []},
    "support_x must be numbers, got strings": {"support_x": [["a"], ["b"], ["c"]]},
    "rows of support_x and query_x must be of one shape and type, got [2] float32 and [3]": {
        "query_x": [[1.0, 2.0, 3.0]]},
    "got [2] float32 and [2] uint8": {"query_x": np.zeros((1, 2), np.uint8)},
    "support_y must be finite, got NaN or infinity in 1 of 3 rows": {
        "support_y": [1.0, np.inf, 2.0], "query_y": [1.0]},
    "rows of support_y and query_y must be of one shape and type, got [1] float32 and [2]": {
        "support_y": [1.0, 2.0, 3.0], "query_y": [[1.0, 2.0]]},
    "support_y must be [n] or [n, targets], got shape [3, 1, 1]": {
        "support_y": [[[1.0]], [[2.0]], [[3.0]]], "query_y": [1.0]},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_task_is_one_clear_line(message):
    given_ = {key: value for key, value in (GOOD | BAD[message]).items() if value is not None}
    with pytest.raises(TaskError) as error:
        as_task(given_)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_dictionary():
    with pytest.raises(TaskError, match=r"support_x, .* in a dictionary, got a list"):
        as_task([1, 2])


def tasks(count, rows=3):
    rng = np.random.default_rng(0)
    return [
        {"support_x": rng.random((rows, 2)), "support_y": ["a", "b", "a", "c", "c"][:rows],
         "query_x": np.full((2, 2), number), "query_y": ["a", "b"]}
        for number in range(count)
    ]  # fmt: skip


def test_a_list_of_tasks_is_a_source():
    source = TaskList(tasks(4))
    assert isinstance(source, qs.TaskSource)
    assert (len(source), source.targets) == (4, "classes")
    batch = source.sample(200, torch.Generator().manual_seed(0))
    assert batch.support.x.shape == (200, 3, 2)
    drawn = batch.query.x[:, 0, 0]
    assert set(drawn.tolist()) == {0, 1, 2, 3}
    assert torch.equal(batch.support.x[drawn == 2], source.tasks.support.x[2].expand(
        int((drawn == 2).sum()), -1, -1))  # fmt: skip
    again = source.sample(200, torch.Generator().manual_seed(0))
    assert torch.equal(again.query.x, batch.query.x)


def test_tasks_of_other_sizes_are_padded():
    batch = TaskList([*tasks(1), *tasks(1, rows=5)]).sample(50, torch.Generator().manual_seed(0))
    assert batch.support.y.shape == (50, 5, 3)
    assert set(batch.support.mask.sum(1).tolist()) == {3, 5}


def test_a_learner_learns_from_a_list():
    learner = qs.ProtoNet(qs.MLP(2, [8], 8))
    for _ in qs.Fit(learner, TaskList(tasks(4)), steps=3):
        pass
    assert qs.evaluate(learner, TaskList(tasks(4)), tasks=5).tasks == 5


def test_lists_that_are_no_source():
    with pytest.raises(TaskError, match="needs at least one, got none"):
        TaskList([])
    with pytest.raises(TaskError, match="must be a list, got one dictionary"):
        TaskList(GOOD)
    with pytest.raises(TaskError, match=r"task 1: a task must hold .*; query_y is missing"):
        TaskList([GOOD, {key: GOOD[key] for key in GOOD if key != "query_y"}])
    with pytest.raises(
        TaskError,
        match=r"alike, got classes of inputs \[2\] \(task 0\) and 1 real targets of inputs \[2\] ",
    ):
        TaskList([GOOD, LINE])
    wide = LINE | {"support_y": [[1.0, 2.0]] * 3, "query_y": [[1.0, 2.0]]}
    with pytest.raises(TaskError, match=r"got 1 real targets .* and 2 real targets"):
        TaskList([LINE, wide])
    with pytest.raises(TaskError, match=r"inputs \[2\] \(task 0\) and classes of inputs \[1\]"):
        TaskList([GOOD, GOOD | {"support_x": [[1.0]] * 3, "query_x": [[1.0]]}])
    with pytest.raises(TaskError, match="at least one task, got 0"):
        TaskList([GOOD]).sample(0, torch.Generator())

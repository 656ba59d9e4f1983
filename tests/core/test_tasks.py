import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import Examples, Task, examples, one_hot, stack, unstack
from quickstudy.core.tasks import leaves, pad, tree_map
from quickstudy.errors import TaskError


def make(rows, way, features=4):
    half = examples(torch.randn(rows, features), torch.arange(rows) % way, way)
    return Task(half, half)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5))
def test_stacking_pads_and_unstacking_gives_every_row_back(sizes):
    tasks = [make(rows, way) for rows, way in sizes]
    batch = stack(tasks)
    longest, widest = max(r for r, _ in sizes), max(w for _, w in sizes)
    assert batch.support.y.shape == (len(sizes), longest, widest)
    for original, padded in zip(tasks, unstack(batch), strict=True):
        rows, way = original.support.y.shape
        assert torch.equal(padded.support.x[:rows], original.support.x)
        assert torch.equal(padded.support.y[:rows, :way], original.support.y)
        assert padded.support.mask.tolist() == [1.0] * rows + [0.0] * (longest - rows)
        assert padded.support.y[rows:].abs().sum() == 0


def test_inputs_may_be_trees():
    x = {"image": torch.rand(3, 2), "text": (torch.rand(3, 5), torch.rand(3))}
    half = examples(x, torch.tensor([0, 1, 1]), way=2)
    batch = stack([Task(half, half)] * 2)
    assert batch.query.x["text"][0].shape == (2, 3, 5)
    assert torch.equal(unstack(batch)[1].query.x["text"][1], x["text"][1])


def test_an_unlabelled_row_is_all_zero():
    assert one_hot(torch.tensor([-1, 1]), 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("labels", [[2], [-2]])
def test_labels_outside_the_ways_are_refused(labels):
    with pytest.raises(TaskError, match=r"labels must lie in -1\.\.1 for 2 ways, got"):
        one_hot(torch.tensor(labels), 2)


def test_numbers_that_disagree_are_refused():
    with pytest.raises(TaskError, match=r"agree in number, got \[3\] and 2"):
        examples(torch.rand(3, 1), torch.tensor([0, 1]), way=2)
    with pytest.raises(TaskError, match="at least one task"):
        stack([])
    with pytest.raises(TaskError, match="cannot pad 3 rows"):
        pad(examples(torch.rand(3, 1), torch.zeros(3).long(), 1), rows=2, width=1)


def test_trees_hold_tensors_only():
    with pytest.raises(TaskError, match="got int"):
        tree_map(lambda t: t, {"a": 3})
    tree = {"b": torch.zeros(1), "a": [torch.ones(1), (torch.ones(2),)]}
    assert [len(leaf) for leaf in leaves(tree)] == [1, 1, 2]
    assert isinstance(tree_map(lambda t: t + 1, make(2, 2)).support, Examples)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.rand(2, 3), ["a", "b"], "whole numbers 0..way-1"),
        (torch.rand(2, 3), torch.tensor([0.0, 1.0]), "whole numbers 0..way-1"),
        (torch.tensor([[torch.nan], [0.0]]), [0, 1], "NaN or infinity"),
        (torch.tensor(1.0), [0], "got one number"),
        ([[0.1], [0.2]], [0, 1], "hold tensors"),
    ],
)
def test_examples_that_are_none_are_refused(x, labels, message):
    with pytest.raises(TaskError, match=message):
        examples(x, labels, way=2)


def test_labels_may_be_a_list():
    assert examples(torch.rand(2, 3), [1, 0], way=2).y.tolist() == [[0, 1], [1, 0]]

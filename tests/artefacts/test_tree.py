import json
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from artefacts.samples import alike
from quickstudy.artefacts.tree import DEEPEST, flatten, unflatten
from quickstudy.errors import ArtefactError

DTYPES = {
    torch.float64: 8, torch.float32: 4, torch.float16: 2, torch.bfloat16: 2, torch.int64: 8,
    torch.int32: 4, torch.int16: 2, torch.int8: 1, torch.uint8: 1, torch.uint16: 2,
    torch.uint32: 4, torch.uint64: 8, torch.bool: 1,
}  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any bits in any type and any shape: 0-d, empty, subnormals, every NaN."""
    dtype = draw(st.sampled_from(sorted(DTYPES, key=str)))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    count = int(np.prod(shape)) * DTYPES[dtype]
    content = draw(st.binary(min_size=count, max_size=count))
    if dtype is torch.bool:
        content = bytes(byte & 1 for byte in content)
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text(max_size=4) | st.integers()
trees = st.recursive(
    scalars | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_survives_flatten_json_and_unflatten(tree: Any) -> None:
    held, structure = flatten(tree)
    text = json.dumps(structure, allow_nan=False)
    assert alike(unflatten(held, json.loads(text)), tree)


@given(trees)
def test_names_are_unique_and_the_same_every_time(tree: Any) -> None:
    first, structure = flatten(tree)
    again, same = flatten(tree)
    assert list(first) == list(again)
    assert json.dumps(structure) == json.dumps(same)
    assert all(name.isascii() and name not in ("", "__metadata__") for name in first)


def test_names_say_where_a_tensor_was() -> None:
    tree = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}, "averaged": [torch.zeros(1)]}
    assert list(flatten(tree)[0]) == ["optimizer/state/0/exp_avg", "averaged/0"]


def test_names_that_would_be_the_same_stay_apart() -> None:
    numbers = iter(range(9))

    def tensor() -> torch.Tensor:
        return torch.tensor(next(numbers))

    tree = {
        "a/b": tensor(), "a": {"b": tensor()}, "1": tensor(), 1: tensor(), "": tensor(),
        "__metadata__": tensor(), "\ud800": tensor(),
    }  # fmt: skip
    held, structure = flatten(tree)
    assert len(held) == 7
    assert alike(unflatten(held, structure), tree)


def test_subclasses_become_what_they_extend() -> None:
    point = namedtuple("point", ["x", "y"])
    tree = (
        point(1, 2),
        OrderedDict(b=nn.Parameter(torch.ones(1))),
        torch.Size([3]),
        np.float64(0.1),
        np.str_("a"),
    )
    held, structure = flatten(tree)
    plain = ((1, 2), {"b": torch.ones(1)}, (3,), 0.1, "a")
    assert alike(unflatten({k: t.detach() for k, t in held.items()}, structure), plain)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [1, {2}]}, "a/1 is a set; a tree holds tensors"),
        (b"x", "the tree is a bytes"),
        ({"rng": np.zeros(2)}, "rng is a ndarray"),
        ({"f": print}, "f is a builtin_function_or_method"),
        ({"a": {1.5: 0}}, "a has the key 1.5; a tree's keys are str or int"),
        ({True: 0}, "the tree has the key True"),
        ({None: 0}, "the tree has the key None"),
        ({"c": 1j}, "c is a complex"),
    ],
)
def test_what_no_tree_holds_is_refused_by_place(tree: Any, message: str) -> None:
    with pytest.raises(ArtefactError, match=message.replace(".", r"\.")):
        flatten(tree)


def test_a_tree_that_holds_itself_is_refused() -> None:
    tree: dict[str, Any] = {}
    tree["me"] = tree
    with pytest.raises(ArtefactError, match="does the tree hold itself"):
        flatten(tree)


def test_the_deepest_tree_survives() -> None:
    tree: Any = torch.ones(1)
    for _ in range(DEEPEST):
        tree = {"a": tree}
    held, structure = flatten(tree)
    assert alike(unflatten(held, json.loads(json.dumps(structure))), tree)


@pytest.mark.parametrize(
    "structure",
    [{"tensor": "gone"}, {"tuple": 3}, {"dict": [[1]]}, {"dict": [[None, 1]]}, {"float": "1"}, {}],
)
def test_a_structure_that_flatten_never_makes_is_refused(structure: Any) -> None:
    with pytest.raises(ArtefactError, match="no part of a stored tree"):
        unflatten({}, structure)

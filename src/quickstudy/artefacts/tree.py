"""Nested containers of tensors and numbers, taken apart and put together again, exactly."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import JsonValue
from torch import Tensor

from quickstudy.errors import ArtefactError

Tree: TypeAlias = Any
"""Dicts (keys: str or int), lists and tuples, however nested, of tensors, ints, floats, strings,
bools and None. Whoever takes one out of a file knows what was put in, so the type says Any."""

DEEPEST = 100
"""Containers inside containers. A tree that goes deeper holds itself, most likely."""


def flatten(tree: Tree) -> tuple[dict[str, Tensor], JsonValue]:
    """Take a tree apart into named tensors and the structure that holds them.

    A subclass is stored as what it extends: a NamedTuple as a tuple, an OrderedDict as a dict, a
    Parameter as a tensor. The order of a dict is kept. Floats are exact; infinities and NaN are
    allowed (all NaN are one).

    Args:
        tree: see `Tree`. Not changed.

    Returns:
        The tensors, of any shapes and not copied, by a name that says where they were
        ("optimizer/state/0/exp_avg"); and a value that strict JSON can hold, in which each tensor
        is replaced by its name. Equal trees give equal names.

    Raises:
        ArtefactError: a node or a key of another type, or a tree too deep; says where.

    Examples:
        >>> import torch
        >>> tensors, structure = flatten({"rate": 0.5, "weights": (torch.ones(2), None)})
        >>> tensors
        {'weights/0': tensor([1., 1.])}
        >>> structure
        {'dict': [['rate', 0.5], ['weights', {'tuple': [{'tensor': 'weights/0'}, None]}]]}
    """
    tensors: dict[str, Tensor] = {}
    structure = _take_apart(tree, (), tensors)
    return tensors, structure


def unflatten(tensors: Mapping[str, Tensor], structure: JsonValue) -> Tree:
    """Put a tree together from what `flatten` returned.

    Args:
        tensors: by name.
        structure: what holds them.

    Raises:
        ArtefactError: the structure is none that `flatten` makes, or names a tensor that is not
            there.

    Examples:
        >>> import torch
        >>> unflatten(*flatten({0: (torch.zeros(1), [True, float("-inf")])}))
        {0: (tensor([0.]), [True, -inf])}
    """
    match structure:
        case None | bool() | int() | float() | str():
            return structure
        case list():
            return [unflatten(tensors, item) for item in structure]
        case {"tensor": str(name)} if name in tensors:
            return tensors[name]
        case {"float": ("inf" | "-inf" | "nan") as text}:
            return float(text)
        case {"tuple": list(items)}:
            return tuple([unflatten(tensors, item) for item in items])
        case {"dict": list(pairs)}:
            return dict(_pair(tensors, pair) for pair in pairs)
    raise _malformed(structure)


def _pair(tensors: Mapping[str, Tensor], pair: JsonValue) -> tuple[str | int, Tree]:
    match pair:
        case [(str() | int()) as key, value]:
            return key, unflatten(tensors, value)
    raise _malformed(pair)


def _malformed(part: JsonValue) -> ArtefactError:
    return ArtefactError(f"{str(part)[:80]} is no part of a stored tree, or its tensor is missing")


def _take_apart(node: Tree, path: tuple[str, ...], tensors: dict[str, Tensor]) -> JsonValue:
    where = "/".join(path) or "the tree"
    if len(path) > DEEPEST:
        raise ArtefactError(
            f"{where[:60]}... lies more than {DEEPEST} containers deep; does the tree hold itself?"
        )
    if node is None or isinstance(node, bool):
        return node
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node) if math.isfinite(node) else {"float": str(float(node))}
    if isinstance(node, str):
        return str.__str__(node)
    if isinstance(node, Tensor):
        name = _free_name(path, tensors)
        tensors[name] = node
        return {"tensor": name}
    if isinstance(node, list | tuple):
        items: list[JsonValue] = [
            _take_apart(item, (*path, str(i)), tensors) for i, item in enumerate(node)
        ]
        return items if isinstance(node, list) else {"tuple": items}
    if isinstance(node, Mapping):
        pairs: list[JsonValue] = [
            [_key(key, where), _take_apart(value, (*path, str(key)), tensors)]
            for key, value in node.items()
        ]
        return {"dict": pairs}
    raise ArtefactError(
        f"{where} is a {type(node).__name__}; a tree holds tensors, ints, floats, strings, bools "
        "and None, in dicts, lists and tuples"
    )


def _key(key: object, where: str) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ArtefactError(f"{where} has the key {key!r}; a tree's keys are str or int")
    return str.__str__(key) if isinstance(key, str) else int(key)


def _free_name(path: tuple[str, ...], tensors: Mapping[str, Tensor]) -> str:
    """The path as a name; one that is taken ({"a/b": x, "a": {"b": y}}) gets a mark."""
    name = "/".join(path).encode("ascii", "backslashreplace").decode()
    while name in tensors or name in ("", "__metadata__"):  # the latter is safetensors' own
        name += "'"
    return name

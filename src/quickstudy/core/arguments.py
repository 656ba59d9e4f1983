"""Constructor arguments of the plainest types, refused where they are of another."""

import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Union

from quickstudy.errors import TaskError

_WANTED = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that first looks at its arguments of the types bool, int, float and str.

    Others, and those without an annotation, are its own business.

    Raises:
        TaskError: (when it is called) a value of another type, or a float that is not finite.

    Examples:
        >>> class Line:
        ...     @checked
        ...     def __init__(self, slope: float = 1.0, steps: int | None = None) -> None:
        ...         pass
        >>> Line(2, steps=True)
        Traceback (most recent call last):
        ...
        quickstudy.errors.TaskError: Line takes steps as a whole number or None, got True
    """
    signature = inspect.signature(init)
    plain: Mapping[str, tuple[type, ...]] | None = None

    @functools.wraps(init)
    def check(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal plain
        if plain is None:  # annotations may name what is defined further down
            try:
                hints = typing.get_type_hints(init)
            except NameError:  # or what only type checkers import
                hints = {}
            found = {name: _kinds(hint) for name, hint in hints.items() if name != "return"}
            plain = {name: kinds for name, kinds in found.items() if kinds}
        try:
            given = signature.bind(self, *args, **kwargs).arguments
        except TypeError:  # Python says it better
            given = {}
        for name, kinds in plain.items():
            if name in given and not any(_fits(given[name], kind) for kind in kinds):
                wanted = " or ".join(_WANTED.get(kind, "None") for kind in kinds)
                raise TaskError(
                    f"{type(self).__name__} takes {name} as {wanted}, got {given[name]!r}"
                )
        init(self, *args, **kwargs)

    return check


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types of an annotation; none where one of them is not plain."""
    several = typing.get_origin(hint) in (Union, types.UnionType)
    kinds = typing.get_args(hint) if several else (hint,)
    return kinds if all(kind in (*_WANTED, types.NoneType) for kind in kinds) else ()


def _fits(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind is float:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    return isinstance(value, kind)

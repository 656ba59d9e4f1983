"""JSON values, checked before anything is written."""

import math
from collections.abc import Mapping

from pydantic import JsonValue

from quickstudy.errors import ArtefactError


def scalar(value: object, where: str) -> bool | int | float | str | None:
    """A JSON value that is no container, as the plain Python type.

    Args:
        value: what came.
        where: its place, for the message.

    Returns:
        The same value; subclasses of int, float and str become int, float and str.

    Raises:
        ArtefactError: another type, a number that is not finite, text that is not Unicode.

    Examples:
        >>> scalar(0.5, "MAML.rate")
        0.5
        >>> scalar(b"x", "MAML.rate")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: MAML.rate is a bytes; wanted a JSON value: ...
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtefactError(f"{where} is {float(value)}; JSON holds finite numbers only")
        return float(value)
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ArtefactError(f"{where} is {value!a}; wanted text that is valid Unicode")
        return str.__str__(value)
    raise ArtefactError(
        f"{where} is a {type(value).__name__}; wanted a JSON value: None, bool, int, float, str, "
        "or a list, tuple or dict (with str keys) of them"
    )


def plain(value: object, where: str) -> JsonValue:
    """Any JSON value: scalars, lists and dicts, however nested; tuples become lists.

    A float that is not finite becomes None, because JSON has no word for it and a model is not
    refused for a metric that came out as NaN.

    Args:
        value: what came.
        where: its place, for the message.

    Raises:
        ArtefactError: anything else, with its place.

    Examples:
        >>> plain({"interval": (0.1, float("nan"))}, "metrics")
        {'interval': [0.1, None]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {text_key(k, where): plain(v, f"{where}.{k}") for k, v in value.items()}
    return scalar(value, where)


def text_key(key: object, where: str) -> str:
    """A key of a JSON object.

    Raises:
        ArtefactError: the key is no str.

    Examples:
        >>> text_key("rate", "SGD")
        'rate'
    """
    if not isinstance(key, str):
        raise ArtefactError(f"{where} has the key {key!r}; JSON wants str keys")
    return str(scalar(key, f"a key of {where}"))

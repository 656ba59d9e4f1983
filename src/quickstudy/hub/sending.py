"""What a user hands to the client, as the wire has it; imports no torch, and no NumPy."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from quickstudy.errors import QuickstudyError

ONE_INPUT = "inputs are a list; [x] is one input"
SHOWN = 80
"""Characters of what came that an error shows."""


class ServiceError(QuickstudyError):
    """The service refused or could not be reached, or what was given cannot be sent to it.

    Attributes:
        status: of its answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def support(examples: Any) -> dict[str, Any]:
    """Labelled examples, as `Client.adapt` takes them.

    Raises:
        ServiceError: they cannot be sent.

    Examples:
        >>> support({"a": [[0.0, 1.0]], "b": [[1.0, 0.0]]})
        {'x': [[0.0, 1.0], [1.0, 0.0]], 'labels': ['a', 'b']}
        >>> support(([[0.0], [1.0]], [2.5, 3.5]))
        {'x': [[0.0], [1.0]], 'targets': [[2.5], [3.5]]}
    """
    if isinstance(examples, Mapping):
        labels, together = [], []
        for label, x in examples.items():
            plain = _label(label)
            rows = _listed(x, f"{ONE_INPUT}; for the label {_short(plain)}")
            labels += [plain] * len(rows)
            together += rows
        return inputs(together) | {"labels": labels}
    if not isinstance(examples, tuple) or len(examples) != 2:
        raise ServiceError(
            "examples are a mapping from labels to inputs, or a pair (x, labels), "
            f"got {type(examples).__name__}"
        )
    x, y = examples
    return inputs(x) | _answers(y)


def inputs(x: Any) -> dict[str, Any]:
    """Inputs, as `Client.adapt` takes them: image files in base64, or numbers.

    Raises:
        ServiceError: they cannot be sent.

    Examples:
        >>> inputs([b"GIF89a"])
        {'images': ['R0lGODlh']}
        >>> inputs(None)
        Traceback (most recent call last):
        ...
        quickstudy.hub.sending.ServiceError: inputs are a list; [x] is one input; got NoneType
    """
    rows = _listed(x, f"{ONE_INPUT};")
    pictures = [_picture(one, number) for number, one in enumerate(rows, start=1)]
    if not any(pictures):
        return {"x": [_row(one, number) for number, one in enumerate(rows, start=1)]}
    if not all(pictures):
        raise ServiceError("inputs are all image files or all numbers, got both")
    return {"images": pictures}


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body in JSON.

    Raises:
        ServiceError: among its numbers are some that JSON has not, or other things.
    """
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except ValueError as error:
        if isinstance(error, ServiceError):
            raise
        raise ServiceError(f"{_not_finite(body)}; wanted finite numbers") from None


def _listed(x: Any, wanted: str) -> list[Any]:
    """What is in a list, an array or the like; not the characters, lines or keys of one thing."""
    if hasattr(x, "to_numpy"):  # a table, which would hand out its columns' names
        x = x.to_numpy()
    single = isinstance(x, str | bytes | bytearray | memoryview | Mapping) or hasattr(x, "read")
    try:
        each = None if single else iter(x)
    except TypeError:
        each = None
    if each is None:
        raise ServiceError(f"{wanted} got {type(x).__name__}")
    return list(each)


def _answers(y: Any) -> dict[str, Any]:
    """The labels, or targets [n, d], of a pair."""
    told = [_scalar(one) for one in _listed(y, "labels are a list, one for each input;")]
    if any(isinstance(one, float) for one in told):
        return {"targets": [[_amount(one)] for one in told]}
    if told and isinstance(told[0], Sequence) and not isinstance(told[0], str | bytes):
        rows = [_listed(one, "targets are rows of numbers;") for one in told]
        return {"targets": [[_amount(_scalar(one)) for one in row] for row in rows]}
    return {"labels": [_label(one) for one in told]}


def _scalar(one: Any) -> Any:
    """What Python calls a NumPy number, string or row, or a tensor; the rest as it is."""
    if getattr(one, "shape", None):
        return one.tolist() if hasattr(one, "tolist") else one
    return one.item() if hasattr(one, "item") else one


def _label(one: Any) -> str | int:
    plain = _scalar(one)
    if isinstance(plain, bool) or not isinstance(plain, str | int):
        raise ServiceError(f"a label is a string or a whole number, got {_short(plain)}")
    return plain


def _amount(one: Any) -> Any:
    if isinstance(one, bool) or not isinstance(one, Real):
        raise ServiceError(f"targets are numbers, got {_short(one)}")
    return one


def _picture(one: Any, number: int) -> str | None:
    """An image file in base64; None for what is none."""
    named = isinstance(one, str | PathLike)
    which = str(one)[:SHOWN] if named else f"input {number} ({type(one).__name__})"
    try:
        content = _content(one)
    except (OSError, ValueError) as error:  # the latter of what is closed, is text, holds "\0"
        reason = getattr(error, "strerror", None) or error
        raise ServiceError(f"cannot read {which}: {reason}") from None
    if content is None:
        return None
    if not isinstance(content, bytes):
        raise ServiceError(
            f"{which}: gives {type(content).__name__}; wanted bytes: open(..., 'rb')"
        )
    if not content:
        raise ServiceError(f"{which}: has nothing to read; wanted an image file")
    return base64.b64encode(content).decode()


def _content(one: Any) -> Any:
    """The bytes of an image file; None of what is none."""
    if isinstance(one, str | PathLike):
        return Path(one).read_bytes()
    if hasattr(one, "read"):
        return one.read()
    if hasattr(one, "save") and hasattr(one, "mode"):  # a Pillow image
        return _drawn(one)
    return bytes(one) if isinstance(one, bytes | bytearray | memoryview) else None


def _drawn(image: Any) -> bytes:
    """A Pillow image as a file that loses nothing: PNG, or TIFF, which has modes like CMYK."""
    for kind in ("PNG", "TIFF"):
        file = io.BytesIO()
        try:
            image.save(file, kind)
        except OSError:
            if kind == "TIFF":
                raise
        else:
            break
    return file.getvalue()


def _row(one: Any, number: int) -> Any:
    """One input of numbers."""
    if hasattr(one, "tolist"):
        return _numbers(one)
    if isinstance(one, Real):
        return one
    if not isinstance(one, Sequence):
        raise ServiceError(
            f"input {number} is {_short(one)}; wanted numbers, or an image file: its path, its "
            "bytes, the open file or a Pillow image"
        )
    return list(one)


def _numbers(array: Any) -> Any:
    """An array or tensor as lists; bytes are pixels, which the wire has in 0..1."""
    pixels = str(getattr(array, "dtype", "")).rpartition(".")[2] == "uint8"
    return (array / 255 if pixels else array).tolist()


def _plain(value: Any) -> Any:
    """What lies deeper in an input and is unknown to JSON: NumPy's numbers and arrays."""
    plain = _numbers(value) if hasattr(value, "tolist") else value
    if type(plain) is type(value):
        raise ServiceError(f"inputs are numbers or image files, got {_short(value)} in one")
    return plain


def _not_finite(body: Mapping[str, Any]) -> str:
    """Says which row holds a number that JSON has not."""
    for key, name in (("x", "input"), ("targets", "target")):
        for number, row in enumerate(body.get(key, ()), start=1):
            try:
                json.dumps(row, allow_nan=False, default=_plain)
            except ValueError:
                return f"{name} {number} holds NaN or infinity"
    return "there is a number that cannot be sent"


def _short(one: Any) -> str:
    """What came, for an error: its kind where that says more."""
    plain = one is None or isinstance(one, str | bytes | bool | int | float)
    return repr(one)[:SHOWN] if plain else f"a {type(one).__name__}"

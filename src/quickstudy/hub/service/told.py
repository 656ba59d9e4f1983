"""What the command line says of a service, checked."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from quickstudy.errors import RunError
from quickstudy.hub.service.limits import Limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def models_told(given: Sequence[str]) -> dict[str, Path]:
    """Models by name, from NAME=FOLDER; a folder alone goes by its own name.

    Raises:
        RunError: a name that no address can hold, or that comes twice.

    Examples:
        >>> models_told(["chars=runs/a", "runs/photos"])
        {'chars': PosixPath('runs/a'), 'photos': PosixPath('runs/photos')}
    """
    models: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.absolute().name
        if not folder and equals:
            raise RunError(f"--model wants NAME=RUN, got {text!r}")
        if not _NAME.fullmatch(name):
            raise RunError(
                "--model wants a name of up to 64 letters, digits, '.', '_' and '-' before the =, "
                f"got {name!r}"
            )
        if name in models:
            raise RunError(f"--model names {name!r} twice")
        models[name] = path
    return models


def limits_told(given: Sequence[str]) -> Limits:
    """Limits, from NAME=VALUE.

    Raises:
        RunError: no such limit, or no such value.

    Examples:
        >>> limits_told(["ways=20"]).ways
        20
    """
    values = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in Limits.model_fields:
            known = ", ".join(Limits.model_fields)
            raise RunError(f"--limit wants NAME=VALUE, NAME one of {known}, got {text!r}")
        values[name] = value
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise RunError(
            f"--limit {fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}"
        ) from None

"""What the command line says of a service, checked."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from quickstudy.errors import RunError
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.serving import Source
from quickstudy.hub.store.models import NAME, ModelIndex, refuse_lost


def models_told(given: Sequence[str], store: str | None = None) -> dict[str, Source]:
    """Models by name, from NAME=RUN; or from a name alone, of a model in production.

    Args:
        given: as the command line has them.
        store: the database that knows which are in production.

    Raises:
        RunError: a name that no address can hold, that comes twice, or that nothing is known of.

    Examples:
        >>> models_told(["chars=runs/a"])["chars"].folder
        PosixPath('runs/a')
    """
    models: dict[str, Source] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not NAME.fullmatch(name) or (equals and not folder):
            raise RunError(
                "--model wants NAME=RUN, the name of up to 64 letters, digits, '.', '_' and '-'; "
                f"got {text!r}"
            )
        if name in models:
            raise RunError(f"--model names {name!r} twice")
        models[name] = Source(Path(folder)) if equals else _in_production(name, store)
    return models


def _in_production(name: str, store: str | None) -> Source:
    with closing(ModelIndex(store)) as index:
        row = index.find(name)
    refuse_lost(row)
    return Source(Path(row.folder), row.digest)


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
        if name in values:
            raise RunError(f"--limit names {name!r} twice")
        values[name] = value
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise RunError(
            f"--limit {fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}"
        ) from None

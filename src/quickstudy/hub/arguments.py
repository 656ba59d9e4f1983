"""The arguments of Python's callers: as a run's configuration holds them, and in what errors say.

The command line has flags for the same things.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from quickstudy.artefacts.arguments import describe
from quickstudy.errors import QuickstudyError, RunError, TaskError
from quickstudy.hub.catalogue import RULES
from quickstudy.hub.config import TrainConfig, explain
from quickstudy.hub.source import Source, refuse_sizes

ARGUMENTS = {"learner-option": "options", "backbone": "net", "data": "tasks"}
"""What flags are called in Python, where that is not their own name with underscores."""

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


def without_flags(message: str, **called: str) -> str:
    """A message with the names of arguments where it speaks of flags, but for `commands`.

    Examples:
        >>> without_flags("--tasks-per-step must be at least 1; see `train --help`")
        'tasks_per_step must be at least 1; see `train --help`'
        >>> without_flags("--tasks must be at least 1, got 0", tasks="count")
        'count must be at least 1, got 0'
    """
    names = ARGUMENTS | called

    def said(found: re.Match[str]) -> str:
        flag = found["flag"]
        return found[0] if flag is None else names.get(flag, flag.replace("-", "_"))

    return re.sub(r"`[^`]*`|(?<![\w./-])--(?P<flag>[a-z][a-z-]*)", said, message)


@contextmanager
def arguments_named(**called: str) -> Iterator[None]:
    """Errors inside speak of arguments; also a decorator.

    Args:
        called: flag to argument, where they differ in this call only.

    Raises:
        QuickstudyError: what was raised inside, in other words.
    """
    try:
        yield
    except QuickstudyError as error:
        error.args = (without_flags(str(error), **called), *error.args[1:])
        raise


def told_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a learner as a run's configuration holds them, a rule by name.

    Raises:
        TaskError: one is no plain value, or the rule is not one of the catalogue's.
    """
    if not isinstance(options, Mapping):
        raise TaskError(f"options must be a dictionary, got {type(options).__name__}")
    plain = {name: _plain(name, value) for name, value in options.items() if name != "rule"}
    rule = options.get("rule")
    if rule is None or isinstance(rule, str):
        return {"learner_options": plain, "rule": rule}
    if type(rule) not in RULES.values():
        raise TaskError(
            f"options take a rule by name or as an object ({', '.join(RULES)}), got "
            f"{_called(rule)}; hand in a learner instead: learner=MAML(net, rule=...), say"
        )
    described: Any = describe(rule, RULES)
    chosen = {"rule": described["name"], "rule_options": described["arguments"]}
    return {"learner_options": plain, **chosen}


def _plain(name: str, value: Any) -> JsonValue:
    """An option as JSON.

    Raises:
        TaskError: it is none.
    """
    value = value.item() if isinstance(value, np.generic) else value
    try:
        return _JSON.validate_python(value)
    except ValidationError:
        raise TaskError(
            f"options must be plain values, got {name}={_called(value)}; hand in a learner "
            f"instead: learner=MAML(net, {name}=...), say"
        ) from None


def _called(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def told_sizes(
    source: Source,
    ways: int | tuple[int, int] | None,
    shots: int | tuple[int, int] | None,
    queries: int | None,
) -> dict[str, Any]:
    """Of the tasks to train on.

    Raises:
        RunError: tasks that come as they are, and sizes for them.
    """
    given = {"ways": ways, "shots": shots, "queries": queries}
    told = {name: value for name, value in given.items() if value is not None}
    refuse_sizes(source, "train", told)
    return told


def checked(options: dict[str, Any]) -> TrainConfig:
    """A configuration of these options.

    Raises:
        RunError: one is unknown or out of range.
    """
    try:
        return TrainConfig.model_validate(options)
    except ValidationError as error:
        raise RunError(explain(error, prefix="")) from None

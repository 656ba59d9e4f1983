"""The arguments of Python's callers: as a run's configuration holds them, and in what errors say.

The command line has flags for the same things.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from quickstudy.artefacts.arguments import describe
from quickstudy.core import UpdateRule
from quickstudy.errors import QuickstudyError, RunError, TaskError
from quickstudy.hub.catalogue import RULES
from quickstudy.hub.config import TrainConfig, explain
from quickstudy.hub.source import Source, refuse_sizes

ARGUMENTS = {"learner-option": "options", "backbone": "net", "data": "tasks"}
"""What flags are called in Python, where that is not their own name with underscores."""


def without_flags(message: str, **called: str) -> str:
    """A message with the names of arguments where it speaks of flags.

    Examples:
        >>> without_flags("--tasks-per-step must be at least 1, got 0")
        'tasks_per_step must be at least 1, got 0'
        >>> without_flags("--tasks must be at least 1, got 0", tasks="count")
        'count must be at least 1, got 0'
    """
    names = ARGUMENTS | called
    return re.sub(
        r"(?<![\w./-])--([a-z][a-z-]*)", lambda m: names.get(m[1], m[1].replace("-", "_")), message
    )


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
        message = without_flags(str(error), **called)
        if message == str(error):
            raise
        raise type(error)(message) from error.__cause__


def told_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a learner as a run's configuration holds them, a rule by name.

    Raises:
        TaskError: one is no plain value, or the rule is not one of the catalogue's.
    """
    plain = {name: value for name, value in options.items() if name != "rule"}
    for name, value in plain.items():
        if not isinstance(value, str | int | float | list | tuple | dict | None):
            raise TaskError(
                f"options must be plain values, got {name}={type(value).__name__}; hand in a "
                f"learner instead: learner=MAML(net, {name}=...), say"
            )
    rule = options.get("rule")
    if rule is None or isinstance(rule, str):
        return {"learner_options": plain, "rule": rule}
    if type(rule) not in RULES.values():
        kind = "of your own" if isinstance(rule, UpdateRule) else f"got a {type(rule).__name__}"
        raise TaskError(
            f"options take the rule {', '.join(RULES)}, not one {kind}; hand in a learner instead: "
            "learner=MAML(net, rule=...), say"
        )
    described: Any = describe(rule, RULES)
    chosen = {"rule": described["name"], "rule_options": described["arguments"]}
    return {"learner_options": plain, **chosen}


def told_sizes(
    source: Source,
    ways: int | tuple[int, int] | None,
    shots: int | tuple[int, int] | None,
    queries: int | None,
) -> dict[str, Any]:
    """Of the tasks to train on and to look at.

    Raises:
        RunError: tasks that come as they are, and sizes for them.
    """
    given = {"ways": ways, "shots": shots, "queries": queries}
    told = {name: value for name, value in given.items() if value is not None}
    refuse_sizes(source, "train", told)
    if ways is not None:
        told["validation_ways"] = ways[0] if isinstance(ways, tuple | list) else ways
    if queries is not None:
        told["validation_queries"] = queries
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

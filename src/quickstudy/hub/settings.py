"""Options of a run from a YAML file and from `--set`, which flags come on top of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from quickstudy.artefacts.atomic import read_bytes
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.config import TrainConfig

Options = dict[str, Any]


def layered(
    file: Path | str | None, sets: Sequence[str], flags: Mapping[str, Any]
) -> tuple[Options, str | None]:
    """Options from all three places, the later over the earlier, and the recipe that they name.

    Args:
        file: YAML, or the `config.json` of a run; None for none.
        sets: "name=value" or "name.inner=value", values in YAML.
        flags: option name to value.

    Raises:
        RunError: the file cannot be read or is no mapping, or a setting is no such pair.

    Examples:
        >>> layered(None, ["steps=7", "learner_options.turns=3"], {"steps": 9})
        ({'steps': 9, 'learner_options': {'turns': 3}}, None)
    """
    options = read_settings(file) if file is not None else {}
    for pair in sets:
        options = _over(options, parse_setting(pair))
    options = _over(options, flags)
    return options, options.pop("recipe", None)


def read_settings(path: Path | str) -> Options:
    """The options in a YAML file; a run's `config.json` is one too.

    Raises:
        RunError: it cannot be read, or holds something else than option names and values.
    """
    try:
        told = yaml.safe_load(read_bytes(path))
    except ArtefactError as error:
        raise RunError(f"--config: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split())
        raise RunError(f"--config: {path} is no YAML: {said}") from None
    if isinstance(told, dict) and isinstance(told.get("config"), dict):  # of a run
        told = told["config"]
    if told is None:
        return {}
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told):
        raise RunError(f"--config: {path} must hold options such as `steps: 500`, got {told!r:.60}")
    return _named(told)


def parse_setting(pair: str) -> Options:
    """One `--set`.

    Raises:
        RunError: it is no such pair.

    Examples:
        >>> parse_setting("rate=1e-3"), parse_setting("backbone-options.width=[32, 64]")
        ({'rate': 0.001}, {'backbone_options': {'width': [32, 64]}})
    """
    name, equals, text = pair.partition("=")
    outer, dot, inner = name.strip().partition(".")
    if not (equals and outer and (inner or not dot)) or "." in inner:
        raise RunError(f"--set must be NAME=VALUE or NAME.INNER=VALUE, got {pair!r}")
    try:
        value = json.loads(text)  # YAML reads 1e-3 as text
    except ValueError:
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # 2020-13-45 looks like a date
            value = text
    return _named({outer: {inner.replace("-", "_"): value} if dot else value})


def _named(options: Mapping[str, Any]) -> Options:
    """Options by the names that `TrainConfig` has for them, however they are written."""
    named = {name.replace("-", "_"): value for name, value in options.items()}
    for name, value in named.items():
        field = TrainConfig.model_fields.get(name)
        if isinstance(value, dict) and field and not name.endswith("_options"):
            raise RunError(f"{name} holds no options of its own, got {value!r:.60}")
    return named


def _over(options: Mapping[str, Any], others: Mapping[str, Any]) -> Options:
    """Options with others in their place; those of a method are added to."""
    inside = {
        name: {**options[name], **value}
        for name, value in others.items()
        if isinstance(value, Mapping) and isinstance(options.get(name), Mapping)
    }
    return {**options, **others, **inside}

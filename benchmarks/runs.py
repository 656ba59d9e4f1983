"""Runs of `quickstudy train` behind a table: taken up again, or trained anew if told otherwise."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def trained(folder: Path, given: Mapping[str, Any], recipe: str | None = None) -> Path:
    """The folder of a run with these options, trained or taken up again if need be.

    A run that is there and learns otherwise is replaced.
    """
    from quickstudy.hub.config import make_config
    from quickstudy.hub.runs import open_run

    command = [sys.executable, "-m", "quickstudy"]
    there = (folder / "config.json").exists()
    wanted = make_config(given, recipe)
    if there and learned_alike(open_run(folder).config) == learned_alike(wanted):
        if not open_run(folder).finished:
            subprocess.run([*command, "resume", folder], check=True)
        return folder
    named = {} if recipe is None else {"recipe": recipe}
    told = flags({**given, **named, "out": folder, "overwrite": there})
    subprocess.run([*command, "train", *told], check=True)
    return folder


def learned_alike(config: Any) -> dict[str, Any]:
    """What of a configuration decides what is learned."""
    from quickstudy.hub.recipes import plain_name

    said = config.model_dump(exclude={"recipe", "threads", "device", "evaluate_every"})
    every = config.evaluations_apart
    return {**said, "learner": plain_name(config.learner), "evaluate_every": every}


def flags(options: dict[str, Any]) -> list[str]:
    """Options as the command line takes them."""
    told = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            for key, inner in value.items():
                told += [flag.removesuffix("s"), f"{key}={json.dumps(inner)}"]
        elif isinstance(value, bool):
            told += [flag] if value else []
        else:
            told += [flag, str(value)]
    return told

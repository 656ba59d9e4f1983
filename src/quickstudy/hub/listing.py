"""What `quickstudy runs` says: runs as JSON, side by side, and removed."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstudy.artefacts.atomic import reported
from quickstudy.errors import RunError
from quickstudy.hub.runs import CONFIG, Run, discard, open_run
from quickstudy.hub.store.models import ModelIndex
from quickstudy.hub.store.runs import FINISHED, RUNNING, RunIndex
from quickstudy.hub.store.tables import RunRow

MISSING = "missing"
"""State of a run whose folder is gone."""
RESULTS = ("state", "step", "seconds", "loss", "validation", "control")


def listed(index: RunIndex) -> list[dict[str, Any]]:
    """All runs, the newest first; what a killed process left behind is looked at again."""
    return [told(_fresh(index, row)) for row in index.all()]


def described(index: RunIndex, name: str) -> dict[str, Any]:
    """One run in full: its options, its origin and how it went.

    Args:
        index: of the store.
        name: its folder, which need not be in the store, or the beginning of its id.

    Raises:
        RunError: there is no such run.
    """
    row = look_up(index, name)
    return told(row) | {"config": row.config, "origin": row.origin}


def compared(index: RunIndex, names: Sequence[str]) -> dict[str, Any]:
    """What several runs differ in.

    Returns:
        "runs", each as `listed` has them; "options", name to a value for each, where they differ.

    Raises:
        RunError: fewer than two, or there is no such run.
    """
    if len(names) < 2:
        raise RunError(f"it takes two runs to compare, got {len(names)}")
    rows = [look_up(index, name) for name in names]
    options = sorted({name for row in rows for name in row.config})
    values = {name: [row.config.get(name) for row in rows] for name in options}
    differing = {n: v for n, v in values.items() if any(one != v[0] for one in v)}
    return {"runs": [told(row) for row in rows], "options": differing}


def removed(
    index: RunIndex, models: ModelIndex, names: Sequence[str], keep_folder: bool
) -> list[dict[str, Any]]:
    """Remove runs and their folders, or only forget them; all are looked up before the first goes.

    Raises:
        RunError: there is no such run, or it is being trained, or its model is in production, or
            its folder holds other things.
    """
    rows = [look_up(index, name) for name in names]
    for row in rows:
        if keep_folder:
            continue
        if (Path(row.folder) / CONFIG).is_file() and _run(row).busy:
            raise RunError(f"{row.folder} is being trained; stop it first")
        if model := models.in_production(row.folder):
            raise RunError(
                f"{row.folder} holds {model.name} version {model.version}, which is in production; "
                f"put another there, or quickstudy models rm {model.name}"
            )
    for row in rows:
        if not keep_folder and (Path(row.folder) / CONFIG).is_file():
            with reported("remove", row.folder):
                discard(Path(row.folder))
        index.remove([row.id])
    return [told(row) for row in rows]


def look_up(index: RunIndex, name: str) -> RunRow:
    """A run by its folder, which is read and put into the store, or by its id.

    Raises:
        RunError: there is no such run.
    """
    if (Path(name) / CONFIG).is_file():
        return index.read(open_run(name))
    return _fresh(index, index.find(name))


def told(row: RunRow) -> dict[str, Any]:
    """A run as JSON."""
    return {
        "id": row.id,
        "folder": row.folder,
        "learner": row.learner,
        "data": row.data,
        "recipe": row.recipe,
        "began": row.began.isoformat(timespec="seconds"),
        "steps": row.steps,
        "metric": row.metric,
        **{name: getattr(row, name) for name in RESULTS},
        "said": row.said,
    }


def _fresh(index: RunIndex, row: RunRow) -> RunRow:
    """A row as its folder has it, where the row cannot be trusted and the folder is here."""
    if row.state == FINISHED and Path(row.folder).is_dir():
        return row
    if row.origin.get("host") not in (None, socket.gethostname()):
        return row
    if not (Path(row.folder) / CONFIG).is_file():
        row.state = MISSING
        return row
    run = _run(row)
    if run.id != row.id:
        row.state = MISSING  # another run lies there now
    elif row.state == RUNNING and not run.busy:
        return index.read(run)
    return row


def _run(row: RunRow) -> Run:
    return open_run(row.folder)

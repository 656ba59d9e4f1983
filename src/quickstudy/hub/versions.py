"""What `quickstudy models` says and does: named models as JSON, promoted, and exported."""

from itertools import groupby
from pathlib import Path
from typing import Any

from quickstudy.artefacts.manifest import (
    MANIFEST,
    Manifest,
    read_manifest,
    read_weights,
    refuse_foreign,
)
from quickstudy.errors import RunError
from quickstudy.hub.runs import CONFIG, check_ended, check_writable
from quickstudy.hub.store.models import READY, ModelIndex, looked_at
from quickstudy.hub.store.tables import ModelRow


def listed(index: ModelIndex) -> list[dict[str, Any]]:
    """Every name with its version in production, and which versions there are; by name.

    Raises:
        RunError: the store cannot be used.
    """
    found = []
    for _, group in groupby(index.all(), key=lambda row: row.name):
        rows = list(group)
        (current,) = (row for row in rows if row.production)
        found.append(told(current) | {"versions": [row.version for row in reversed(rows)]})
    return found


def described(index: ModelIndex, name: str, version: int | None = None) -> dict[str, Any]:
    """A version in full: the model, what it scored, the run it comes from, and its siblings.

    Args:
        index: of the store.
        name: of the model.
        version: the one in production where None.

    Returns:
        As `told`, and "model", what its manifest says, where it is still there; "metrics";
        "origin", of its run; "versions", each as `told`.

    Raises:
        RunError: there is none.
    """
    row = index.find(name, version)
    found = told(row)
    model = None
    if found["state"] == READY:
        manifest = read_manifest(row.folder)
        said = manifest.model_dump(by_alias=True, exclude={"format", "metrics"})
        model = said if manifest.digest == row.digest else None  # replaced just now
    more = {"model": model, "metrics": row.metrics, "origin": row.origin or None}
    return found | more | {"versions": [told(other) for other in index.versions(name)]}


def promoted(index: ModelIndex, folder: Path | str, name: str) -> ModelRow:
    """Put a folder's model in production as the next version of a name; it is loaded once before.

    Raises:
        QuickstudyError: as `ModelIndex.promote`, or this release cannot load it.
    """
    _load(folder)
    return index.promote(folder, name)


def exported(
    index: ModelIndex,
    model: str,
    out: Path | str,
    *,
    version: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Copy a model to a folder of its own: the manifest and the weights, and nothing else.

    It is loaded from where it is before it is copied, and from where it went afterwards.

    Args:
        index: of the store.
        model: a name; or the folder of a run or model, which is one where it has a slash, or where
            no model is called so.
        out: the folder; its parents are made.
        version: of a name; the one in production where None.
        overwrite: replace a model that is there. Nothing but a model or an empty folder is.

    Returns:
        "model", name and version where it has them; "folder", absolute; "digest".

    Raises:
        QuickstudyError: there is no such model, or it is not the one that was promoted any more,
            or it is damaged, or it may not or cannot be written there.
    """
    row = _named(index, model, version)
    source = index.resolve(row.name, row.version) if row else Path(model)
    target = Path(out)
    check_ended(source)
    _check_output(source, target, overwrite)
    manifest = _load(source)
    if row and manifest.digest != row.digest:
        raise RunError(f"the model in {source} was replaced meanwhile; nothing was exported")
    copied = copy_checked(source, target)
    if copied.digest != manifest.digest:
        raise RunError(f"{source} was replaced while it was copied; {target} holds its new model")
    named = {"name": row.name, "version": row.version} if row else {"name": None, "version": None}
    return {**named, "folder": str(target.absolute()), "digest": copied.digest}


def copy_checked(source: Path, target: Path) -> Manifest:
    """Copy a model, and load the copy.

    Raises:
        ArtefactError: it cannot be copied, or not be loaded.
    """
    from quickstudy.artefacts.model import copy_model

    copy_model(source, target)
    return _load(target)


def told(row: ModelRow) -> dict[str, Any]:
    """A version as JSON, and whether its model is where it was."""
    state, said = looked_at(row)
    score, control = row.metrics.get("validation"), row.metrics.get("control")
    return {
        "name": row.name,
        "version": row.version,
        "production": row.production,
        "state": state,
        "said": said,
        "learner": row.learner,
        "data": row.data,
        "metric": _part(score, "metric"),
        "validation": _part(score, "mean"),
        "control": _part(control, "mean"),
        "folder": row.folder,
        "digest": row.digest,
        "run": row.run_id,
        "created": row.created.isoformat(timespec="seconds"),
        "promoted": row.promoted.isoformat(timespec="seconds"),
    }


def _part(score: Any, name: str) -> Any:
    return score.get(name) if isinstance(score, dict) else None


def _named(index: ModelIndex, model: str, version: int | None) -> ModelRow | None:
    """The version of that name; None where it is a folder."""
    folder = Path(model)
    if "/" not in model:
        try:
            return index.find(model, version)
        except RunError:
            if version is not None or not folder.is_dir():
                raise
    if version is not None:
        raise RunError(f"--version is of a model's name, and {model} is a folder")
    return None


def _load(folder: Path | str) -> Manifest:
    """The manifest of a model that this release loads; its owner's own net is not here to do so."""
    from quickstudy.artefacts.arguments import own_modules
    from quickstudy.hub.catalogue import load_model

    check_ended(folder)
    manifest, _ = read_weights(folder)
    if any(own_modules(manifest.learner)):
        return manifest
    return load_model(folder)[1].manifest


def _check_output(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse a folder that a model may not be copied to, before anything is written."""
    if target.exists() and not target.is_dir():
        raise RunError(f"{target} is a file; wanted a folder to put the model in")
    if target.is_dir() and target.samefile(source):
        raise RunError(f"{target} is the model's own folder; name another")
    if target.is_dir() and any(target.iterdir()):
        if (target / CONFIG).is_file() or not (target / MANIFEST).is_file():
            what = "is a run" if (target / CONFIG).is_file() else "holds other files"
            raise RunError(f"{target} {what}; wanted a new or empty folder, or a model's")
        refuse_foreign(target)
        if not overwrite:
            raise RunError(f"{target} exists; name another folder, or replace it with --overwrite")
    check_writable(target)

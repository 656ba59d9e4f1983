"""What a learner adapted to one task, in a file: prediction needs it and its model, no more."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from quickstudy.artefacts.model import Model
from quickstudy.artefacts.plain import scalar
from quickstudy.artefacts.sealed import Sealed, read_sealed, write_sealed
from quickstudy.artefacts.tree import Tree
from quickstudy.errors import ArtefactError

Label = str | int | float | bool | None
"""What a user calls a class."""


class Origin(BaseModel):
    """The model that a state belongs to.

    Attributes:
        given: its folder, as the user gave it.
        path: the same, absolute when the state was stored.
        digest: of its manifest (`Manifest.digest`).
    """

    model_config = ConfigDict(strict=True, frozen=True)

    given: str
    path: str
    digest: str


class StateHeader(BaseModel):
    """What a stored state says about itself.

    Attributes:
        library: the version of quickstudy that wrote it.
        artefact: the model it belongs to.
        labels: the user's label of each class, in the order of the logits; None for real targets.
        columns: "features" and "targets" of the table it was adapted to, in the model's order,
            where the model itself knows none by name.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    library: str
    artefact: Origin
    labels: list[Label] | None
    columns: dict[Literal["features", "targets"], list[str]] | None = None


class StoredState(NamedTuple):
    """A state that was loaded.

    Attributes:
        state: what `adapt` returned, byte for byte.
        header: whose it is and what its classes are called.
    """

    state: Tree
    header: StateHeader


def save_state(
    path: Path | str,
    state: Tree,
    *,
    artefact: Path | str,
    digest: str,
    labels: Sequence[Label] | None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Store an adapted state in one safetensors file, atomically.

    Args:
        path: of the file; one that is there is replaced.
        state: what `adapt` returned; see `tree.Tree`. Not changed.
        artefact: the folder of the model that adapted.
        digest: that model's `manifest.digest`.
        labels: the user's label of each class, in the order of the logits; None for real targets.
        columns: the "features" and "targets" of the table that it was adapted to.

    Raises:
        ArtefactError: the state or a label cannot be stored, a label comes twice, or the file
            cannot be written.

    Examples:
        >>> import tempfile
        >>> state, labels = {"prototypes": torch.ones(2, 3)}, ["cat", "dog"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/mine", state, artefact="model", digest="ab12", labels=labels)
        ...     stored = load_state(f"{folder}/mine")
        >>> stored.header.labels, stored.state["prototypes"].shape
        (['cat', 'dog'], torch.Size([2, 3]))
    """
    if labels is not None:
        written = [json.dumps(scalar(label, f"labels[{i}]")) for i, label in enumerate(labels)]
        for text, count in Counter(written).items():
            if count > 1:
                raise ArtefactError(f"the label {text} comes {count} times; wanted each label once")
    origin = {"given": str(artefact), "path": os.path.abspath(artefact), "digest": digest}
    fields = {
        "artefact": origin,
        "labels": None if labels is None else list(labels),
        "columns": columns and {kind: list(names) for kind, names in columns.items()},
    }
    write_sealed(path, "state", state, fields)


def load_state(
    path: Path | str, *, model: Model | None = None, device: torch.device | str = "cpu"
) -> StoredState:
    """Load a state that `save_state` stored.

    Args:
        path: of the file.
        model: the model that is to predict with it; the state has to be its own.
        device: where its tensors go.

    Raises:
        ArtefactError: the file is missing, damaged, of another kind or newer than this release; or
            the state belongs to another model.

    Examples:
        >>> import tempfile
        >>> state = (torch.ones(1),)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/line", state, artefact="model", digest="ab12", labels=None)
        ...     load_state(f"{folder}/line").state
        (tensor([1.]),)
    """
    sealed = read_sealed(path, "state")
    header = _header(sealed)
    if model is not None and header.artefact.digest != model.manifest.digest:
        raise ArtefactError(
            f"{path} belongs to the model {header.artefact.given} with the digest "
            f"{header.artefact.digest}; got a model with {model.manifest.digest}: adapt again"
        )
    return StoredState(sealed.tree(device), header)


def read_state_header(path: Path | str) -> StateHeader:
    """What a stored state says about itself; its file is checked like for `load_state`.

    Args:
        path: of the file.

    Raises:
        ArtefactError: the file is missing, damaged, of another kind or newer than this release.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/s", (), artefact="models/a", digest="12", labels=[3, "three"])
        ...     header = read_state_header(f"{folder}/s")
        >>> header.artefact.given, header.labels
        ('models/a', [3, 'three'])
    """
    return _header(read_sealed(path, "state"))


def _header(sealed: Sealed) -> StateHeader:
    try:
        return StateHeader.model_validate(sealed.header)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{sealed.path} is no state: {where}: {first['msg']}") from error

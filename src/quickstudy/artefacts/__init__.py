"""Models, adapted states and training checkpoints on disk, never pickled.

    model.py         a model in a folder
    manifest.py      what a stored model says about itself, readable without torch
    state.py         what a learner adapted to one task, in a file
    checkpoint.py    any tree of tensors in a file

and what they are made of:

    arguments.py     a module as its name and arguments, and back
    sealed.py        one safetensors file that carries its own digest
    tensors.py       tensors to the bytes of a safetensors file, and back
    tree.py          nested containers to named tensors and a JSON value, and back
    atomic.py        files that are replaced whole or not at all
    schema.py        which formats this release reads
    plain.py         JSON values, checked

Names are looked up when they are first used, so that reading a manifest loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.artefacts.checkpoint import load_checkpoint, save_checkpoint
    from quickstudy.artefacts.manifest import Manifest, read_manifest, read_weights
    from quickstudy.artefacts.model import Model, copy_model, load_model, save_model
    from quickstudy.artefacts.state import (
        StateHeader,
        StoredState,
        load_state,
        read_state_header,
        save_state,
    )

_MODULES = {
    "checkpoint": "load_checkpoint save_checkpoint",
    "manifest": "Manifest read_manifest read_weights",
    "model": "Model copy_model load_model save_model",
    "state": "StateHeader StoredState load_state read_state_header save_state",
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Manifest",
    "Model",
    "StateHeader",
    "StoredState",
    "copy_model",
    "load_checkpoint",
    "load_model",
    "load_state",
    "read_manifest",
    "read_state_header",
    "read_weights",
    "save_checkpoint",
    "save_model",
    "save_state",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

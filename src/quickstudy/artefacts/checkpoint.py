"""A training run's whole state in a file, so that it can go on where it was killed."""

from pathlib import Path

import torch

from quickstudy.artefacts.sealed import read_sealed, write_sealed
from quickstudy.artefacts.tree import Tree


def save_checkpoint(path: Path | str, tree: Tree) -> None:
    """Store any tree in one safetensors file, atomically: the last good one is never lost.

    Args:
        path: of the file; one that is there is replaced.
        tree: see `tree.Tree`: weights, an optimizer's state, generators, counters. Not changed.

    Raises:
        ArtefactError: the tree holds something else, or the file cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tree = {"step": 3, "optimizer": {0: (torch.zeros(2), 0.1)}}
        ...     save_checkpoint(f"{folder}/last.safetensors", tree)
        ...     load_checkpoint(f"{folder}/last.safetensors")
        {'step': 3, 'optimizer': {0: (tensor([0., 0.]), 0.1)}}
    """
    write_sealed(path, "checkpoint", tree, {})


def load_checkpoint(path: Path | str, *, device: torch.device | str = "cpu") -> Tree:
    """Load the tree that `save_checkpoint` stored, bit for bit.

    Args:
        path: of the file.
        device: where its tensors go.

    Raises:
        ArtefactError: the file is missing, damaged (any flipped bit, any missing byte), of another
            kind or newer than this release.

    Examples:
        >>> load_checkpoint("no/such/file.safetensors")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: cannot read no/such/file.safetensors: No such file or ...
    """
    return read_sealed(path, "checkpoint").tree(device)

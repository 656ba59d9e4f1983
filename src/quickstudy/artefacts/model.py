"""A model in a folder: a manifest in JSON, and its tensors in a safetensors file.

Replacing a folder: a rename cannot replace a folder that holds something, and two renames leave a
moment with no model at all. So the folder stays, and the manifest alone decides. The tensors go
into a new file whose name comes from their digest (`weights-0123456789abcdef.safetensors`); then
the manifest, which names that file, is replaced by a rename; then other weights are removed. At
any point in between, the manifest that is there names weights that are there.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from quickstudy.artefacts import atomic
from quickstudy.artefacts.arguments import Catalogue, build, describe, own_modules
from quickstudy.artefacts.manifest import (
    MANIFEST,
    Manifest,
    Weights,
    parse_manifest,
    read_manifest,
    read_weights,
    refuse_foreign,
    write_manifest,
)
from quickstudy.artefacts.plain import plain
from quickstudy.artefacts.schema import stamp
from quickstudy.artefacts.tensors import from_bytes, to_bytes, usable
from quickstudy.errors import ArtefactError

_NAMED = 3
"""A message names so many tensors that do not fit, then counts."""


@dataclass(frozen=True)
class Model:
    """A model that was loaded.

    Attributes:
        learner: ready to adapt, in evaluation mode.
        manifest: what is known about it; `manifest.digest` is what its states refer to.
    """

    learner: nn.Module
    manifest: Manifest


def save_model(
    path: Path | str,
    learner: nn.Module,
    *,
    catalogue: Catalogue,
    input_shape: Sequence[int] | None = None,
    preprocessing: Mapping[str, object] | None = None,
    training: Mapping[str, object] | None = None,
    metrics: Mapping[str, object] | None = None,
) -> Manifest:
    """Store a learner: parameters, buffers, arguments, and what is known about it.

    A model that is there is replaced. Whatever happens meanwhile (a kill, a full disk), a whole
    one can be read at any moment. Before anything is written, the learner is made again from
    what will be stored, so that no model is written that cannot be loaded.

    Args:
        path: the model's folder; made where it is missing.
        learner: its class is in the catalogue, or is a user's own (so may be one module inside
            it); then its import path is noted, and it is handed to `load_model`. Not changed.
        catalogue: name to class.
        input_shape: of one input, without the leading n; None where it varies.
        preprocessing: JSON values: how a user's input becomes the model's.
        training: JSON values: what it was trained on, and how.
        metrics: JSON values: what it scored. A number that is not finite becomes None.

    Returns:
        The manifest that was written.

    Raises:
        ArtefactError: the learner or a value cannot be stored, it cannot be written there, or
            another kind of folder is in the way.

    Examples:
        >>> import tempfile
        >>> class Line(nn.Module):
        ...     def __init__(self, slope=2.0):
        ...         super().__init__()
        ...         self.slope = slope
        ...         self.offset = nn.Parameter(torch.tensor(1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = save_model(f"{folder}/line", Line(3.0), catalogue={"Line": Line})
        >>> manifest.learner
        {'name': 'Line', 'arguments': {'slope': 3.0}}
    """
    folder = Path(path)
    tensors = _tensors(learner)
    raw = to_bytes(tensors, {"format": "pt"})
    digest = hashlib.sha256(raw).hexdigest()
    manifest = parse_manifest(
        {
            **stamp("model"),
            "learner": describe(learner, catalogue),
            "input_shape": None if input_shape is None else plain(list(input_shape), "input_shape"),
            "preprocessing": plain(preprocessing or {}, "preprocessing"),
            "training": plain(training or {}, "training"),
            "metrics": plain(metrics or {}, "metrics"),
            "weights": Weights(
                file=f"weights-{digest[:16]}.safetensors", sha256=digest, bytes=len(raw)
            ),
        },
        folder / MANIFEST,
    )
    if not list(own_modules(manifest.learner)):
        with _about(f"cannot store this {type(learner).__name__}"):
            _restore(manifest, tensors, catalogue, None)
    with atomic.reported("write", folder):
        made = not folder.exists()
        try:
            atomic.make_folder(folder)
            with atomic.exclusive(folder):
                _replace(folder, manifest, raw)
        except BaseException:
            if made:
                with suppress(OSError):
                    folder.rmdir()  # unless it holds something
            raise
    return manifest


def load_model(
    path: Path | str,
    *,
    catalogue: Catalogue,
    net: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """Load a model that `save_model` stored.

    Classes come from the catalogue; nothing is imported. Every byte is checked before it is used.
    The global random state stays as it was.

    Args:
        path: the model's folder.
        catalogue: name to class.
        net: the user's own module, where the model was stored with one. It becomes part of the
            learner, and its weights become the stored ones.
        device: where the tensors go.

    Raises:
        ArtefactError: there is no model, or it is damaged, newer than this release, of an unknown
            class, or its weights do not fit. `net` is unchanged then.

    Examples:
        >>> import tempfile
        >>> catalogue = {"ReLU": nn.ReLU}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = save_model(f"{folder}/model", nn.ReLU(True), catalogue=catalogue)
        ...     load_model(f"{folder}/model", catalogue=catalogue).learner
        ReLU(inplace=True)
    """
    with usable(device):
        torch.empty(0, device=device)
    folder = Path(path)
    manifest, raw = read_weights(folder)
    with _about(str(folder)):
        learner = _restore(
            manifest, from_bytes(raw, folder / manifest.weights.file), catalogue, net
        )
    return Model(learner.to(device).eval(), manifest)


def copy_model(source: Path | str, target: Path | str) -> Manifest:
    """Copy a model, and nothing else that lies in its folder; every byte is checked, twice.

    A model that is there is replaced as `save_model` does it; elsewhere the folder appears whole.

    Args:
        source: the model's folder.
        target: where it goes.

    Returns:
        The manifest of the copy, as it was read back.

    Raises:
        ArtefactError: there is no model, or it is damaged, or it cannot be written there, or
            another kind of folder is in the way.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = save_model(f"{folder}/a", nn.ReLU(), catalogue={"ReLU": nn.ReLU})
        ...     copy_model(f"{folder}/a", f"{folder}/b") == made
        True
    """
    manifest, raw = read_weights(source)
    folder = Path(target)

    def write(partial: Path) -> None:
        partial.mkdir()
        (partial / manifest.weights.file).write_bytes(raw)
        write_manifest(partial, manifest)

    if folder.is_dir() and any(folder.iterdir()):
        with atomic.reported("write", folder), atomic.exclusive(folder):
            _replace(folder, manifest, raw)
    else:
        atomic.write_atomically(folder, write)
    copied, _ = read_weights(folder)
    return copied


def _replace(folder: Path, manifest: Manifest, raw: bytes) -> None:
    """Write weights, then the manifest that names them; then remove other weights."""
    refuse_foreign(folder)
    before = _weights_in_use(folder)
    weights = folder / manifest.weights.file
    try:
        atomic.write_bytes(weights, raw)
        write_manifest(folder, manifest)
    except BaseException:
        # Only an error after the rename (a failed fsync) leaves a manifest that names the new ones.
        if weights.name not in (before, _weights_in_use(folder)):
            with suppress(OSError):
                weights.unlink()
        raise
    for other in folder.glob(f"weights-{'[0-9a-f]' * 16}.safetensors"):
        if other != weights:
            with suppress(OSError):
                other.unlink()


def _weights_in_use(folder: Path) -> str | None:
    """The weights that the manifest in a folder names; None where it is missing or damaged."""
    try:
        return read_manifest(folder).weights.file
    except ArtefactError:
        return None


def _tensors(learner: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, the learner's own."""
    state = learner.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ArtefactError(
                f"{type(learner).__name__} keeps {name!r}, a {type(value).__name__}, in its state; "
                "only tensors can be stored"
            )
    return dict(state)


def _restore(
    manifest: Manifest, tensors: Mapping[str, Tensor], catalogue: Catalogue, net: nn.Module | None
) -> nn.Module:
    """Make the learner and give it these tensors, types included."""
    with torch.random.fork_rng(devices=[]):  # a constructor draws weights, which are then replaced
        learner = build(manifest.learner, catalogue, net=net)
    if not isinstance(learner, nn.Module):
        raise ArtefactError(f"it describes a {type(learner).__name__}; wanted a module")
    own = _tensors(learner)
    problems = list(_misfits(own, tensors))
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise ArtefactError(f"the weights do not fit: {'; '.join(problems[:_NAMED])}{more}")
    for name, tensor in tensors.items():
        if own[name].dtype != tensor.dtype:
            own[name].data = own[name].data.to(tensor.dtype)
    learner.load_state_dict(tensors)
    return learner


def _misfits(own: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> Iterator[str]:
    for name in sorted(own.keys() | came.keys()):
        if name not in came:
            yield f"{name!r} is missing"
        elif name not in own:
            yield f"{name!r} is there, and the learner has no such tensor"
        elif own[name].shape != came[name].shape:
            yield f"{name!r} is {list(came[name].shape)}, wanted {list(own[name].shape)}"


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Say of what an error speaks."""
    try:
        yield
    except ArtefactError as error:
        raise ArtefactError(f"{what}: {error}") from error

"""What a stored model says about itself, readable without torch."""

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from quickstudy.artefacts import atomic
from quickstudy.artefacts.schema import check_stamp
from quickstudy.errors import ArtefactError

MANIFEST = "manifest.json"
TRIES = 20
"""Times that weights are looked for under one name, a millisecond apart."""


class Weights(BaseModel):
    """The file that holds a model's tensors.

    Attributes:
        file: its name, in the manifest's folder.
        sha256: the digest of its bytes, 64 hexadecimal digits.
        bytes: its length.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    file: Annotated[str, Field(pattern=r"^weights-[0-9a-f]{16}\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int


class Manifest(BaseModel):
    """All of a stored model but its tensors. Fields that this release does not know are ignored.

    Attributes:
        format: always "quickstudy model".
        schema_version: of this layout; "schema" in the file.
        library: the version of quickstudy that wrote it.
        learner: its name and arguments; see `arguments.describe`.
        input_shape: of one input, without the leading n; None where it varies.
        preprocessing: how a user's input becomes the model's.
        training: what it was trained on, and how.
        metrics: what it scored.
        weights: the file that holds its tensors.
    """

    model_config = ConfigDict(strict=True, frozen=True, populate_by_name=True)

    format: Literal["quickstudy model"]
    schema_version: Annotated[int, Field(alias="schema")]
    library: str
    learner: dict[str, JsonValue]
    input_shape: list[int] | None
    preprocessing: dict[str, JsonValue]
    training: dict[str, JsonValue]
    metrics: dict[str, JsonValue]
    weights: Weights

    @property
    def digest(self) -> str:
        """What the model is: SHA-256, 64 hexadecimal digits, over all that its predictions rest on.

        That is the learner with its arguments, the input shape, the preprocessing and the
        weights. Training notes and metrics may change without changing it.
        """
        return _digest(
            {
                "learner": self.learner,
                "input_shape": self.input_shape,
                "preprocessing": self.preprocessing,
                "weights": self.weights.sha256,
            }
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in a folder, atomically; its fields' digest goes along as "checksum".

    Raises:
        ArtefactError: see `atomic.write_atomically`.

    Examples:
        >>> import tempfile
        >>> name = "weights-0123456789abcdef.safetensors"
        >>> manifest = Manifest(
        ...     format="quickstudy model", schema_version=1, library="0.1.0", learner={},
        ...     input_shape=[1, 28, 28], preprocessing={}, training={}, metrics={"accuracy": 0.98},
        ...     weights=Weights(file=name, sha256="0" * 64, bytes=0),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_manifest(Path(folder), manifest)
        ...     read_manifest(folder) == manifest
        True
    """
    document = manifest.model_dump(by_alias=True)
    document["checksum"] = _digest(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic.write_bytes(folder / MANIFEST, text.encode())


def read_manifest(path: Path | str) -> Manifest:
    """Read what a stored model says about itself, without its tensors.

    Args:
        path: the model's folder.

    Raises:
        ArtefactError: there is no model, or its manifest is damaged or of a newer schema.

    Examples:
        >>> read_manifest("no/such/model")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: there is no model at no/such/model: no such folder
    """
    folder = Path(path)
    file = folder / MANIFEST
    if not folder.exists():
        raise ArtefactError(f"there is no model at {path}: no such folder")
    if not folder.is_dir():
        raise ArtefactError(f"{path} is a file; wanted a model, a folder with a {MANIFEST}")
    if not file.exists():
        raise ArtefactError(f"there is no model at {path}: the folder has no {MANIFEST}")
    document = _parse(file)
    check_stamp(document, "model", file)
    checksum = document.pop("checksum", None)
    if checksum != _digest(document):
        raise ArtefactError(
            f"{file} is damaged or was edited: its fields have the SHA-256 digest "
            f"{_digest(document)}, and it says {checksum}"
        )
    return parse_manifest(document, file)


def read_weights(path: Path | str) -> tuple[Manifest, bytes]:
    """A stored model's manifest, and the bytes of the weights that it names, checked.

    Args:
        path: the model's folder.

    Raises:
        ArtefactError: as `read_manifest`; or the weights are missing or damaged.

    Examples:
        >>> read_weights("no/such/model")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: there is no model at no/such/model: no such folder
    """
    folder = Path(path)
    manifest, tries = read_manifest(folder), TRIES
    while True:
        file = folder / manifest.weights.file
        try:
            raw = atomic.read_bytes(file)
            break
        except ArtefactError as error:
            # A model that was replaced since its manifest was read has a new one: read that. It
            # may have been replaced twice, by what it was before, so the same one proves nothing.
            named, manifest = manifest.weights, read_manifest(folder)
            tries -= manifest.weights == named
            if not tries:
                raise ArtefactError(f"{error}; {MANIFEST} beside it names it") from error
            time.sleep(0.001)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != manifest.weights.sha256:
        raise ArtefactError(
            f"{file} is damaged: its {len(raw)} bytes have the SHA-256 digest {digest}; {MANIFEST} "
            f"wants {manifest.weights.bytes} bytes with {manifest.weights.sha256}"
        )
    return manifest, raw


def parse_manifest(document: object, path: Path) -> Manifest:
    """A manifest from its fields.

    Args:
        document: field to value.
        path: of the manifest, for the message.

    Raises:
        ArtefactError: a field is missing or of another type; says which.

    Examples:
        >>> parse_manifest({}, Path("a/manifest.json"))
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: a/manifest.json is no manifest: format: Field required
    """
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{path} is no manifest: {where}: {first['msg']}") from error


def refuse_foreign(folder: Path) -> None:
    """Make sure that a manifest in a folder, where there is one, is ours to replace.

    A damaged one of ours may be replaced; a file that merely has the same name may not.

    Raises:
        ArtefactError: it is something else, or of a newer schema.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     refuse_foreign(Path(folder))
    """
    file = folder / MANIFEST
    if file.exists():
        try:
            check_stamp(_parse(file), "model", file)
        except ArtefactError as error:
            raise ArtefactError(f"{error}; it is not replaced: choose another folder") from error


def _parse(file: Path) -> Any:
    raw = atomic.read_bytes(file)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is no JSON file: {error}") from error


def _digest(value: object) -> str:
    """SHA-256 of a JSON value, whatever its layout and the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

"""From a folder of a user's examples to a state, and from a state to answers."""

import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.artefacts.state import StateHeader, load_state, read_state_header, save_state
from quickstudy.core import Learner, examples, move
from quickstudy.data.episodes import scale
from quickstudy.data.images import image_folder, read_images
from quickstudy.errors import ArtefactError, DataError, RunError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.devices import choose_device, set_threads
from quickstudy.hub.runs import check_writable
from quickstudy.hub.sources import preprocessing_of

TOGETHER = 256
"""Inputs that are predicted at a time: bounds the memory."""


class Adapted(NamedTuple):
    """What adapting took and gave.

    Attributes:
        labels: of the classes, in the order of the logits.
        counts: examples of each.
        seconds: that the learner took, without reading files.
    """

    labels: list[str]
    counts: list[int]
    seconds: float


def adapt_to_folder(
    path: Path | str,
    support: Path | str,
    out: Path | str,
    *,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Adapted:
    """Adapt a run's learner to `support/<label>/<image>` and store the state.

    Args:
        path: the run's folder.
        support: the folder of class folders; classes may have different numbers of images.
        out: the state's file.
        overwrite: replace a state that is there.
        device: where.
        threads: of the CPU.

    Raises:
        QuickstudyError: no such run or folder, files that are no images, fewer than two classes,
            or a file that may not or cannot be written.
    """
    target = Path(out)
    _check_state_output(target, overwrite)
    set_threads(threads)
    learner, model = load_model(path, device=choose_device(device))
    pool = image_folder(support, preprocessing_of(model.manifest.preprocessing, path), at_least=1)
    start = time.perf_counter()
    state = adapt(learner, pool.images, pool.labels, pool.classes)
    seconds = time.perf_counter() - start
    save_state(
        target,
        move(state, "cpu"),
        artefact=path,
        digest=model.manifest.digest,
        labels=pool.names,
    )
    return Adapted(list(pool.names), pool.counts.tolist(), seconds)


def _check_state_output(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise RunError(f"{path} is a folder; wanted a file to put the state in")
    if path.exists():
        if not overwrite:
            raise RunError(f"{path} exists; name another file, or replace it with --overwrite")
        try:
            read_state_header(path)
        except ArtefactError as error:
            raise RunError(f"{path} is no state, so it is not replaced ({error})") from None
    check_writable(path)


def adapt(learner: Learner, images: Tensor, labels: Tensor, ways: int) -> Any:
    """The state after adapting to images [n, ...] labelled [n] 0..ways-1."""
    x = as_input(learner, images)
    with torch.no_grad():
        return learner.adapt(examples(x, labels.to(x.device), ways))


def probabilities(learner: Learner, state: Any, images: Tensor) -> Tensor:
    """Class probabilities [n, way] of images [n, ...], on the CPU."""
    return in_parts(learner, learner.probabilities, state, images)


def in_parts(
    learner: Learner, function: Callable[[Any, Tensor], Tensor], state: Any, x: Tensor
) -> Float[Tensor, "m way"]:
    """A learner's function of state and inputs [m, ...], of some inputs at a time, on the CPU.

    Of a transductive learner all at once, as its answers depend on what is asked together.
    """
    parts = [x] if learner.transductive else x.split(TOGETHER)
    with torch.no_grad():
        return torch.cat([function(state, as_input(learner, part)).cpu() for part in parts])


def as_input(learner: Learner, x: Tensor) -> Tensor:
    """Inputs [n, ...] scaled, where the learner lies and in its precision."""
    own = chain(learner.parameters(), learner.buffers())
    like = next((tensor for tensor in own if tensor.is_floating_point()), torch.empty(0))
    return scale(x, torch.Generator()).to(like)


def predict_files(
    path: Path | str,
    files: Sequence[Path | str],
    *,
    model: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Classify image files with a stored state.

    Args:
        path: the state's file.
        files: images, or folders of them.
        model: the folder of the model that it belongs to, where that has moved.
        device: where.
        threads: of the CPU.

    Returns:
        For each file: file, label, probabilities (label to number).

    Raises:
        QuickstudyError: the state or its model is missing, damaged or another, or files that are no
            images.
    """
    set_threads(threads)
    where = choose_device(device)
    header = read_state_header(path)
    if header.labels is None:
        raise RunError(f"{path} predicts real targets; wanted a state of classes")
    folder = Path(model) if model is not None else _home(path, header)
    learner, owner = load_model(folder, device=where)
    state = load_state(path, model=owner, device=where).state
    named = _listed(files)
    how = preprocessing_of(owner.manifest.preprocessing, folder)
    scores = probabilities(learner, state, read_images(named, how))
    return [_answer(str(file), row, header.labels) for file, row in zip(named, scores, strict=True)]


def _answer(file: str, row: Tensor, labels: Sequence[Any]) -> dict[str, Any]:
    shares = {str(label): round(float(p), 6) for label, p in zip(labels, row, strict=True)}
    return {"file": file, "label": labels[int(row.argmax())], "probabilities": shares}


def _home(path: Path | str, header: StateHeader) -> Path:
    """The folder of the model that a state belongs to: where it was, or as it was said."""
    beside = Path(path).parent / Path(header.artefact.path).name  # moved together
    for place in (Path(header.artefact.path), Path(header.artefact.given), beside):
        if place.exists():
            return place
    raise RunError(
        f"{path} belongs to the model in {header.artefact.path}, which is not there; "
        "say where it is now with --model"
    )


def _listed(files: Sequence[Path | str]) -> list[Path]:
    found = []
    for file in map(Path, files):
        if not file.is_dir():
            found.append(file)
            continue
        inside = sorted(f for f in file.iterdir() if f.is_file() and not f.name.startswith("."))
        if not inside:
            raise DataError(f"the folder {file} has no files; wanted images")
        found += inside
    return found

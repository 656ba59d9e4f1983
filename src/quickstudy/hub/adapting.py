"""From a user's examples to a state, and from a state to answers."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from quickstudy.artefacts.state import StateHeader, load_state, read_state_header, save_state
from quickstudy.core import Learner, examples, move
from quickstudy.data.frames import is_table
from quickstudy.data.images import image_folder, read_images
from quickstudy.errors import ArtefactError, DataError, RunError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.devices import choose_device, set_threads
from quickstudy.hub.image_source import preprocessing_of
from quickstudy.hub.inputs import as_input, in_parts, learned
from quickstudy.hub.rows import Named, Reader, answered
from quickstudy.hub.runs import check_writable


class Adapted(NamedTuple):
    """What adapting took and gave.

    Attributes:
        labels: of the classes, in the order of the logits; None for real targets.
        counts: examples of each class, or of all.
        seconds: that the learner took; of tables, with reading them.
    """

    labels: list[str] | None
    counts: list[int]
    seconds: float


def adapt_run(
    path: Path | str,
    support: Path | str,
    out: Path | str,
    *,
    targets: Sequence[str] = (),
    features: Sequence[str] | None = None,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Adapted:
    """Adapt a run's learner to `support/<label>/<image>`, or to a table's rows; store the state.

    Args:
        path: the run's folder.
        support: the folder of class folders, which may have different numbers of images; or a
            table with the columns that the model was trained on.
        out: the state's file.
        targets: of the table, where the model was not trained on one: the columns to predict.
        features: likewise: the inputs; all other numeric columns where None.
        overwrite: replace a state that is there.
        device: where.
        threads: of the CPU.

    Raises:
        QuickstudyError: no such run, folder or table, files that are no images, columns that are
            missing or no numbers, fewer than two classes, or a file that may not or cannot be
            written.
    """
    target = Path(out)
    _check_state_output(target, overwrite)
    set_threads(threads)
    learner, model = load_model(path, device=choose_device(device))
    if is_table(support):
        named = Named(tuple(targets), tuple(features) if features else None)
        start = time.perf_counter()
        reader = Reader(learner, model.manifest, path, named)
        state, labels, counts, columns = reader.adapt(support)
    else:
        if targets or features:
            raise RunError(f"--targets and --features are for tables; {support} is none")
        if "features" in model.manifest.preprocessing:
            raise RunError(f"the model in {path} was trained on a table; {support} is none")
        how = preprocessing_of(model.manifest.preprocessing, path)
        pool = image_folder(support, how, at_least=1)
        start = time.perf_counter()
        state = adapt(learner, pool.images, pool.labels, pool.classes, str(support))
        labels, counts, columns = list(pool.names), pool.counts.tolist(), None
    seconds = time.perf_counter() - start
    save_state(
        target,
        move(state, "cpu"),
        artefact=path,
        digest=model.manifest.digest,
        labels=labels,
        columns=columns and columns._asdict(),
    )
    return Adapted(labels, counts, seconds)


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


def adapt(
    learner: Learner, images: Tensor, labels: Tensor, ways: int, what: str = "the support"
) -> Any:
    """The state after adapting to images [n, ...] labelled [n] 0..ways-1; see `inputs.learned`."""
    x = as_input(learner, images)
    return learned(learner, examples(x, labels.to(x.device), ways), what)


def probabilities(learner: Learner, state: Any, images: Tensor) -> Tensor:
    """Class probabilities [n, way] of images [n, ...], on the CPU."""
    return in_parts(learner, learner.probabilities, state, images)


def predict_files(
    path: Path | str,
    files: Sequence[Path | str],
    *,
    model: Path | str | None = None,
    features: Sequence[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Answer image files, or the rows of tables, with a stored state.

    Args:
        path: the state's file.
        files: images, or folders of them; or tables.
        model: the folder of the model that it belongs to, where that has moved.
        features: of tables, where the model was not trained on one: the inputs; those that the
            state was adapted to where None.
        device: where.
        threads: of the CPU.

    Returns:
        For each file, or row of one: file (and row, from 0), label and probabilities (label to
        number); or predictions (target to number), where the state is of real targets. And
        "transductive", true, where the answers depend on what is asked together.

    Raises:
        QuickstudyError: the state or its model is missing, damaged or another, or files that are no
            images or tables.
    """
    set_threads(threads)
    where = choose_device(device)
    header = read_state_header(path)
    folder = Path(model) if model is not None else _home(path, header)
    learner, owner = load_model(folder, device=where)
    state = load_state(path, model=owner, device=where).state
    reads_images = "size" in owner.manifest.preprocessing
    together = {"transductive": True} if learner.transductive else {}
    if any(map(is_table, files)) or not reads_images:
        told = header.columns or {}
        inputs = features or told.get("features")
        named = Named(tuple(told.get("targets", ())), tuple(inputs) if inputs else None)
        reader = Reader(learner, owner.manifest, folder, named)
        rows = [row for file in files for row in reader.answer(file, state, header.labels)]
        return [row | together for row in rows]
    if features:
        raise RunError("--features is for tables, and these are images")
    named_files = _listed(files)
    pixels = read_images(named_files, preprocessing_of(owner.manifest.preprocessing, folder))
    ask = learner.predict if header.labels is None else learner.probabilities
    scores = in_parts(learner, ask, state, pixels)
    return [
        {"file": str(file), **answered(row, header.labels), **together}
        for file, row in zip(named_files, scores, strict=True)
    ]


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

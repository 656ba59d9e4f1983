"""The stored model that is judged, and data that it never saw."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue, ValidationError

from quickstudy.artefacts.manifest import MANIFEST, Manifest
from quickstudy.core import Learner, move
from quickstudy.data.columns import Columns
from quickstudy.data.frames import is_table
from quickstudy.data.leakage import listed, shared_images
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError, RunError
from quickstudy.hub.catalogue import LEARNERS, find, load_model
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.devices import choose_device, set_threads
from quickstudy.hub.embeddings import calibrate_beside, calibrates, reading, retold
from quickstudy.hub.given import refuse_in_memory
from quickstudy.hub.image_source import Images
from quickstudy.hub.kept import KeptFolder, parse_kept
from quickstudy.hub.source import Source, Split, Wanted
from quickstudy.hub.sources import SOURCES, open_source
from quickstudy.hub.tables import Rows, reading_of

SIZES = TrainConfig().validation_sizes
"""Of tasks, where a model does not say which it was judged on."""
CALIBRATION_TASKS = 20
"""Meta-train tasks that a method on another's net takes figures of."""


class Subject(NamedTuple):
    """A stored model that is to be judged.

    Attributes:
        path: its folder, as the user wrote it.
        learner: in evaluation mode.
        manifest: what is known of it.
        device: where it lies.
        embedding_of: the learner that was stored, where `learner` is another on its net.
        options: what the learner was told for this evaluation.
    """

    path: Path | str
    learner: Learner
    manifest: Manifest
    device: torch.device
    embedding_of: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})

    def told(self, options: Mapping[str, Any]) -> "Subject":
        """The same learner with other options; see `embeddings.retold`.

        Raises:
            QuickstudyError: it does not take them.
        """
        return self._replace(learner=retold(self.learner, options), options=options)

    def read_by(self, name: str, options: Mapping[str, Any] | None = None) -> "Subject":
        """The same with another method on the stored learner's net; see `embeddings.reading`.

        Of the learner's own name, as `told`.

        Raises:
            QuickstudyError: it cannot read that, or needs meta-train tasks that are not there.
        """
        if find(name, LEARNERS, "--learner") is type(self.learner):
            return self.told(options or {})
        made, stored = reading(self.learner, name, options), type(self.learner).__name__
        other = self._replace(learner=made, embedding_of=stored, options=options or {})
        if calibrates(made):
            source, split = open_domain(other, split="train")
            tasks = source.tasks(split, *source.fitting([split], *(self.sizes or SIZES)))
            batch = tasks.sample(CALIBRATION_TASKS, torch.Generator().manual_seed(0))
            calibrate_beside(made, move(batch, self.device))
        return other

    @property
    def trained_on(self) -> str | None:
        """The data of its run, as `--data` said it; None where it does not say."""
        data = self._config.get("data")
        return data if isinstance(data, str) else None

    @property
    def sizes(self) -> tuple[int, int, int] | None:
        """Ways, shots and queries of its run's meta-validation; None where it does not say."""
        if not self._config:
            return None
        known = {k: v for k, v in self._config.items() if k in TrainConfig.model_fields}
        with contextlib.suppress(ValidationError):  # written by another release
            return TrainConfig.model_validate(known).validation_sizes
        return None

    @property
    def unlabelled(self) -> int:
        """Unlabelled support examples of a class in its run's tasks; 0 where it does not say."""
        count = self._config.get("unlabelled", 0)
        return count if isinstance(count, int) else 0

    @property
    def _config(self) -> dict[str, JsonValue]:
        config = self.manifest.training.get("config")
        return config if isinstance(config, dict) else {}


def open_subject(path: Path | str, device: str = "auto", threads: int | None = None) -> Subject:
    """The model in a run's folder, ready to be judged.

    Raises:
        QuickstudyError: no such run, or a device that is not there.
    """
    set_threads(threads)
    where = choose_device(device)
    learner, model = load_model(path, device=where)
    return Subject(path, learner, model.manifest, where)


def open_domain(
    subject: Subject, data: str | None = None, split: Split | None = None
) -> tuple[Source, Split]:
    """The data that a model is judged on, and which split of it.

    Args:
        subject: the model.
        data: a name or a folder; what it was trained on where None.
        split: see `evaluate_run`.

    Raises:
        QuickstudyError: no such data, data that does not fit the model, or that it was trained on.
    """
    data = data or subject.trained_on
    if data is None:
        raise RunError(f"{subject.path} does not say what it was trained on; name data with --data")
    source = open_for(subject.manifest, subject.path, data, subject.device)
    model = f"the model in {subject.path}"
    if split is None:
        _refuse_unknown(source, subject)
        split = never_seen(source, model)
    if isinstance(source, Images) and split != "train":
        refuse_seen(_seen_images(source, subject), source.pool(split), source.name, model)
    return source, split


def open_for(
    manifest: Manifest, path: Path | str, data: str, device: torch.device | None = None
) -> Source:
    """Data as the input of a stored model.

    Raises:
        RunError: the model takes another kind of input.
    """
    refuse_in_memory(data)
    how = reading_of(manifest.preprocessing, path)
    if is_table(data) and not isinstance(how, Columns):
        raise RunError(f"the model in {path} was not trained on a table, so {data} is not for it")
    kept = parse_kept(manifest.training.get("kept"), Path(path, MANIFEST))
    where = device or torch.device("cpu")
    source = open_source(data, Wanted(preprocessing=how, device=where, kept=kept))
    if manifest.input_shape is not None and list(source.input_shape) != manifest.input_shape:
        raise RunError(
            f"the model in {path} takes inputs {manifest.input_shape}, "
            f"those of {source.name} are {list(source.input_shape)}"
        )
    return source


def _refuse_unknown(source: Source, subject: Subject) -> None:
    """Refuse the folder of a run that does not say which of its classes are which.

    Raises:
        RunError: this is one.
    """
    told = subject.manifest.training.get("kept") is not None
    own = None if told or not isinstance(source, Images | Rows) else subject.trained_on
    if own is not None and Path(own).is_dir() and Path(own).samefile(source.name):
        raise RunError(
            f"{subject.path} was trained on {source.name} and does not say on which classes of it; "
            "name others with --data"
        )


def never_seen(source: Source, model: str) -> Split:
    """The split that holds what a model never saw.

    Meta-test; of a folder or table all of it, unless some is the run's own.

    Args:
        source: opened with what the model's run kept of its own data.
        model: which, for the message.

    Raises:
        RunError: there is none.
    """
    if not isinstance(source, Images | Rows) or source.curated:
        return "test"
    if not {"all", "test"} & set(source.pools):
        what = "class" if source.outputs is None else "group"
        raise RunError(f"{source.name} holds no {what} that {model} never saw")
    return "all" if "all" in source.pools else "test"


def refuse_seen(seen: Pool | None, judged: Pool | None, name: str, model: str) -> None:
    """Refuse images that a model was trained on, whatever their classes are called now.

    Args:
        seen: what it was trained on; None where that is not known.
        judged: what it is to be judged on; None where that is no pool of images.
        name: of the data, for the message.
        model: which, likewise.

    Raises:
        DataError: names the classes.
    """
    shared = shared_images(seen, judged) if seen is not None and judged is not None else []
    if shared:
        raise DataError(f"{name} holds images that {model} was trained on: {listed(shared)}")


def _seen_images(source: Images, subject: Subject) -> Pool | None:
    """What a model was trained on, where that is still to be found; None where it is not."""
    kept = parse_kept(subject.manifest.training.get("kept"), Path(subject.path, MANIFEST))
    if not isinstance(kept, KeptFolder):
        own = subject.trained_on
        # A collection's own splits share nothing, and how a folder was split is not known.
        if own is None or own == source.name or own.lower() not in SOURCES:
            return None
    elif not kept.place.is_dir():
        return source.pools.get("train") if kept.known(source.name) else None
    elif not source.curated and Path(source.name).samefile(kept.place):
        return source.pools.get("train")
    else:
        own = kept.folder
    with contextlib.suppress(DataError):  # a folder that is no longer whole, a missing collection
        trained = open_for(subject.manifest, subject.path, own)
        return trained.pools.get("train") if isinstance(trained, Images) else None
    return None

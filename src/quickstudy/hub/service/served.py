"""A stored model that is served: from what clients send to what it answers."""

import base64
import binascii
import io
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.artefacts.manifest import Manifest
from quickstudy.core import Examples, Learner, State, Task, examples
from quickstudy.core.batching import device_of
from quickstudy.core.tasks import check_targets, leaves
from quickstudy.data.arrays import numbers
from quickstudy.data.columns import Columns
from quickstudy.data.episodes import scale
from quickstudy.data.preprocessing import Preprocessing, Unreadable, decode, opened, prepare
from quickstudy.errors import TaskError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.devices import choose_device
from quickstudy.hub.inputs import as_input, in_parts, learned
from quickstudy.hub.rows import answered
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.problems import Refused
from quickstudy.hub.service.work import Steps, Wish
from quickstudy.hub.tables import reading_of
from quickstudy.hub.wire import Inputs, ModelInfo, Nearest, Prediction, Predictions, Support
from quickstudy.learners.embedding import EmbeddingLearner

T = TypeVar("T")


class Known(NamedTuple):
    """Labelled examples as a model knows them.

    Attributes:
        x: inputs [n, *input]; bytes of images, else floats in the model's units.
        y: class numbers [n], or targets [n, d] in the model's units.
        labels: of the classes, in the order they came; None for numbers.
    """

    x: Tensor
    y: Tensor
    labels: tuple[str | int, ...] | None

    def plus(self, more: "Known") -> "Known":
        """Both, the new ones last; new labels get the next numbers."""
        x, y, labels = _joined(self.x, more.x), more.y, None
        if self.labels is not None and more.labels is not None:
            labels = tuple(dict.fromkeys((*self.labels, *more.labels)))
            y = torch.tensor([labels.index(label) for label in more.labels])[y]
        return Known(x, torch.cat([self.y, y]), labels)

    @property
    def counts(self) -> list[int]:
        """Examples of each class; or of all, for numbers."""
        if self.labels is None:
            return [len(self.y)]
        counts: list[int] = torch.bincount(self.y, minlength=len(self.labels)).tolist()
        return counts


class Question(NamedTuple):
    """What is asked.

    Attributes:
        x: inputs, as `read` gives them.
        nearest: tell which example each is most like, if the model has embeddings.
    """

    x: Tensor
    nearest: bool = False


class Served:
    """A model, ready to be adapted by anybody.

    Args:
        name: in addresses.
        folder: of a run, or of a stored model.
        limits: what a request may hold.
        device: where it computes.

    Raises:
        QuickstudyError: there is no model, or it is damaged.
    """

    def __init__(self, name: str, folder: Path | str, limits: Limits, device: str = "auto") -> None:
        self.name = name
        self.folder = Path(folder)
        self.limits = limits
        self.learner, model = load_model(folder, device=choose_device(device))
        self.manifest: Manifest = model.manifest
        self.reading = reading_of(self.manifest.preprocessing, folder)
        self.shape = tuple(self.manifest.input_shape or ()) or None
        if isinstance(self.reading, Preprocessing):
            self.shape = (self.reading.channels, self.reading.size, self.reading.size)
        elif isinstance(self.reading, Columns):
            self.shape = (len(self.reading.features),)
        self.embedding = _embeds_alone(self.learner)
        self.info = self._info()

    def _info(self) -> ModelInfo:
        kinds: dict[type, Literal["images", "table"]] = {Preprocessing: "images", Columns: "table"}
        columns = self.reading if isinstance(self.reading, Columns) else None
        return ModelInfo(
            name=self.name,
            learner=type(self.learner).__name__,
            targets=self.learner.targets,
            input_shape=None if self.shape is None else list(self.shape),
            reads=kinds.get(type(self.reading), "numbers"),
            features=list(columns.features) if columns else None,
            values=list(columns.targets) if columns and columns.outputs else None,
            transductive=self.learner.transductive,
            digest=self.manifest.digest,
            metrics=dict(self.manifest.metrics),
            training=dict(self.manifest.training),
        )

    def know(self, given: Support) -> Known:
        """Read labelled examples.

        Raises:
            QuickstudyError: they are not what the model takes.
            Refused: they are more than is allowed.
        """
        classes = self.learner.targets == "classes"
        if classes != (given.labels is not None):
            wanted = "labels, as it tells classes apart" if classes else "targets: it gives numbers"
            raise TaskError(f"the model {self.name} wants {wanted}")
        if given.labels is not None:
            self._allow(given.count, given.labels)
            return self.labelled(self.read(given), given.labels)
        self._allow(given.count, None)
        return self.valued(self.read(given), numbers("targets", given.targets or []))

    def labelled(self, x: Tensor, labels: Sequence[str | int]) -> Known:
        """Inputs, as `read` or `pictures` gives them, of these classes.

        Raises:
            QuickstudyError: the model tells no classes apart.
            Refused: they are more than is allowed.
        """
        if self.learner.targets != "classes":
            raise TaskError(f"the model {self.name} wants targets: it predicts numbers")
        self._allow(len(x), labels)
        place = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        return Known(x, torch.tensor([place[label] for label in labels]), tuple(place))

    def valued(self, x: Tensor, y: Tensor) -> Known:
        """Inputs, as `taken` gives them, and targets [n, d] in units of the table.

        Raises:
            QuickstudyError: the model tells classes apart.
            Refused: they are more than is allowed.
        """
        if self.learner.targets == "classes":
            raise TaskError(f"the model {self.name} wants labels, as it tells classes apart")
        self._allow(len(x), None)
        if isinstance(self.reading, Columns):
            y = self.reading.standardised(y.double(), len(self.reading.features))
        return Known(x, y, None)

    def more(self, known: Known, new: Known) -> Known:
        """What is known and some examples more.

        Raises:
            Refused: they are more than is allowed.
        """
        both = known.plus(new)
        self._allow(len(both.x), both.labels)
        return both

    def _allow(self, count: int, labels: Sequence[str | int] | None) -> None:
        if count > self.limits.support:
            raise Refused(422, f"at most {self.limits.support} examples are taken, got {count}")
        classes = set(labels or ())
        if len(classes) > self.limits.ways:
            raise Refused(422, f"at most {self.limits.ways} classes are taken, got {len(classes)}")
        twice = [text for text, times in Counter(map(str, classes)).items() if times > 1]
        if twice:
            raise TaskError(f"the labels {twice[0]!r} and {twice[0]} cannot be told apart in JSON")

    def adapt(self, known: Known) -> "Steps[Learned]":
        """Learn from examples; a job for `Work.do_steps`.

        Raises:
            QuickstudyError: they are too few, or lead the model to numbers that are not finite.
        """
        if known.labels is not None and len(known.labels) < 2:
            raise TaskError(f"wanted examples of 2 classes or more, got only {known.labels[0]!r}")
        z = (yield Wish(self, known.x)) if self.embedding else None
        # What is embedded already is all that the learner looks at.
        x = as_input(self.learner, known.x) if z is None else z.to(device_of(self.learner))
        if known.labels is None:
            support = Examples(x, known.y.to(x), torch.ones(len(x)).to(x))
            check_targets(self.learner, Task(support, support))
        else:
            support = examples(x, known.y.to(x.device), len(known.labels))
        embedded = None if z is None else x
        return Learned(known, learned(self.learner, support, "this support set", embedded), z)

    def read(self, given: Inputs) -> Tensor:
        """Inputs as the model knows them.

        Raises:
            QuickstudyError: they are no pictures or numbers, or of another shape.
        """
        if given.images is not None:
            return self.pictures([_unwrapped(text, i) for i, text in enumerate(given.images)])
        return self.taken(numbers("x", given.x or []))

    def taken(self, x: Tensor) -> Tensor:
        """Numbers that a client sent as the model knows them.

        Raises:
            QuickstudyError: they are of another shape or range.
        """
        if self.shape is not None and tuple(x.shape[1:]) != self.shape:
            wanted = ", ".join(map(str, ("n", *self.shape)))
            raise TaskError(f"x must be inputs [{wanted}], got {list(x.shape)}")
        if isinstance(self.reading, Columns):
            return self.reading.standardised(x.double())
        low, high = float(x.min()), float(x.max())
        if isinstance(self.reading, Preprocessing) and (low < 0 or high > 1):
            raise TaskError(f"pixels must be in 0..1, got {low:g} to {high:g}")
        return x

    def pictures(self, files: Sequence[bytes], names: Sequence[str] | None = None) -> Tensor:
        """Image files as the model knows them.

        Args:
            files: their bytes.
            names: what they are called where they cannot be used; their numbers where None.

        Raises:
            QuickstudyError: some are no images, or the model reads none.
        """
        if not isinstance(self.reading, Preprocessing):
            raise TaskError(f"the model {self.name} was not trained on images, so it reads none")
        called = names or [str(number) for number in range(len(files))]
        areas = [_each(self._area, *one) for one in zip(called, files, strict=True)]
        if sum(areas) > self.limits.pixels:
            most = self.limits.pixels
            raise Refused(422, f"the images have {sum(areas)} pixels; at most {most} are taken")
        read = partial(_prepared, self.reading)
        return torch.from_numpy(
            np.stack([_each(read, *one) for one in zip(called, files, strict=True)])
        )

    def _area(self, file: bytes) -> int:
        """The pixels of an image file, as its head says: nothing is unpacked."""
        with opened(io.BytesIO(file)) as image:
            area = image.width * image.height
        if area > self.limits.image:
            raise Unreadable(f"{area} pixels; at most {self.limits.image} are taken")
        return area

    @property
    def shares(self) -> bool:
        """Whether its jobs cost little but for embeddings, which many may have together."""
        return self.embedding is not None

    def embed(self, x: Tensor) -> Float[Tensor, "n d"]:
        """Embeddings of inputs, each as if it were alone."""
        learner = self.embedding
        assert learner is not None  # only those who have embeddings wish for them
        with torch.inference_mode():  # what `Work` hands out are copies, which autograd takes
            return in_parts(learner, lambda _, part: learner.embed(part), None, x)

    def predict(self, what: "Learned", x: Tensor, nearest: bool = False) -> "Steps[Predictions]":
        """Answer inputs; a job for `Work.do_steps`.

        Args:
            what: what the model learned.
            x: what is asked, as `read` gives it.
            nearest: tell which example each is most like, if the model has embeddings.

        Raises:
            QuickstudyError: the inputs lead the model to numbers that are not finite.
            Refused: they are more than is allowed.
        """
        if len(x) > self.limits.queries:
            most = self.limits.queries
            raise Refused(422, f"at most {most} inputs are answered, got {len(x)}")
        known, learner = what.known, self.learner
        values = known.labels is None
        if self.embedding is not None:
            z = yield Wish(self, x)
            with torch.no_grad():
                scores = self.embedding.compare(what.state, z.to(device_of(learner))).cpu()
            scores = scores if values else torch.softmax(scores, -1)
        else:
            z = None
            ask = learner.predict if values else learner.probabilities
            scores = in_parts(learner, ask, what.state, x)
        names: tuple[str, ...] = ()
        if isinstance(self.reading, Columns) and values:
            scores, names = self.reading.in_units(scores), self.reading.targets
        said = [_answer(answered(row, known.labels, names)) for row in scores]
        if nearest and z is not None and what.seen is not None:
            for prediction, number in zip(said, _nearest(z, what.seen), strict=True):
                label = None if known.labels is None else known.labels[int(known.y[number])]
                prediction.nearest = Nearest(example=number, label=label)
        return Predictions(predictions=said, transductive=learner.transductive)


class Learned(NamedTuple):
    """What a model learned from examples.

    Attributes:
        known: the examples.
        state: what the learner made of them.
        seen: their embeddings [n, d]; None of a model that has none.
    """

    known: Known
    state: State
    seen: Tensor | None

    @property
    def bytes(self) -> int:
        """What it takes."""
        seen = () if self.seen is None else (self.seen,)
        tensors = (self.known.x, self.known.y, *leaves(self.state), *seen)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _joined(old: Tensor, new: Tensor) -> Tensor:
    """Inputs, the new ones last; where some are images' bytes and some numbers, as numbers."""
    if old.dtype == new.dtype:
        return torch.cat([old, new])
    return torch.cat([scale(x, torch.Generator()) for x in (old, new)])


def _nearest(z: Float[Tensor, "m d"], seen: Float[Tensor, "n d"]) -> list[int]:
    """The number of the example that each is closest to."""
    nearest: list[int] = torch.cdist(z.flatten(1), seen.flatten(1)).argmin(1).tolist()
    return nearest


def _embeds_alone(learner: Learner) -> EmbeddingLearner | None:
    """A learner that embeds each input as if it were alone and does the rest from that, or None."""
    if not isinstance(learner, EmbeddingLearner) or learner.transductive:
        return None
    own, usual = type(learner), EmbeddingLearner
    names = ("adapt", "predict", "probabilities")
    return learner if all(getattr(own, n) is getattr(usual, n) for n in names) else None


def _answer(told: dict[str, object]) -> Prediction:
    """One row's answer; the values of a model of numbers have another name on the wire."""
    values = told.pop("predictions", None)
    return Prediction.model_construct(**told, values=values)  # type: ignore[arg-type]


def _prepared(reading: Preprocessing, file: bytes) -> NDArray[np.uint8]:
    return prepare(decode(io.BytesIO(file)), reading)


def _each(read: Callable[[bytes], T], name: str, file: bytes) -> T:
    """What is read from an image file; which one cannot be used is told."""
    try:
        return read(file)
    except Unreadable as reason:
        raise Unreadable(f"image {name} cannot be used: {reason}") from None


def _unwrapped(text: str, number: int) -> bytes:
    """The file that a base64 string holds, a data URL's too."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    body = "".join(body.split())  # lines, as tools write them
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise TaskError(f"image {number} is no base64") from None

"""Few-shot learning as a scikit-learn classifier: `fit` adapts to a few examples."""

import math
import numbers
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from quickstudy.core import Learner, examples
from quickstudy.core.evaluate import metric_of
from quickstudy.data.pictures import from_pictures
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, TaskError
from quickstudy.hub.adapting import as_input, in_parts
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.devices import choose_device
from quickstudy.hub.sources import preprocessing_of


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # they ship no types
    """A meta-trained model that learns new classes from a few examples of each.

    Works in scikit-learn's pipelines, cross-validation and searches. `fit` adapts: it keeps what
    was learned, and leaves the model's numbers as they were. A learner that is handed in is put
    into evaluation mode; predicting changes nothing, so threads may share one.

    A model of pictures takes X as a list of paths, Pillow images or arrays, or as one array:
    [n, h, w], [n, h, w, c] or [n, c, h, w], whole numbers in 0..255 or floats in 0..1, of any size;
    or as flat rows [n, c * size * size] of the model's own size. Any other model takes numbers
    [n, ...] as it was trained on them.

    Args:
        model: the folder of a run or a stored model; or a learner.
        preprocessing: how pictures become the model's input. Where None, as a stored model says;
            a learner then takes numbers as they are (bytes are divided by 255).
        device: where a stored model runs: "cpu", "cuda", "mps", or "auto" for the fastest that is
            there. A learner runs where it is.

    Attributes:
        classes_: [way] the labels, sorted, or as they came where they have no order.
        learner_: the learner, in evaluation mode.
        state_: what it learned from the examples.

    Examples:
        >>> from quickstudy.learners import NearestMean
        >>> classifier = FewShotClassifier(NearestMean())
        >>> classifier.fit([[0.0, 0.1], [0.9, 1.0]], ["dark", "light"]).predict([[0.8, 0.7]])
        array(['light'], dtype='<U5')
    """

    def __init__(
        self,
        model: Path | str | Learner,
        preprocessing: Preprocessing | None = None,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to examples.

        Args:
            X: n inputs; see the class.
            y: [n] labels: numbers, strings, tuples, anything hashable.

        Raises:
            DataError: inputs or labels that cannot be used, or fewer than two classes.
            TaskError: the learner does not take such a task, or predicts numbers.
            ArtefactError: there is no stored model, or it is damaged.
            RunError: the run has no model yet, or there is no such device.
        """
        self.__dict__.pop("state_", None)  # a fit that fails leaves nothing half learned
        self.learner_, self._how, self._shape = self._open()
        self.classes_, codes = encode(y)
        x = as_input(self.learner_, self._inputs(X, fitting=True))
        if len(x) != len(codes):
            raise DataError(f"X and y must agree in number, got {len(x)} and {len(codes)}")
        if len(self.classes_) < 2:
            raise DataError(
                f"examples must be of at least 2 classes, got {len(self.classes_)} class"
            )
        support = examples(x, torch.from_numpy(codes).to(x.device), len(self.classes_))
        if any(module.training for module in self.learner_.modules()):
            self.learner_.eval()
        with torch.no_grad():
            self.state_ = self.learner_.adapt(support)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest label of each of m inputs, [m].

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used.
        """
        check_is_fitted(self)
        logits = in_parts(self.learner_, self.learner_.predict, self.state_, self._inputs(X))
        answers: NDArray[Any] = self.classes_[logits.argmax(-1).numpy()]
        return answers

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities [m, way] of the classes, in the order of `classes_`.

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used.
        """
        check_is_fitted(self)
        x, learner = self._inputs(X), self.learner_
        shares = in_parts(learner, learner.probabilities, self.state_, x).double()
        probabilities: NDArray[np.float64] = (shares / shares.sum(-1, keepdim=True)).numpy()
        return probabilities

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of inputs whose label is predicted; labels of any kind.

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used, or another number of labels.
        """
        answers, truths = self.predict(X), list(y)
        if len(truths) != len(answers):
            raise DataError(f"X and y must agree in number, got {len(answers)} and {len(truths)}")
        right = [truth == answer for truth, answer in zip(truths, answers, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "state_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _open(self) -> tuple[Learner, Preprocessing | None, tuple[int, ...] | None]:
        """The learner, how pictures become its input, and the shape of one input where known."""
        how, shape = self.preprocessing, None
        model: object = self.model
        if isinstance(model, Learner):
            learner = model
        elif isinstance(model, Path | str):
            learner, stored = load_model(model, device=choose_device(self.device))
            if how is None and stored.manifest.preprocessing:
                how = preprocessing_of(stored.manifest.preprocessing, model)
            shape = tuple(stored.manifest.input_shape or ()) or None
        else:
            kind = type(model).__name__
            raise TaskError(f"model must be the folder of a model or a learner, got a {kind}")
        if metric_of(learner) != "accuracy":
            raise TaskError(
                f"this {type(learner).__name__} predicts numbers; wanted a learner of classes"
            )
        return learner, how, (how.channels, how.size, how.size) if how else shape

    def _inputs(self, X: Any, fitting: bool = False) -> Tensor:
        """X as one tensor, its pictures or numbers as the learner knows them."""
        if self._how is None:
            return self._numbers(X, fitting)
        return from_pictures(self._unfolded(X, fitting), self._how)

    def _numbers(self, X: Any, fitting: bool) -> Tensor:
        """X as the numbers that it is, in the learner's shape; flat rows are folded into it."""
        X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
        with _one_line():
            X = np.asarray(X) if isinstance(X, Sequence) else X
            came = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim > 2 else None
            if getattr(X, "ndim", 2) < 2:
                raise DataError(
                    f"X must be [n, ...], got {list(X.shape)}. Reshape your data: [x] is one input"
                )
            flat = X if came is None else X.reshape(len(X), math.prod(came))
            rows = validate_data(self, flat, reset=fitting)
        came = came or rows.shape[1:]
        shape = self._shape or came
        if came != shape and came != (math.prod(shape),):
            raise DataError(f"one input must be {list(shape)}, got {list(came)}")
        if fitting:
            self._shape = shape
        return torch.tensor(rows.reshape(-1, *shape))

    def _unfolded(self, X: Any, fitting: bool) -> Iterable[Any]:
        """X as single pictures; flat rows become [channels, size, size]."""
        X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
        try:
            rows = list(np.asarray(X) if hasattr(X, "__array__") else X)
        except TypeError:
            raise DataError(f"X must be pictures, got one {type(X).__name__}") from None
        if isinstance(X, str):
            raise DataError(f"X must be a list of pictures, got one str: {X}")
        flat = rows and isinstance(rows[0], list | tuple | np.ndarray) and len(rows[0])
        if flat and isinstance(rows[0][0], numbers.Real):
            return self._numbers(X, fitting).numpy()
        return rows


def encode(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes among labels, and the place of each label's class.

    Args:
        y: [n] hashable labels: an array, a tensor, or any sequence.

    Returns:
        Classes [way], sorted, or in the order of first appearance where they have no order; and
        places [n] in 0..way-1. Numbers and strings of one kind make an array of that kind.

    Raises:
        DataError: no labels, or some that are NaN, fractional or not hashable.

    Examples:
        >>> encode(["b", "a", "b"])
        (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
        >>> encode([("b", 1), ("a", 2)])[0]
        array([('a', 2), ('b', 1)], dtype=object)
    """
    if y is None:
        raise DataError("fit requires y to be passed, but the target y is None")
    y = y.detach().cpu() if isinstance(y, Tensor) else y
    if not isinstance(y, list | tuple):  # an array, a column of a table, ...
        with _one_line():
            y = column_or_1d(np.asarray(y), warn=True)
    labels = [label.item() if isinstance(label, np.generic) else label for label in y]
    fractional = [v for v in labels if isinstance(v, float) and not v.is_integer()]
    if fractional:
        raise DataError(f"Unknown label type: {fractional[0]}; wanted classes, not amounts")
    try:
        found = dict.fromkeys(labels)
    except TypeError as error:
        raise DataError(f"labels must be hashable: {error}") from None
    if not found:
        raise DataError("fit needs at least one label, got none")
    try:
        ordered = sorted(found)
    except TypeError:
        ordered = list(found)
    kinds = {type(label) for label in ordered}
    if isinstance(y, np.ndarray) and y.dtype != object:
        classes = np.array(ordered, dtype=y.dtype)
    elif isinstance(y, list | tuple) and len(kinds) == 1 and kinds <= {bool, int, float, str}:
        classes = np.array(ordered)
    else:  # numpy would take tuples for rows, and make strings of what is mixed
        classes = np.empty(len(ordered), dtype=object)
        classes[:] = ordered
    place = {label: i for i, label in enumerate(ordered)}
    return classes, np.array([place[label] for label in labels])


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what numpy and scikit-learn say about data, in several lines, into the first of them."""
    try:
        yield
    except ValueError as error:
        raise DataError(str(error).splitlines()[0]) from error

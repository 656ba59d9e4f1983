"""Few-shot learning as a scikit-learn classifier: `fit` adapts to a few examples."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from quickstudy.core import examples
from quickstudy.errors import DataError
from quickstudy.hub.few_shot import FewShot, one_line


class FewShotClassifier(ClassifierMixin, FewShot):  # type: ignore[misc]  # they ship no types
    """A meta-trained model that learns new classes from a few examples of each.

    Works in scikit-learn's pipelines, cross-validation and searches. `fit` adapts: it keeps what
    was learned, and leaves the model's numbers as they were. A learner that is handed in is put
    into evaluation mode; predicting changes nothing, so threads may share one.

    A model of pictures takes X as a list of paths, Pillow images or arrays, or as one array:
    [n, h, w], [n, h, w, c] or [n, c, h, w], whole numbers in 0..255 or floats in 0..1, of any size;
    or as flat rows [n, c * size * size] of the model's own size. A model of a table takes its
    features [n, features] in the table's own units, or a frame that has these columns. Any other
    model takes numbers [n, ...] as it was trained on them.

    Args:
        model: the folder of a run or a stored model; a platform; or a learner.
        preprocessing: how pictures, or the columns of a table, become the model's input. Where
            None, as a stored model or a platform says; a learner then takes numbers as they are
            (bytes are divided by 255).
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

    targets = "classes"

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
        self._open_model()
        self.classes_, codes = encode(y)
        x = self._support_inputs(X, len(codes))
        if len(self.classes_) < 2:
            raise DataError(
                f"examples must be of at least 2 classes, got {len(self.classes_)} class"
            )
        self._learn(examples(x, torch.from_numpy(codes).to(x.device), len(self.classes_)))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest label of each of m inputs, [m].

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used.
        """
        self._fitted()
        answers: NDArray[Any] = self.classes_[
            self._ask(self.learner_.predict, X).argmax(-1).numpy()
        ]
        return answers

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities [m, way] of the classes, in the order of `classes_`.

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used.
        """
        self._fitted()
        shares = self._ask(self.learner_.probabilities, X).double()
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
        with one_line():
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

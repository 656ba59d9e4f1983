"""Few-shot learning as a scikit-learn regressor: `fit` adapts to a few examples."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array
from torch import Tensor

from quickstudy.core import Examples
from quickstudy.errors import DataError
from quickstudy.hub.few_shot import FewShot, one_line


class FewShotRegressor(RegressorMixin, FewShot):  # type: ignore[misc]  # they ship no types
    """A meta-trained model that learns a new function from a few of its values.

    Works in scikit-learn's pipelines, cross-validation and searches. `fit` adapts: it keeps what
    was learned, and leaves the model's numbers as they were. A learner that is handed in is put
    into evaluation mode; predicting changes nothing, so threads may share one.

    A model of a table takes its features [n, features] in the table's own units, or a frame that
    has these columns, and answers in the units of its targets. Any other model takes numbers
    [n, ...] as it was trained on them; pictures as `FewShotClassifier` does.

    Args:
        model: the folder of a run or a stored model; a platform; or a learner; of real targets.
        preprocessing: how pictures, or the columns of a table, become the model's input. Where
            None, as a stored model or a platform says; a learner then takes numbers as they are
            (bytes are divided by 255).
        device: where a stored model runs: "cpu", "cuda", "mps", or "auto" for the fastest that is
            there. A learner runs where it is.

    Attributes:
        learner_: the learner, in evaluation mode.
        state_: what it learned from the examples.

    Examples:
        >>> from quickstudy.learners import SupportMean
        >>> regressor = FewShotRegressor(SupportMean())
        >>> regressor.fit([[0.0], [1.0]], [1.0, 3.0]).predict([[0.5], [9.0]])
        array([2., 2.])
    """

    targets = "values"

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to examples.

        Args:
            X: n inputs; see the class.
            y: [n] or [n, d] numbers.

        Raises:
            DataError: inputs or targets that cannot be used, or another number of targets than the
                model predicts.
            TaskError: the learner does not take such a task, or predicts classes.
            ArtefactError: there is no stored model, or it is damaged.
            RunError: the run has no model yet, or there is no such device.
        """
        self._open_model()
        amounts = _amounts(y)
        self._one_target = amounts.ndim == 1
        values = torch.from_numpy(amounts.reshape(len(amounts), -1))
        columns = self._columns
        own = len(columns.targets) if columns else getattr(self.learner_, "outputs", None)
        if own is not None and own != values.shape[1]:
            named = f" ({', '.join(columns.targets)})" if columns else ""
            wanted = f"{own} target{'s' if own > 1 else ''}{named}"
            raise DataError(f"this model predicts {wanted}, got y with {values.shape[1]}")
        if columns:
            values = columns.standardised(values, first=len(columns.features))
        x = self._support_inputs(X, len(values))
        self._learn(Examples(x, values.to(x), torch.ones(len(x)).to(x)))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The predicted targets of m inputs: [m] or [m, d], as `fit` was given them.

        Raises:
            NotFittedError: `fit` comes first.
            DataError: inputs that cannot be used.
        """
        self._fitted()
        answers = self._ask(self.learner_.predict, X).double()
        if self._columns:
            answers = self._columns.in_units(answers)
        found: NDArray[np.float64] = answers.numpy()
        return found[:, 0] if self._one_target else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _amounts(y: Any) -> NDArray[np.float64]:
    """Targets [n] or [n, d] as finite numbers."""
    if y is None:
        raise DataError("fit requires y to be passed, but the target y is None")
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    with one_line():
        array = np.asarray(y)
        text = array.dtype.kind in "USb" or any(isinstance(v, str) for v in array.flat)
        if text:
            raise DataError("y must be numbers, got labels; FewShotClassifier learns classes")
        if array.ndim not in (1, 2):
            raise DataError(f"y must be [n] or [n, targets], got {list(array.shape)}")
        numbers = check_array(array, ensure_2d=False, dtype=np.float64, input_name="y")
    amounts: NDArray[np.float64] = np.array(numbers)
    return amounts

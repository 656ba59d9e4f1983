"""What the scikit-learn estimators share: a model, inputs of any kind, a state."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from quickstudy.core import Examples, Learner
from quickstudy.data.columns import Columns
from quickstudy.data.pictures import from_pictures
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, TaskError
from quickstudy.hub.arguments import arguments_named
from quickstudy.hub.catalogue import LEARNERS, load_model, look_up
from quickstudy.hub.devices import choose_device
from quickstudy.hub.inputs import as_input, in_parts, learned
from quickstudy.hub.source import Source
from quickstudy.hub.tables import reading_of

if TYPE_CHECKING:
    from quickstudy.hub.platform import Platform


class FewShot(ABC, BaseEstimator):  # type: ignore[misc]  # they ship no types
    """A meta-trained model as a scikit-learn estimator, whatever it predicts.

    Args:
        model: the folder of a run or a stored model; a platform; or a learner.
        preprocessing: how pictures, or the columns of a table, become the model's input. Where
            None, as a stored model or a platform says; a learner then takes numbers as they are
            (bytes are divided by 255).
        device: where a stored model runs: "cpu", "cuda", "mps", or "auto" for the fastest that is
            there. A learner runs where it is.
    """

    targets: ClassVar[Literal["classes", "values"]]

    def __init__(
        self,
        model: "Path | str | Platform | Learner",
        preprocessing: Preprocessing | Columns | None = None,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.device = device

    @abstractmethod
    def predict(self, X: Any) -> NDArray[Any]:
        """Answers for inputs."""

    @arguments_named()
    def _open_model(self) -> None:
        """Forget what was learned, and find the learner and how inputs become its own."""
        self.__dict__.pop("state_", None)  # a fit that fails leaves nothing half learned
        self.learner_, self._how, self._shape = self._opened()

    def _learn(self, support: Examples) -> None:
        if any(module.training for module in self.learner_.modules()):
            self.learner_.eval()
        self.state_ = learned(self.learner_, support, "fit(X, y)")

    def _ask(self, function: Callable[[Any, Tensor], Tensor], X: Any) -> Tensor:
        """A function of the learner's for inputs, on the CPU."""
        return in_parts(self.learner_, function, self.state_, self._inputs(X))

    def _fitted(self) -> None:
        check_is_fitted(self)

    def _support_inputs(self, X: Any, count: int) -> Tensor:
        """Inputs to adapt to, of which there have to be `count`."""
        x = as_input(self.learner_, self._inputs(X, fitting=True))
        if len(x) != count:
            raise DataError(f"X and y must agree in number, got {len(x)} and {count}")
        return x

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "state_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @property
    def _columns(self) -> Columns | None:
        return self._how if isinstance(self._how, Columns) else None

    def _opened(
        self,
    ) -> tuple[Learner, Preprocessing | Columns | None, tuple[int, ...] | None]:
        """The learner, how inputs become its own, and the shape of one input where known."""
        how, shape = self.preprocessing, None
        model: object = self.model
        trained = getattr(model, "learner", None)  # of a platform, whose module brings a lot along
        if isinstance(model, Learner):
            learner = model
        elif isinstance(trained, Learner):
            source: Source = model.source  # type: ignore[attr-defined]
            learner, how = trained, how or source.preprocessing
            shape = source.input_shape or None
        elif isinstance(model, Path | str):
            if not Path(model).exists() and look_up(str(model), LEARNERS):
                raise TaskError(
                    f"{model} is the name of a learner that has learned nothing yet; wanted the "
                    "folder of a run, a platform or a learner, meta-trained"
                )
            learner, stored = load_model(model, device=choose_device(self.device))
            how = how or reading_of(stored.manifest.preprocessing, model)
            shape = tuple(stored.manifest.input_shape or ()) or None
        else:
            kind = type(model).__name__
            raise TaskError(
                f"model must be the folder of a model, a platform or a learner, got {kind}"
            )
        said = {"classes": "classes", "values": "numbers"}
        if learner.targets != self.targets:
            raise TaskError(
                f"this {type(learner).__name__} predicts {said[learner.targets]}; "
                f"wanted a learner of {said[self.targets]}"
            )
        if isinstance(how, Columns) and (how.outputs is None) != (self.targets == "classes"):
            kind = "classes" if how.outputs is None else "numbers"
            raise TaskError(f"the columns are those of {kind}; wanted some of {said[self.targets]}")
        if isinstance(how, Preprocessing):
            shape = (how.channels, how.size, how.size)
        elif isinstance(how, Columns):
            shape = (len(how.features),)
        return learner, how, shape

    def _inputs(self, X: Any, fitting: bool = False) -> Tensor:
        """X as one tensor, its pictures or numbers as the learner knows them."""
        if isinstance(self._how, Preprocessing):
            return from_pictures(self._unfolded(X, fitting), self._how)
        columns = self._columns
        if columns is None:
            return self._numbers(X, fitting)
        rows = self._numbers(_by_name(X, columns), fitting)
        return columns.standardised(rows.double())

    def _numbers(self, X: Any, fitting: bool) -> Tensor:
        """X as the numbers that it is, in the learner's shape; flat rows are folded into it."""
        X = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
        with one_line():
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
        return torch.tensor(np.ascontiguousarray(rows.reshape(-1, *shape)))

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


def _by_name(X: Any, columns: Columns) -> Any:
    """The model's features of a frame, in its order; anything without named columns as it is."""
    names = getattr(X, "columns", None)
    if names is None:
        return X
    lacking = [name for name in columns.features if name not in list(names)]
    if lacking:
        raise DataError(
            f"X must have the columns {', '.join(columns.features)}; "
            f"{', '.join(lacking)} is missing"
        )
    return X[list(columns.features)]


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what numpy and scikit-learn say about data, in several lines, into the first of them."""
    try:
        yield
    except ValueError as error:
        raise DataError(str(error).splitlines()[0]) from error

"""What the service and its clients say to each other; imports no torch."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.config import JsonDict

LABEL = (
    "a label is text of 1 to 200 characters, none of them a control character, or a whole number"
)


def is_label(text: str) -> bool:
    r"""Whether text may name a class; half a character, which no answer could carry, may not.

    Examples:
        >>> is_label("alpha"), is_label("al\0pha")
        (True, False)
    """
    controls = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)
    return 0 < len(text) <= 200 and not controls


def _label(given: Any, usual: ValidatorFunctionWrapHandler) -> Any:
    try:
        found = usual(given)
    except ValidationError:
        raise ValueError(f"{LABEL}, got {given!r:.40}") from None
    if isinstance(found, str) and not is_label(found):
        raise ValueError(f"{LABEL}, got {found!r:.40}")
    return found


Label = Annotated[
    Annotated[StrictStr, Field(min_length=1, max_length=200)]
    | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)],
    WrapValidator(_label),
]
"""What a user calls a class."""
Labels = Annotated[list[Label], Field(fail_fast=True)]
Array = Annotated[
    list[Any],
    Field(
        json_schema_extra={"items": {}},
        description="Nested lists of numbers, [n, *input]: one input has the model's shape, as "
        "`GET /v1/models/{model}` says it. Pixels are in 0..1, a table's numbers in its own units.",
    ),
]
Images = Annotated[
    list[StrictStr],
    Field(
        fail_fast=True,
        description="Image files (PNG, JPEG, WebP, GIF, BMP, TIFF) of any size, each in base64.",
    ),
]

_STRICT = ConfigDict(extra="forbid")
_TWO_LETTERS: JsonDict = {
    "labels": ["alpha", "beta"],
    "x": [[[[0, 1], [1, 0]]], [[[1, 1], [0, 0]]]],
}


class Inputs(BaseModel):
    """Inputs in one of two forms.

    Attributes:
        x: numbers, [n, *input].
        images: image files in base64, for models of images.
    """

    model_config = _STRICT

    x: Array | None = None
    images: Images | None = None

    @model_validator(mode="after")
    def _one(self) -> "Inputs":
        if (self.x is None) == (self.images is None):
            raise ValueError("wanted x or images, one of the two")
        if not (self.x or self.images):
            raise ValueError("wanted at least one input, got none")
        return self

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return len(self.x or self.images or ())


class Support(Inputs):
    """Labelled examples.

    Attributes:
        labels: of each example, where the model tells classes apart; any strings or integers.
        targets: of each example, [n, d], where the model predicts numbers.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TWO_LETTERS]})

    labels: Labels | None = None
    targets: (
        Annotated[list[Annotated[list[float], Field(fail_fast=True)]], Field(fail_fast=True)] | None
    ) = None

    @model_validator(mode="after")
    def _paired(self) -> "Support":
        if (self.labels is None) == (self.targets is None):
            raise ValueError("wanted labels or targets, one of the two")
        told = self.labels if self.labels is not None else self.targets or []
        if len(told) != self.count:
            raise ValueError(f"{self.count} inputs came with {len(told)} labels or targets")
        return self


class Query(Inputs):
    """What is asked.

    Attributes:
        nearest: tell also which support example each input is most alike, to the model's eye.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"x": [[[[0, 1], [1, 0]]]]}]}
    )

    nearest: bool = False


class Adapted(BaseModel):
    """A model that was adapted.

    Attributes:
        adapted_id: names it; hard to guess.
        model: whose it is.
        labels: the classes, in the order they came; None for numbers.
        counts: examples of each class; or of all, for numbers.
        created_at: when it was adapted or last extended.
        expires_at: when it will be forgotten.
    """

    adapted_id: str
    model: str
    labels: list[str | int] | None
    counts: list[int]
    created_at: datetime
    expires_at: datetime


class AdaptedList(BaseModel):
    """The adapted models of whoever asks, those used last first."""

    adapted: list[Adapted]


class Nearest(BaseModel):
    """The support example that is most like an input.

    Attributes:
        example: its number, from 0, in the order the examples came.
        label: its class; None for numbers.
    """

    example: int
    label: str | int | None


class Prediction(BaseModel):
    """The answer to one input.

    Attributes:
        label: the likeliest class.
        probabilities: of every class, by label; they sum to one.
        values: the predicted numbers by name, for models of numbers; in a table's own units.
        nearest: where it was asked for, and the model has embeddings.
    """

    label: str | int | None = None
    probabilities: dict[str, float] | None = None
    values: dict[str, float | None] | None = None
    nearest: Nearest | None = None


class Predictions(BaseModel):
    """Answers in the order of the inputs.

    Attributes:
        predictions: one for each input.
        transductive: true where each answer depends on what else was asked in the same request.
    """

    predictions: list[Prediction]
    transductive: bool


class ModelInfo(BaseModel):
    """A model that is served.

    Attributes:
        name: in addresses.
        learner: the method.
        targets: what it predicts.
        input_shape: of one input; None where it varies.
        reads: what an input is made from: image files, the columns of a table, or numbers.
        features: the columns that are an input, of a table's.
        values: the columns that are predicted, of a table's.
        transductive: true where queries of one request influence each other's answers.
        digest: of its manifest.
        metrics: what it scored, the control beside it.
        training: what it was trained on, and how.
    """

    name: str
    learner: str
    targets: Literal["classes", "values"]
    input_shape: list[int] | None
    reads: Literal["images", "table", "numbers"]
    features: list[str] | None = None
    values: list[str] | None = None
    transductive: bool
    digest: str
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}


class ModelList(BaseModel):
    """The models that are served."""

    models: list[ModelInfo]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457, application/problem+json).

    Attributes:
        type: names the kind of problem.
        title: the kind, in words.
        status: the HTTP status.
        detail: what came and what was wanted.
        instance: the address that was asked.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str

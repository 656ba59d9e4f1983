"""The service's client: the same two verbs as in process; imports no torch."""

import base64
import io
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from quickstudy.errors import QuickstudyError
from quickstudy.hub.wire import Adapted, AdaptedList, ModelInfo, ModelList, Predictions

TRIES = 4
"""Of what may safely be asked again."""
WAIT_SECONDS = 0.2
"""Before the second try; twice as long before each one after it."""
LONGEST_WAIT = 10.0
AGAIN = frozenset({429, 502, 503, 504})
"""Answers of a service that was busy, or not there."""


class ServiceError(QuickstudyError):
    """The service refused, or could not be reached; the message is its reason.

    Attributes:
        status: of its answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Answer(NamedTuple):
    """The answer to one input.

    Attributes:
        label: the likeliest class; None for numbers.
        probabilities: of every class, by label; empty for numbers.
        values: the predicted numbers by name; empty for classes.
    """

    label: str | int | None
    probabilities: dict[str, float]
    values: dict[str, float | None]


class Client:
    """Adapts models of a service, and asks them.

    What is safe to ask twice is asked again where the service is busy or cannot be reached; to
    adapt and to extend are not, unless the service has said that it did nothing.

    Args:
        url: where it is, "http://localhost:8008" say.
        key: an API key, where the service asks for one.
        timeout: seconds to wait for an answer.

    Examples:
        >>> Client("http://localhost:8008").url
        'http://localhost:8008'
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def models(self) -> list[ModelInfo]:
        """The models that are served.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        return ModelList.model_validate_json(self._ask("GET", "/v1/models")).models

    def model(self, name: str) -> ModelInfo:
        """What is known of a model.

        Raises:
            ServiceError: there is none of that name, or as for `models`.
        """
        return ModelInfo.model_validate_json(self._ask("GET", f"/v1/models/{_part(name)}"))

    def adapt(self, model: str, examples: Any) -> "Predictor":
        """Adapt a model to labelled examples.

        Args:
            model: its name.
            examples: a mapping from each label to its inputs; or a pair, inputs and their labels
                (or targets [n, d], for models of numbers). An input is an image file's path or
                bytes, a Pillow image, or an array of the model's shape.

        Raises:
            ServiceError: the service refused, or could not be reached.
            QuickstudyError: the examples cannot be sent.
        """
        said = self._ask("POST", f"/v1/models/{_part(model)}/adapt", _support(examples))
        return Predictor(self, Adapted.model_validate_json(said))

    def adapted(self, adapted_id: str) -> "Predictor":
        """What was adapted before.

        Raises:
            ServiceError: there is nothing of that id, or no longer; or as for `models`.
        """
        said = self._ask("GET", f"/v1/adapted/{_part(adapted_id)}")
        return Predictor(self, Adapted.model_validate_json(said))

    def all_adapted(self) -> list["Predictor"]:
        """All that was adapted with this key.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        told = AdaptedList.model_validate_json(self._ask("GET", "/v1/adapted"))
        return [Predictor(self, one) for one in told.adapted]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of a good answer."""
        safe = method in ("GET", "DELETE") or path.endswith("/predict")
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._http.request(method, path, json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing was sent
                reason, again, wait = str(error), True, None
                status = None
            except httpx.HTTPError as error:
                reason, again, wait = str(error) or type(error).__name__, safe, None
                status = None
            else:
                if answer.is_success:
                    return answer.content
                status = answer.status_code
                reason = _reason(answer)
                # 429 is said before anything is done.
                again = status == 429 or (safe and status in AGAIN)
                wait = answer.headers.get("retry-after")
            if not again or attempt == TRIES:
                where = f"{self.url} cannot be reached: " if status is None else ""
                raise ServiceError(where + reason, status)
            _pause(attempt, wait)
        raise AssertionError("the last try returns or raises")


class Predictor:
    """A model that a service has adapted; many can be alive at once.

    Attributes:
        adapted_id: names it.
        labels: of its classes; None for numbers.
        expires_at: when the service will forget it.
    """

    def __init__(self, client: Client, told: Adapted) -> None:
        self._client = client
        self._told = told

    @property
    def adapted_id(self) -> str:
        """Names it."""
        return self._told.adapted_id

    @property
    def labels(self) -> list[str | int] | None:
        """Of its classes; None for numbers."""
        return self._told.labels

    @property
    def expires_at(self) -> datetime:
        """When the service will forget it."""
        return self._told.expires_at

    def predict(self, x: Any) -> list[str | int | dict[str, float | None]]:
        """The likeliest label of each input; or the numbers by name, for models of numbers.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        return [a.values if a.label is None else a.label for a in self.answers(x)]

    def answers(self, x: Any) -> list[Answer]:
        """Label and probabilities of each input.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        said = self._client._ask("POST", f"{self._path}/predict", _inputs(x))
        rows = Predictions.model_validate_json(said).predictions
        return [Answer(row.label, row.probabilities or {}, row.values or {}) for row in rows]

    def extend(self, examples: Any) -> "Predictor":
        """Learn from more examples, of known classes or new ones; as `Client.adapt` takes them.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        said = self._client._ask("POST", f"{self._path}/extend", _support(examples))
        self._told = Adapted.model_validate_json(said)
        return self

    def forget(self) -> None:
        """Have the service forget it.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        self._client._ask("DELETE", self._path)

    @property
    def _path(self) -> str:
        return f"/v1/adapted/{self._told.adapted_id}"


def _support(examples: Any) -> dict[str, Any]:
    if isinstance(examples, Mapping):
        labels = [label for label, inputs in examples.items() for _ in inputs]
        return _inputs([x for inputs in examples.values() for x in inputs]) | {"labels": labels}
    if not isinstance(examples, tuple) or len(examples) != 2:
        raise ServiceError(
            "examples are a mapping from labels to inputs, or a pair (x, labels), "
            f"got {type(examples).__name__}"
        )
    x, y = examples
    y = y.tolist() if hasattr(y, "tolist") else list(y)
    if any(isinstance(one, float) for one in y):
        return _inputs(x) | {"targets": [[one] for one in y]}
    if y and isinstance(y[0], Sequence) and not isinstance(y[0], str):
        return _inputs(x) | {"targets": [list(one) for one in y]}
    return _inputs(x) | {"labels": y}


def _inputs(x: Any) -> dict[str, Any]:
    """Inputs as the wire has them: image files in base64, or numbers."""
    if hasattr(x, "tolist"):
        return {"x": _numbers(x)}
    if isinstance(x, str | bytes | Path):
        raise ServiceError("inputs are a list; [x] is one input")
    rows = list(x)
    pictures = [_picture(one) for one in rows]
    if any(one is not None for one in pictures):
        if None in pictures:
            raise ServiceError("inputs are all image files or all numbers, got both")
        return {"images": pictures}
    return {"x": [_numbers(one) if hasattr(one, "tolist") else one for one in rows]}


def _numbers(array: Any) -> Any:
    """An array or tensor as lists; bytes are pixels, which the wire has in 0..1."""
    pixels = str(array.dtype).rpartition(".")[2] == "uint8"
    return (array / 255 if pixels else array).tolist()


def _picture(one: Any) -> str | None:
    """An image file in base64; None for what is none."""
    if isinstance(one, str | Path):
        try:
            one = Path(one).read_bytes()
        except OSError as error:
            raise ServiceError(f"cannot read {one}: {error.strerror}") from None
    elif hasattr(one, "save") and hasattr(one, "mode"):  # a Pillow image
        file = io.BytesIO()
        one.save(file, "PNG")
        one = file.getvalue()
    return base64.b64encode(one).decode() if isinstance(one, bytes) else None


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = None
    detail = told.get("detail") if isinstance(told, dict) else None
    return str(detail or f"the service answered {answer.status_code}")


def _pause(attempt: int, told: str | None) -> None:
    """Wait before the next try: as long as was said, else longer each time, never all at once."""
    wait = WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
    if told is not None and told.isdigit():
        wait = max(wait, min(float(told), LONGEST_WAIT))
    time.sleep(wait)


def _part(name: str) -> str:
    """A name as a part of an address."""
    return quote(name, safe="")

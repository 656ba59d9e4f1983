"""The service's client: the same two verbs as in process; imports no torch."""

import math
import random
import time
from collections.abc import Mapping
from datetime import datetime
from numbers import Real
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from quickstudy.hub.sending import ServiceError, encoded, inputs, support
from quickstudy.hub.wire import Adapted, AdaptedList, ModelInfo, ModelList, Predictions

__all__ = ["Answer", "Client", "Predictor", "ServiceError"]

TRIES = 4
"""Of what may be asked again, the first included."""
LAST_TRY = 2.0
"""Times the timeout after which no other try begins."""
WAIT_SECONDS = 0.2
"""Before the second try; twice as long before each one after it."""
LONGEST_WAIT = 10.0
LONGEST_TIMEOUT = 1e6
"""Seconds; a socket takes no more than 2**31 milliseconds."""
AGAIN = frozenset({429, 502, 503, 504})
"""Answers of a service that was busy, or not there."""

Told = TypeVar("Told", bound=BaseModel)


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


class Failure(NamedTuple):
    """A try that brought no good answer.

    Attributes:
        reason: in words.
        status: of the answer; None where there was none.
        passes: another try may go better.
        done: what was asked may have been done all the same.
        wait: seconds to wait, as the service said it.
    """

    reason: str
    status: int | None
    passes: bool
    done: bool
    wait: str | None = None


class Client:
    """Adapts models of a service, and asks them.

    Where the service is busy (429, 502, 503, 504), or the connection fails, what was asked is asked
    again: up to four times in all, with waits between them that grow, or as long as the service
    says, ten seconds at most. To adapt and to extend are not safe to do twice, so they are asked
    again only where nothing can have been done: no connection was made, or the answer was 429.
    What the service refuses for another reason is not asked again.

    Args:
        url: where it is, "http://localhost:8008" say.
        key: an API key, where the service asks for one; blanks around it do not count.
        timeout: seconds, more than 0, that one try waits for a connection, and then whenever the
            service is silent. No try begins later than twice as long after the first: a
            service that takes requests and never answers is given up after about twice that.

    Raises:
        ServiceError: the address, the key or the timeout cannot be one.

    Examples:
        >>> Client("http://localhost:8008").url
        'http://localhost:8008'
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        address = _address(url)
        # A password in the address is for the requests, not for what errors show.
        self.url = str(address.copy_with(username="", password="")).rstrip("/")
        self.timeout = _seconds(timeout)
        self._key = _key(key)
        if self._key and address.userinfo:  # which would go in the key's place
            raise ServiceError("the address has a user and a key came too; wanted one of the two")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=self.timeout)

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
        return self._told(ModelList, "GET", "/v1/models").models

    def model(self, name: str) -> ModelInfo:
        """What is known of a model.

        Raises:
            ServiceError: there is none of that name, or as for `models`.
        """
        return self._told(ModelInfo, "GET", f"/v1/models/{_part(name)}")

    def adapt(self, model: str, examples: Any) -> "Predictor":
        """Adapt a model to labelled examples.

        Args:
            model: its name.
            examples: a mapping from each label to a list of its inputs; or a pair, inputs and
                their labels (or targets [n] or [n, d], for models of numbers). A label is a
                string or a whole number. Inputs are a list or an array; one of them is an image
                file (its path, its bytes, the open file or a Pillow image), or numbers of the
                model's shape: an array, a tensor or lists.

        Raises:
            ServiceError: the service refused, or could not be reached; or the examples cannot be
                sent.
        """
        path = f"/v1/models/{_part(model)}/adapt"
        return Predictor(self, self._told(Adapted, "POST", path, support(examples)))

    def adapted(self, adapted_id: str) -> "Predictor":
        """What was adapted before.

        Raises:
            ServiceError: there is nothing of that id, or no longer; or as for `models`.
        """
        return Predictor(self, self._told(Adapted, "GET", f"/v1/adapted/{_part(adapted_id)}"))

    def all_adapted(self) -> list["Predictor"]:
        """All that was adapted with this key and is still held, those used last first.

        Raises:
            ServiceError: the service refused, or could not be reached.
        """
        told = self._told(AdaptedList, "GET", "/v1/adapted")
        return [Predictor(self, one) for one in told.adapted]

    def _told(
        self, kind: type[Told], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Told:
        """A good answer, read."""
        said = self._ask(method, path, body)
        try:
            return kind.model_validate_json(said)
        except ValidationError:
            raise ServiceError(
                f"{self.url} answered something else than was asked for; wanted the address of a "
                "quickstudy service"
            ) from None

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of a good answer."""
        content = None if body is None else encoded(body)
        safe = method in ("GET", "DELETE") or path.endswith("/predict")
        last = time.monotonic() + LAST_TRY * self.timeout
        done = False
        for attempt in range(1, TRIES + 1):
            got = self._try(method, path, content)
            if isinstance(got, bytes):
                return got
            if done and method == "DELETE" and got.status == 404:
                return b""  # an earlier try did it, and its answer was lost
            done = done or got.done
            wait = _wait(attempt, got.wait)
            again = got.passes and (safe or not got.done)
            if not again or attempt == TRIES or time.monotonic() + wait > last:
                raise self._error(got)
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _try(self, method: str, path: str, content: bytes | None) -> bytes | Failure:
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            answer = self._http.request(method, path, content=content, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing was sent
            return Failure(str(error), None, passes=True, done=False)
        except httpx.HTTPError as error:
            lost = httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError
            reason = str(error) or type(error).__name__
            return Failure(reason, None, passes=isinstance(error, lost), done=True)
        if answer.is_success:
            return answer.content
        status = answer.status_code
        # 429 is said before anything is done.
        wait = answer.headers.get("retry-after")
        return Failure(_reason(answer), status, status in AGAIN, status != 429, wait)

    def _error(self, failure: Failure) -> ServiceError:
        where = f"{self.url} cannot be reached: " if failure.status is None else ""
        said = where + failure.reason
        if self._key:  # whatever the answer repeats
            said = said.replace(self._key, "(the key)")
        return ServiceError(said, failure.status)


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

        Args:
            x: inputs, as `Client.adapt` takes them.

        Raises:
            ServiceError: the service refused, or could not be reached; or the inputs cannot be
                sent.
        """
        return [a.values if a.label is None else a.label for a in self.answers(x)]

    def answers(self, x: Any) -> list[Answer]:
        """Label and probabilities, or numbers by name, of each input.

        Raises:
            ServiceError: as for `predict`.
        """
        told = self._client._told(Predictions, "POST", f"{self._path}/predict", inputs(x))
        return [
            Answer(row.label, row.probabilities or {}, row.values or {}) for row in told.predictions
        ]

    def extend(self, examples: Any) -> "Predictor":
        """Learn from more examples, of known classes or new ones; as `Client.adapt` takes them.

        Returns:
            This predictor, which knows them now.

        Raises:
            ServiceError: as for `Client.adapt`.
        """
        path = f"{self._path}/extend"
        self._told = self._client._told(Adapted, "POST", path, support(examples))
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


def _address(url: Any) -> httpx.URL:
    """Where a service is."""
    came = repr(url)[:80]
    try:
        address = httpx.URL(url.strip().rstrip("/"))
        address.raw_host.decode().encode("idna")  # sockets do, and say it in their own words
        good = address.scheme in ("http", "https") and address.host and (address.port or 1) < 2**16
    except (AttributeError, TypeError, ValueError, httpx.InvalidURL):
        good = False
    if not good or address.query or address.fragment:
        if isinstance(url, str) and url.strip().startswith("qs_"):
            came = "what looks like a key"  # the two are easily swapped
        raise ServiceError(f"an address is like http://localhost:8008, or https://, got {came}")
    return address


def _key(key: Any) -> str:
    """A key as a header can carry it; never in an error. Empty for none."""
    if key is None:
        return ""
    if not isinstance(key, str):
        raise ServiceError(f"a key is a string, got {type(key).__name__}")
    bare: str = key.strip()
    if not all("!" <= letter <= "~" for letter in bare):
        raise ServiceError(
            "the key has blanks or other characters that no header can carry; wanted the line that "
            "`quickstudy keys create` printed"
        )
    return bare


def _seconds(timeout: Any) -> float:
    number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    if not number or not 0 < timeout < math.inf:
        raise ServiceError(f"a timeout is seconds, more than 0 and finite, got {timeout!r:.80}")
    return float(min(timeout, LONGEST_TIMEOUT))


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = None
    detail = told.get("detail") if isinstance(told, dict) else None
    return str(detail or f"the service answered {answer.status_code}")


def _wait(attempt: int, told: str | None) -> float:
    """Seconds before the next try: as was said, else more each time, never the same for all."""
    wait: float = WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
    if told is not None and told.isdecimal():
        wait = max(wait, min(float(told), LONGEST_WAIT))
    return wait


def _part(name: Any) -> str:
    """A name as a part of an address."""
    if not isinstance(name, str) or name in ("", ".", ".."):  # the last two lead elsewhere
        raise ServiceError(f"a model's name, or an id, is a string, got {name!r:.80}")
    return quote(name, safe="", errors="replace")

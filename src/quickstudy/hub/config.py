"""What a meta-training run is told to do: every option, its default and its bounds."""

import csv
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.types import JsonValue

from quickstudy.errors import RunError
from quickstudy.hub.recipes import RECIPES, plain_name


def parse_span(value: Any) -> Any:
    """A whole number, or a range written "5-20"; anything else is left for the model to refuse.

    Examples:
        >>> parse_span("5"), parse_span("5-20"), parse_span([5, 20])
        (5, (5, 20), (5, 20))
    """
    if isinstance(value, str):
        ends = value.split("-", 1) if value[:1] != "-" else [value]
        if not all(end.strip().lstrip("-").isdecimal() for end in ends):
            raise ValueError("must be a whole number or a range such as 5-20")
        value = [int(end) for end in ends] if len(ends) > 1 else int(ends[0])
    return tuple(value) if isinstance(value, list) else value


def parse_names(value: Any) -> Any:
    """Names of columns written "a,b", quoted where they hold a comma; anything else as it is.

    Examples:
        >>> parse_names('price,"width, mm"'), parse_names(["a"])
        (['price', 'width, mm'], ['a'])
    """
    if not isinstance(value, str):
        return value
    names = [name.strip() for name in next(csv.reader([value], skipinitialspace=True), [])]
    if not names or "" in names:
        raise ValueError("must be names of columns such as price,size")
    return names


def make_names(flag: str, value: str | None) -> tuple[str, ...] | None:
    """The columns that an option names.

    Raises:
        RunError: it names none.
    """
    try:
        return None if value is None else tuple(parse_names(value))
    except ValueError as error:
        raise RunError(f"{flag} {error}, got {value!r}") from None


def _span(least: int) -> AfterValidator:
    def check(value: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = value if isinstance(value, tuple) else (value, value)
        if low < least:
            raise ValueError(f"must be at least {least}")
        if high < low:
            raise ValueError("must be a range from a smaller to a larger number")
        return low if low == high else (low, high)

    return AfterValidator(check)


Span = int | tuple[int, int]
Positive = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """The options of a run, as `config.json` in its folder holds them.

    Where an option is None, the data or the method decides; `quickstudy train --help` says how.

    Examples:
        >>> TrainConfig(ways="5-20", steps=100).ways
        (5, 20)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: Annotated[str, Field(min_length=1)] = "glyphs"
    system_fonts: bool = False
    size: Annotated[int, Field(ge=1, le=1024)] | None = None
    channels: Literal[1, 3] | None = None
    group: str | None = None
    features: Annotated[tuple[str, ...], BeforeValidator(parse_names)] | None = None
    targets: Annotated[tuple[str, ...], BeforeValidator(parse_names)] | None = None
    leave_out_small: bool = False

    learner: str = "ProtoNet"
    backbone: str | None = None
    down: str | None = None
    norm: str | None = None
    width: int | None = None
    inner_steps: int | None = None
    inner_rate: float | None = None
    first_order: bool | None = None
    rule: str | None = None
    rule_options: dict[str, JsonValue] = Field(default_factory=dict)
    learner_options: dict[str, JsonValue] = Field(default_factory=dict)
    backbone_options: dict[str, JsonValue] = Field(default_factory=dict)

    ways: Annotated[Span, BeforeValidator(parse_span), _span(2)] = 5
    shots: Annotated[Span, BeforeValidator(parse_span), _span(1)] = 1
    queries: Positive = 5
    unlabelled: Annotated[int, Field(ge=0)] = 0
    rotations: bool = False
    warp: str | None = None

    steps: Positive = 2000
    tasks_per_step: Positive = 1
    rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["constant", "cosine", "one-cycle"] = "one-cycle"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 10.0
    nonfinite: Literal["stop", "skip"] = "stop"
    batching: Literal["auto", "loop", "vmap"] = "auto"

    evaluate_every: Positive | None = None
    patience: Positive | None = None
    validation_ways: Annotated[int, Field(ge=2)] | None = None
    validation_shots: Positive | None = None
    validation_queries: Positive | None = None
    validation_tasks: Positive = 200
    checkpoint_every: Positive | None = None
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0
    keep_checkpoints: Positive = 2

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str = "auto"
    threads: Positive | None = None

    recipe: str | None = None

    @property
    def evaluations_apart(self) -> int:
        """Steps between meta-validations: ten in a run unless said otherwise."""
        return self.evaluate_every or max(1, self.steps // 10)

    @property
    def validation_sizes(self) -> tuple[int, int, int]:
        """Ways, shots and queries of meta-validation; by default the fewest of training."""
        ways, shots = (s if isinstance(s, int) else s[0] for s in (self.ways, self.shots))
        return (
            self.validation_ways or ways,
            self.validation_shots or shots,
            self.validation_queries or self.queries,
        )

    @property
    def contrast_tasks(self) -> int:
        """Meta-train tasks judged beside each meta-validation: fewer, as only the gap is asked."""
        return max(1, self.validation_tasks // 4)


def make_config(given: Mapping[str, Any], recipe: str | None = None) -> TrainConfig:
    """A checked configuration: the recipe's options, overridden by those given.

    Args:
        given: option name to value.
        recipe: a name in `RECIPES`.

    Raises:
        RunError: an unknown recipe or option, or a value out of range; in one line.

    Examples:
        >>> make_config({"steps": 7}, "fonts").steps
        7
        >>> make_config({"steps": 0})
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: --steps must be at least 1, got 0
    """
    if recipe is not None and recipe not in RECIPES:
        raise RunError(f"--recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")
    options = dict(given)
    if recipe is not None:
        options = _overridden(RECIPES[recipe].options(given.get("learner")), given)
    options["recipe"] = recipe
    data = str(options.get("data", ""))
    path = Path(data)
    # A run is resumed from any folder.
    if data and (os.sep in data or path.is_dir() or (path.suffix and path.is_file())):
        options["data"] = str(path.absolute())
    try:
        return TrainConfig.model_validate(options)
    except ValidationError as error:
        raise RunError(explain(error, known=TrainConfig.model_fields)) from None


def _overridden(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's options with others in their place, and those of its methods among them."""
    options = dict(recipe)
    if "backbone" in given and plain_name(given["backbone"]) != plain_name(options["backbone"]):
        options.pop("backbone_options", None)  # those go along with it only
    inside = {n: {**options.get(n, {}), **o} for n, o in given.items() if n.endswith("_options")}
    return {**options, **given, **inside}


def explain(error: ValidationError, prefix: str = "--", known: Iterable[str] = ()) -> str:
    """A pydantic error in one line that says what came and what was wanted.

    Args:
        error: what pydantic found.
        prefix: of the names.
        known: the names there are, for a hint at what was meant.
    """
    said = []
    for problem in error.errors():
        place = [str(part) for part in problem["loc"] if not str(part).startswith("function-")]
        name = place[0] if place else ""
        came = problem["input"]
        came = came if isinstance(came, str) and came.lstrip("-").isdecimal() else repr(came)
        wanted = _WANTED.get(problem["type"], "{msg}").format(
            msg=problem["msg"].removeprefix("Value error, "), **problem.get("ctx", {})
        )
        shown = f"{prefix}{name.replace('_', '-') if prefix else name}"
        said.append(f"{shown} {wanted}, got {came}")
        if problem["type"] == "extra_forbidden":
            alike = difflib.get_close_matches(name, known, n=1)
            said[-1] += f"; did you mean {alike[0]}?" if alike else ""
    return "; ".join(dict.fromkeys(said))


_WANTED = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of {expected}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "extra_forbidden": "is no option",
    "string_too_short": "must not be empty",
    "string_type": "must be a name",
}

"""The Open Inference Protocol, version 2: health, metadata and inference.

A few-shot model has no classes of its own, so a question carries its support set, or names what was
adapted before. Protocol: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from quickstudy import __version__
from quickstudy.data.arrays import numbers
from quickstudy.errors import TaskError
from quickstudy.hub.service.access import Caller, allow
from quickstudy.hub.service.adaptations import Adaptations
from quickstudy.hub.service.bodies import JSON, parsed, read_json, while_there
from quickstudy.hub.service.problems import Refused, faults, refusals
from quickstudy.hub.service.routes import Serving
from quickstudy.hub.service.served import Known, Question, Served
from quickstudy.hub.service.work import Steps
from quickstudy.hub.wire import Labels, Prediction, Predictions

router = APIRouter(prefix="/v2")
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
LABELS: TypeAdapter[list[str | int]] = TypeAdapter(Labels)
SUPPORT_X, SUPPORT_Y, QUERY_X = "support_x", "support_y", "query_x"


class InputTensor(BaseModel):
    """One input; its data may be flat or nested."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=200)]
    shape: Annotated[
        list[Annotated[int, Field(ge=0, le=1_000_000_000)]], Field(max_length=8, fail_fast=True)
    ]
    datatype: Datatype
    parameters: dict[str, Any] = {}
    data: Annotated[list[Any], Field(json_schema_extra={"items": {}})]


class WantedOutput(BaseModel):
    """The name of an output."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=200)]


class InferRequest(BaseModel):
    """Inputs "support_x", "support_y" and "query_x"; or "query_x" and the parameter adapted_id.

    Outputs are all where none are named.
    """

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InputTensor], Field(max_length=8, fail_fast=True)]
    outputs: Annotated[list[WantedOutput], Field(max_length=8, fail_fast=True)] = []


class OutputTensor(BaseModel):
    """One output, its data flat in row-major order."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class InferResponse(BaseModel):
    """The outputs "label", "labels" and "probabilities"; or "values"."""

    model_name: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorInfo(BaseModel):
    """What a tensor is like; -1 is any number."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str] = []
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str = "quickstudy"
    version: str = __version__
    extensions: list[str] = []


class Ready(BaseModel):
    """Whether it is ready."""

    ready: bool = True


class Live(BaseModel):
    """Whether it is alive."""

    live: bool = True


@router.get("/health/live")
async def live() -> Live:
    """Whether the server is alive."""
    return Live()


@router.get("/health/ready")
async def ready() -> Ready:
    """Whether the server answers questions."""
    return Ready()


@router.get("", responses=refusals(401, 403))
async def server(caller: Annotated[Caller, Depends(allow("read"))]) -> ServerMetadata:
    """What this server is."""
    return ServerMetadata()


@router.get("/models/{model}", responses=refusals(401, 403, 404))
async def metadata(
    model: str, serving: Serving, caller: Annotated[Caller, Depends(allow("read"))]
) -> ModelMetadata:
    """What a model takes and gives."""
    info = serving.model(model).info
    shape = info.input_shape or [-1]
    classes = info.targets == "classes"
    inputs = [
        TensorInfo(name=SUPPORT_X, datatype="FP32", shape=[-1, *shape]),
        TensorInfo(name=SUPPORT_Y, datatype="BYTES", shape=[-1])
        if classes
        else TensorInfo(name=SUPPORT_Y, datatype="FP32", shape=[-1, -1]),
        TensorInfo(name=QUERY_X, datatype="FP32", shape=[-1, *shape]),
    ]
    outputs = (
        [
            TensorInfo(name="label", datatype="BYTES", shape=[-1]),
            TensorInfo(name="labels", datatype="BYTES", shape=[-1]),
            TensorInfo(name="probabilities", datatype="FP32", shape=[-1, -1]),
        ]
        if classes
        else [TensorInfo(name="values", datatype="FP32", shape=[-1, -1])]
    )
    return ModelMetadata(
        name=model, platform=f"quickstudy_{info.learner}", inputs=inputs, outputs=outputs
    )


@router.get("/models/{model}/ready", responses=refusals(401, 403, 404))
async def model_ready(
    model: str, serving: Serving, caller: Annotated[Caller, Depends(allow("read"))]
) -> Ready:
    """Whether a model answers questions."""
    serving.model(model)
    return Ready()


@router.post(
    "/models/{model}/infer",
    responses=refusals(400, 401, 403, 404, 413, 415, 422, 429, 503),
    response_model_exclude_none=True,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/InferRequest"}}},
        }
    },
)
async def infer(
    model: str,
    request: Request,
    serving: Serving,
    caller: Annotated[Caller, Depends(allow("adapt"))],
) -> InferResponse:
    """Answer queries from a support set that comes with them, or from what was adapted before."""
    served = serving.model(model)
    body = await read_json(request)
    return await while_there(request, _inferred(served, body, serving, caller))


async def _inferred(
    served: Served, body: bytes, serving: Adaptations, caller: Caller
) -> InferResponse:
    model = served.name
    asked = await serving.work.do(partial(_read, served, body))
    question = Question(asked.query)
    if asked.adapted_id is not None:
        held = await serving.find(asked.adapted_id, caller.sees)
        if held.kept.model != model:
            raise Refused(404, f"there is no adapted model {held.id!r} of {model!r}")
        return _response(model, asked, await serving.predict(held, lambda _: question))
    known = asked.support
    assert known is not None  # whatever has no adapted_id has one

    def answer() -> Steps[Predictions]:
        learned = yield from served.adapt(known)
        return (yield from served.predict(learned, *question))

    return _response(model, asked, await serving.work.do_steps(answer, served.shares))


class _Asked(NamedTuple):
    """A request, read; it has a support set or the id of what was adapted."""

    id: str | None
    query: Tensor
    support: Known | None
    adapted_id: str | None
    outputs: frozenset[str]


def _read(served: Served, body: bytes) -> _Asked:
    asked = parsed(body, InferRequest)
    given = {tensor.name: tensor for tensor in asked.inputs}
    adapted_id = asked.parameters.get("adapted_id")
    wanted = {QUERY_X} if adapted_id is not None else {SUPPORT_X, SUPPORT_Y, QUERY_X}
    if given.keys() != wanted or len(given) != len(asked.inputs):
        came = ", ".join(tensor.name[:40] for tensor in asked.inputs[:5]) or "none"
        raise Refused(422, f"wanted the inputs {', '.join(sorted(wanted))}, got {came}")
    outputs = frozenset(output.name for output in asked.outputs) or _outputs(served)
    if unknown := sorted(outputs - _outputs(served)):
        known = ", ".join(sorted(_outputs(served)))
        raise Refused(422, f"the outputs are {known}; got {unknown[0][:40]!r}")
    query = served.taken(_numbers(given[QUERY_X]))
    if adapted_id is not None:
        return _Asked(asked.id, query, None, str(adapted_id), outputs)
    x, y = served.taken(_numbers(given[SUPPORT_X])), given[SUPPORT_Y]
    if served.info.targets == "classes":
        support = served.labelled(x, _labels(y, len(x)))
    else:
        support = served.valued(x, _numbers(y))
    return _Asked(asked.id, query, support, None, outputs)


def _outputs(served: Served) -> frozenset[str]:
    """The names of what a model answers."""
    classes = served.info.targets == "classes"
    return frozenset({"label", "labels", "probabilities"} if classes else {"values"})


def _labels(tensor: InputTensor, count: int) -> list[str | int]:
    """What a tensor names the classes of so many examples.

    Raises:
        TaskError: another number of them.
        Refused: some are no labels.
    """
    if tensor.shape != [len(tensor.data)] or len(tensor.data) != count:
        raise TaskError(
            f"{tensor.name} must be labels [{count}], got {tensor.shape} with {len(tensor.data)}"
        )
    try:
        return LABELS.validate_python(tensor.data)
    except ValidationError as error:
        raise Refused(422, f"{tensor.name}: {faults(error)}") from None


def _numbers(tensor: InputTensor) -> Tensor:
    """A tensor's data, whether they came flat or nested.

    Raises:
        QuickstudyError: they are no numbers, or another number of them than its shape says.
    """
    if tensor.datatype == "BYTES":
        raise TaskError(f"{tensor.name} must be numbers, got BYTES")
    x = numbers(tensor.name, tensor.data)
    if x.ndim > 1 or not tensor.shape:
        return x
    if math.prod(tensor.shape) != len(x):
        raise TaskError(f"{tensor.name} has {len(x)} numbers; its shape {tensor.shape} wants "
                        f"{math.prod(tensor.shape)}")  # fmt: skip
    return x.reshape(tensor.shape)


def _response(model: str, asked: _Asked, said: Predictions) -> InferResponse:
    rows = said.predictions
    outputs = _values(rows) if rows[0].values is not None else _classes(rows)
    wanted = [output for output in outputs if output.name in asked.outputs]
    return InferResponse(model_name=model, id=asked.id, outputs=wanted)


def _values(rows: Sequence[Prediction]) -> list[OutputTensor]:
    names = list(rows[0].values or ())
    values = [row.values[name] for row in rows for name in names if row.values]
    shape = [len(rows), len(names)]
    return [OutputTensor(name="values", shape=shape, datatype="FP32", data=values)]


def _classes(rows: Sequence[Prediction]) -> list[OutputTensor]:
    labels = list(rows[0].probabilities or ())
    shares = [share for row in rows for share in (row.probabilities or {}).values()]
    chosen, count = [str(row.label) for row in rows], len(rows)
    return [
        OutputTensor(name="label", shape=[count], datatype="BYTES", data=chosen),
        OutputTensor(name="labels", shape=[len(labels)], datatype="BYTES", data=labels),
        OutputTensor(
            name="probabilities", shape=[count, len(labels)], datatype="FP32", data=shares
        ),
    ]

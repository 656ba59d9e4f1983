"""The Open Inference Protocol, version 2: health, metadata and inference.

A few-shot model has no classes of its own, so a question carries its support set, or names what was
adapted before. Protocol: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from quickstudy import __version__
from quickstudy.errors import TaskError
from quickstudy.hub.service.access import Caller, allow
from quickstudy.hub.service.bodies import JSON, read_json
from quickstudy.hub.service.problems import Refused, refusals
from quickstudy.hub.service.routes import Serving
from quickstudy.hub.service.served import Served
from quickstudy.hub.service.work import Steps
from quickstudy.hub.wire import Inputs, Predictions, Support

router = APIRouter(prefix="/v2")
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
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


class InferRequest(BaseModel):
    """Inputs "support_x", "support_y" and "query_x"; or "query_x" and the parameter adapted_id."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InputTensor], Field(max_length=8, fail_fast=True)]
    outputs: Annotated[list[dict[str, Any]], Field(fail_fast=True)] = []


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
    asked = await read_json(request, InferRequest)
    given = {tensor.name: tensor for tensor in asked.inputs}
    adapted_id = asked.parameters.get("adapted_id")
    wanted = {QUERY_X} if adapted_id is not None else {SUPPORT_X, SUPPORT_Y, QUERY_X}
    if given.keys() != wanted or len(given) != len(asked.inputs):
        came = ", ".join(tensor.name[:40] for tensor in asked.inputs[:5]) or "none"
        raise Refused(422, f"wanted the inputs {', '.join(sorted(wanted))}, got {came}")
    query = Inputs(x=_nested(given[QUERY_X]))
    if query.count > serving.limits.queries:
        most = serving.limits.queries
        raise Refused(422, f"at most {most} inputs are answered, got {query.count}")
    if adapted_id is not None:
        held = await serving.find(str(adapted_id), caller.sees)
        if held.kept.model != model:
            raise Refused(404, f"there is no adapted model {str(adapted_id)[:40]!r} of {model!r}")
        said = await serving.predict(held, lambda served: served.read(query))
        return _response(model, asked.id, said)
    support = _support(served, given[SUPPORT_X], given[SUPPORT_Y])

    def answer() -> Steps[Predictions]:
        learned = yield from served.adapt(served.know(support))
        return (yield from served.predict(learned, served.read(query)))

    said = await serving.work.do_steps(answer)
    return _response(model, asked.id, said)


def _support(served: Served, x: InputTensor, y: InputTensor) -> Support:
    if served.info.targets == "classes":
        labels = y.data
        if y.shape != [len(labels)]:
            raise TaskError(f"{SUPPORT_Y} must be labels [n], got {y.shape}")
        return Support(x=_nested(x), labels=labels)
    return Support(x=_nested(x), targets=_nested(y))


def _nested(tensor: InputTensor) -> list[Any]:
    """A tensor's data as nested lists, whichever way they came.

    Raises:
        TaskError: it has another number of them than its shape says.
    """
    data: list[Any] = tensor.data
    if tensor.datatype == "BYTES":
        raise TaskError(f"{tensor.name} must be numbers, got BYTES")
    if not tensor.shape or any(isinstance(part, list) for part in data):
        return data
    if math.prod(tensor.shape) != len(data):
        raise TaskError(f"{tensor.name} has {len(data)} numbers; its shape {tensor.shape} wants "
                        f"{math.prod(tensor.shape)}")  # fmt: skip
    for size in reversed(tensor.shape[1:]):
        if size == 0:
            raise TaskError(f"{tensor.name} is empty: its shape is {tensor.shape}")
        data = [data[i : i + size] for i in range(0, len(data), size)]
    return data


def _response(model: str, id: str | None, said: Predictions) -> InferResponse:
    rows = said.predictions
    count = len(rows)
    if rows[0].values is not None:
        names = list(rows[0].values)
        values = [row.values[name] for row in rows for name in names if row.values]
        outputs = [
            OutputTensor(name="values", shape=[count, len(names)], datatype="FP32", data=values)
        ]
        return InferResponse(model_name=model, id=id, outputs=outputs)
    labels = list(rows[0].probabilities or ())
    shares = [share for row in rows for share in (row.probabilities or {}).values()]
    chosen = [str(row.label) for row in rows]
    outputs = [
        OutputTensor(name="label", shape=[count], datatype="BYTES", data=chosen),
        OutputTensor(name="labels", shape=[len(labels)], datatype="BYTES", data=labels),
        OutputTensor(
            name="probabilities", shape=[count, len(labels)], datatype="FP32", data=shares
        ),
    ]
    return InferResponse(model_name=model, id=id, outputs=outputs)

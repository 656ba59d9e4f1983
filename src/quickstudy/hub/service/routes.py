"""The addresses under /v1: models, and what was adapted from them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from quickstudy.hub.service.access import Caller, allow
from quickstudy.hub.service.adaptations import Adaptations
from quickstudy.hub.service.bodies import (
    FORM,
    JSON,
    Upload,
    is_form,
    parsed,
    read_form,
    read_json,
    while_there,
)
from quickstudy.hub.service.problems import Refused, refusals
from quickstudy.hub.service.served import Known, Question, Served
from quickstudy.hub.wire import (
    LABEL,
    Adapted,
    AdaptedList,
    ModelInfo,
    ModelList,
    Predictions,
    Query,
    Support,
    is_label,
)

router = APIRouter(prefix="/v1")
Reader = Annotated[Caller, Depends(allow("read"))]
Adapter = Annotated[Caller, Depends(allow("adapt"))]


async def the(request: Request) -> Adaptations:
    """What the application serves."""
    served: Adaptations = request.app.state.adaptations
    return served


Serving = Annotated[Adaptations, Depends(the)]
_DENIED = (401, 403)
_BODY = (400, 404, 413, 415, 422, 429, 503)


_LINKS = {
    verb: {
        "operationId": f"{verb}_v1_adapted__adapted_id_{end}",
        "parameters": {"adapted_id": "$response.body#/adapted_id"},
    }
    for verb, end in {
        "predict": "_predict_post",
        "extend": "_extend_post",
        "show_adapted": "_get",
        "forget": "_delete",
    }.items()
}
"""What may follow on adapting, for the OpenAPI document."""


def _content(model: type[BaseModel], about: str) -> dict[str, Any]:
    """The two forms of a body, for the OpenAPI document."""
    ref = {"$ref": f"#/components/schemas/{model.__name__}"}
    file = {"type": "string", "format": "binary"}
    files = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": "array", "items": file},
        "description": about,
    }
    content = {JSON: {"schema": ref}, FORM: {"schema": files}}
    return {"requestBody": {"required": True, "content": content}}


@router.get("/models", responses=refusals(*_DENIED))
async def list_models(serving: Serving, caller: Reader) -> ModelList:
    """The models that are served."""
    return ModelList(models=[served.info for served in serving.models.values()])


@router.get("/models/{model}", responses=refusals(*_DENIED, 404))
async def show_model(model: str, serving: Serving, caller: Reader) -> ModelInfo:
    """A model: what it takes, what it scored, what it was trained on."""
    return serving.model(model).info


@router.post(
    "/models/{model}/adapt",
    status_code=201,
    response_model=Adapted,
    responses=refusals(*_DENIED, *_BODY) | {201: {"links": _LINKS}},
    openapi_extra=_content(Support, "Image files; the name of each field is the label."),
)
async def adapt(model: str, request: Request, serving: Serving, caller: Adapter) -> Response:
    """Adapt a model to your own classes, from one or a few examples of each."""
    serving.model(model)
    support = await _support(request, serving)
    held = await while_there(request, serving.adapt(model, caller.owner, support))
    return _answer(held.kept.told(), 201, {"Location": f"/v1/adapted/{held.id}"})


@router.get("/adapted", responses=refusals(*_DENIED, 503, 429))
async def list_adapted(serving: Serving, caller: Adapter) -> AdaptedList:
    """What you have adapted, the newest thousand; with an admin's key, what anybody has."""
    return AdaptedList(adapted=await serving.of(caller.sees))


@router.get("/adapted/{adapted_id}", responses=refusals(*_DENIED, 404, 429, 503))
async def show_adapted(adapted_id: str, serving: Serving, caller: Adapter) -> Adapted:
    """What was adapted: its classes, its examples' number, and until when it lives."""
    return (await serving.find(adapted_id, caller.sees)).kept.told()


@router.delete(
    "/adapted/{adapted_id}", status_code=204, responses=refusals(*_DENIED, 404, 429, 503)
)
async def forget(adapted_id: str, serving: Serving, caller: Adapter) -> None:
    """Forget what was adapted."""
    await serving.forget(await serving.find(adapted_id, caller.sees))


@router.post(
    "/adapted/{adapted_id}/predict",
    response_model=Predictions,
    responses=refusals(*_DENIED, *_BODY),
    openapi_extra=_content(Query, "Image files; the fields' names do not matter."),
)
async def predict(adapted_id: str, request: Request, serving: Serving, caller: Adapter) -> Response:
    """Label and probabilities for each input."""
    held = await serving.find(adapted_id, caller.sees)
    question = await _question(request, serving)
    return _answer(await while_there(request, serving.predict(held, question)))


@router.post(
    "/adapted/{adapted_id}/extend",
    response_model=Adapted,
    responses=refusals(*_DENIED, *_BODY),
    openapi_extra=_content(Support, "Image files; the name of each field is the label."),
)
async def extend(adapted_id: str, request: Request, serving: Serving, caller: Adapter) -> Response:
    """Add examples, of known classes or new ones; the same as adapting to all at once."""
    held = await serving.find(adapted_id, caller.sees)
    support = await _support(request, serving)
    held = await while_there(request, serving.extend(held, support))
    return _answer(held.kept.told())


async def _question(request: Request, serving: Adaptations) -> Callable[[Served], Question]:
    """How the inputs of a request are read, where that may take its time."""
    most = serving.limits.queries
    if is_form(request):
        uploads = await read_form(request, most)
        _few(len(uploads), most, "inputs are answered")
        return lambda served: Question(served.pictures(*_files(uploads)))
    body = await read_json(request)

    def read(served: Served) -> Question:
        query = parsed(body, Query)
        _few(query.count, most, "inputs are answered")
        return Question(served.read(query), query.nearest)

    return read


async def _support(request: Request, serving: Adaptations) -> Callable[[Served], Known]:
    """How the examples of a request are read, where that may take its time."""
    most = serving.limits.support
    if not is_form(request):
        body = await read_json(request)
        return lambda served: served.know(parsed(body, Support))
    uploads = await read_form(request, most)
    _few(len(uploads), most, "examples are taken")
    labels = [upload.name for upload in uploads]
    if not all(map(is_label, labels)):
        raise Refused(422, f"the fields' names are the labels, and {LABEL}")
    return lambda served: served.labelled(served.pictures(*_files(uploads)), labels)


def _files(uploads: Sequence[Upload]) -> tuple[list[bytes], list[str]]:
    """Files, and what each is called where it cannot be used."""
    names = [f"{upload.file[:80]!r} of {upload.name[:80]!r}" for upload in uploads]
    return [upload.content for upload in uploads], names


def _few(count: int, most: int, what: str) -> None:
    if count > most:
        raise Refused(422, f"at most {most} {what}, got {count}")


def _answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body as it is, without another look at it."""
    text = body.model_dump_json(exclude_none=isinstance(body, Predictions))
    return Response(text, status, headers, JSON)

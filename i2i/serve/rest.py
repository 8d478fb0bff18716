"""The REST interface: models, translations and samples; every error is one line of JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from i2i.display import one_line
from i2i.serve.engine import MOST_SAMPLES, MOST_STOPS, Engine
from i2i.serve.models import Served
from i2i.serve.refused import Refused
from i2i.version import __version__

logging.getLogger("python_multipart").addHandler(logging.NullHandler())
"""What it logs of a damaged form stands in the answer."""
MEDIA_TYPES = {".png": "image/png", ".tiff": "image/tiff", ".npy": "application/octet-stream"}
"""Of translations, by suffix."""
IMAGE = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY = {
    "required": True,
    "content": {
        "image/*": IMAGE,
        "application/octet-stream": IMAGE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        },
    },
}
Answer = TypeVar("Answer")
LONGEST = 200
"""Characters of a name."""
Name = Annotated[str | None, Query(max_length=LONGEST)]
Seed = Annotated[int, Query(ge=0, lt=2**63)]


class DirectionInfo(BaseModel):
    """A direction: what its inputs and outputs hold, and the media type of the answer."""

    name: str
    takes: str
    gives: str
    media_type: str


class ModelInfo(BaseModel):
    """A model."""

    name: str
    kind: Literal["translator", "sampler"]
    method: str
    arch: str
    steps: int
    image_size: int
    directions: list[DirectionInfo]
    labels: list[str]


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Problem(BaseModel):
    """Why there is no other answer, in one line."""

    detail: str


def create_rest(engine: Engine) -> FastAPI:
    """The application; what describes it is at /openapi.json, and its pages, which load scripts from afar, are off."""
    problems: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "One line says why."}}
    app = FastAPI(title="i2i", version=__version__, docs_url=None, redoc_url=None, responses=problems)
    _answer_errors(app)

    @app.get("/api/health")
    async def health() -> Health:
        """Answers while the server runs."""
        return Health()

    @app.get("/api/models")
    async def models() -> list[ModelInfo]:
        """The models that are served; the first of a kind is the default."""
        return [_info(served) for served in engine.models.values()]

    @app.post(
        "/api/translate",
        response_class=Response,
        responses={200: {"content": dict.fromkeys(MEDIA_TYPES.values(), IMAGE)}},
        openapi_extra={"requestBody": IMAGE_BODY},
    )
    async def translate(
        request: Request, model: Name = None, direction: Name = None, seed: Seed | None = None, alpha: bool = False
    ) -> Response:
        """Translates an image, sent as the body or as a form's file; the answer is what `i2i translate` writes."""
        content, name = await _image_of(request), model or _first(engine, "translator")
        made = await _computed(engine, partial(engine.translation_of, name, direction, content, seed, alpha=alpha))
        return Response(made.content, media_type=MEDIA_TYPES[made.suffix])

    @app.post(
        "/api/sample", response_class=Response, responses={200: {"content": {"image/png": IMAGE, "image/gif": IMAGE}}}
    )
    async def sample(
        model: Name = None,
        count: Annotated[int, Query(ge=1, le=MOST_SAMPLES)] = MOST_SAMPLES,
        label: Name = None,
        seed: Seed = 0,
        walk: Annotated[int | None, Query(ge=2, le=MOST_STOPS)] = None,
    ) -> Response:
        """Generates a sheet of `count` samples (PNG), or with `walk` a walk between so many (GIF)."""
        name = model or _first(engine, "sampler")
        if walk is None:
            task = partial(engine.sheet, name, count=count, label=label, seed=seed)
        else:
            task = partial(engine.walk, name, stops=walk, label=label, seed=seed)
        return Response(await _computed(engine, task), media_type="image/png" if walk is None else "image/gif")

    return app


async def _computed(engine: Engine, task: Callable[[], Answer]) -> Answer:
    return await asyncio.wrap_future(engine.submit(task))


async def _image_of(request: Request) -> bytes:
    """The image that a request sends.

    Raises:
        Refused: it sends something else, or nothing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=1) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if len(files) != 1:
                raise Refused(400, "the form has no file: send the image as one, as curl does with -F image=@FILE")
            content: bytes = await files[0].read()
    elif kind.startswith("image/") or kind == "application/octet-stream":
        content = await request.body()
    else:
        raise Refused(415, "send the image as a form's file, or as the body with a Content-Type such as image/png")
    if not content:
        raise Refused(400, "the image is empty")
    return content


def _first(engine: Engine, kind: str) -> str:
    names = [served.name for served in engine.models.values() if _kind(served) == kind]
    if not names:
        raise Refused(404, f"no {kind} is served")
    return names[0]


def _kind(served: Served) -> Literal["translator", "sampler"]:
    return "translator" if served.ways else "sampler"


def _info(served: Served) -> ModelInfo:
    config = served.model.config
    directions = [
        DirectionInfo(
            name=name,
            takes=str(served.takes(name)),
            gives=str(served.gives(name)),
            media_type=MEDIA_TYPES[f".{served.writes(name)}"],
        )
        for name in served.ways
    ]
    return ModelInfo(
        name=served.name,
        kind=_kind(served),
        method=config.method["name"],
        arch=config.arch,
        steps=served.model.step,
        image_size=config.image_size,
        directions=directions,
        labels=list(config.images.labels),
    )


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"detail": one_line(str(error.detail))}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        reasons = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
        return problem(Refused(400, "; ".join(reasons)))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return problem(Refused(500, "an error of the server, whose log has it"))


def problem(refused: Refused) -> Response:
    """The answer to a request that is refused."""
    return JSONResponse({"detail": one_line(str(refused))}, refused.status, refused.headers)

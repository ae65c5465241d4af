"""Every error as problem details (RFC 9457): what happened, which field, when to come back.

What is wrong with the server itself stays in its log: addresses, queries and traces are no answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mesh_store.model.errors import Conflict, InvalidKey, MeshError, Rejected
from mesh_store.model.ids import new_id

log = logging.getLogger(__name__)

#: Seconds after which asking again makes sense when an engine is away.
RETRY_AFTER = 5

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Problem details as RFC 9457 has them, with what Mesh adds."""

    type: str = Field(description="Which problem this is, for programs: `urn:mesh:problem:not-found`.")
    title: str = Field(description="The same for people; the same text for every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time, and what to do.")
    field: str | None = Field(default=None, description="The field at fault.")
    retry_after: float | None = Field(default=None, description="Seconds until it is worth another try.")
    instance: str | None = Field(default=None, description="What the server's log calls this occurrence.")


class ProblemResponse(JSONResponse):
    """A problem on its way out."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem) -> None:
        headers = {"Cache-Control": "no-store"}
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="mesh"'
        if problem.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(problem.retry_after)))
        super().__init__(problem.model_dump(exclude_none=True), problem.status, headers)


def handle_problems(app: FastAPI) -> None:
    """Let every error of ``app`` end as a problem."""
    handlers: dict[type[Exception], Any] = {
        MeshError: _refused,
        RequestValidationError: _unfit,
        HTTPException: _not_served,
        Exception: _failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def problem_of(error: MeshError, *, conditional: bool = False) -> Problem:
    """Return the problem an error of ours is.

    Args:
        error: what was raised.
        conditional: the request had ``If-Match``, so that what changed meanwhile is 412, not 409.
    """
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _kept_to_ourselves(error)
    field = error.field if isinstance(error, Rejected) else None
    status = error.status
    if conditional and isinstance(error, Conflict) and field == "expected_revision":
        status = HTTPStatus.PRECONDITION_FAILED
    retry_after = getattr(error, "retry_after", None)
    name = "invalid-token" if isinstance(error, InvalidKey) else _dashed(type(error).__name__)
    return _problem(status, name, str(error), field=field, retry_after=retry_after)


def plain_problem(status: int, detail: str, *, field: str | None = None) -> Problem:
    """Return a problem that is HTTP's own."""
    return _problem(status, _dashed(HTTPStatus(status).phrase), detail, field=field)


def _kept_to_ourselves(error: Exception) -> Problem:
    instance = new_id()
    log.error("request failed (%s)", instance, exc_info=error)
    status = error.status if isinstance(error, MeshError) else 500
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        detail = "an engine this needs cannot be used at the moment; nothing was changed; try again"
        return _problem(status, "unavailable", detail, retry_after=RETRY_AFTER, instance=instance)
    detail = "the server failed; its log says why under this instance"
    return _problem(500, "internal-error", detail, instance=instance)


def _problem(status: int, name: str, detail: str, **more: Any) -> Problem:
    title = name.replace("-", " ").capitalize()
    return Problem(type=f"urn:mesh:problem:{name}", title=title, status=int(status), detail=detail, **more)


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z]+", "-", name).strip("-").lower()


async def _refused(request: Request, error: MeshError) -> ProblemResponse:
    return ProblemResponse(problem_of(error, conditional="if-match" in request.headers))


async def _unfit(_: Request, error: RequestValidationError) -> ProblemResponse:
    """Name the fields at fault; what was written there may be a secret and is never repeated."""
    faults = [_fault(fault) for fault in error.errors()]
    said = "; ".join(f"{field}: {message}" if field else message for field, message in faults[:5])
    return ProblemResponse(_problem(422, "rejected", said, field=faults[0][0] or None))


def _fault(error: Any) -> tuple[str, str]:
    place: Sequence[Any] = error["loc"]
    # The first part is where it stood (body, query, …); branches of a union are no part of the name.
    field = ".".join(str(part) for part in place[1:] if "[" not in str(part))
    match error["type"]:
        case "extra_forbidden":
            return field, "there is no such field"
        case "json_invalid":
            return "", "the body is not JSON"
    message = str(error["msg"]).removeprefix("Value error, ")
    # A rule about several fields speaks for the whole body, and begins with the one to change.
    name, colon, rest = message.partition(": ")
    return (name, rest) if not field and colon and name.isidentifier() else (field, message)


async def _not_served(_: Request, error: HTTPException) -> ProblemResponse:
    response = ProblemResponse(plain_problem(error.status_code, str(error.detail)))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value  # Allow, with 405
    return response


async def _failed(_: Request, error: Exception) -> ProblemResponse:
    return ProblemResponse(_kept_to_ourselves(error))

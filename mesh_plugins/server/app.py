"""The application: routes, errors as problems, and what stands in front of them."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from mesh_plugins.outputs import Outputs
from mesh_plugins.server.bounds import MAX_BODY, Bounds
from mesh_plugins.server.control import Control
from mesh_plugins.server.gate import PREFIX, Gate
from mesh_plugins.server.health import Readying
from mesh_plugins.server.health import router as health
from mesh_plugins.server.metrics import Metrics
from mesh_plugins.server.problems import MEDIA_TYPE, Problem, handle_problems
from mesh_plugins.server.routes import (
    aliases,
    history,
    keys,
    limits,
    members,
    prices,
    providers,
    samples,
    secrets,
    teams,
    tokens,
    usage,
    users,
)

NO_OUTPUTS = Outputs()
#: Everything below ``/v1``.
ROOMS = (
    *(teams, members, users, keys, aliases, limits, providers, secrets, prices),
    *(usage, samples, history, tokens),
)

_DESCRIPTION = """\
Teams, users, members, keys, aliases, limits, providers with their secrets, and prices of one mesh, what was
used, and who did what.

A slash inside a name is written `%2F` in a path. What is read carries its revision as `ETag`; give it back as
`If-Match`, or as `expected_revision`, and nothing that changed meanwhile is overwritten. Unknown fields and
parameters are refused. Errors are problem details (RFC 9457).
"""

#: What any operation may answer besides its own.
_PROBLEMS = {
    400: "The request cannot be read.",
    401: "There is no good token.",
    403: "The token's role does not allow it.",
    404: "There is no such thing, as far as this token can tell.",
    408: "The body did not arrive in time.",
    409: "The name is taken, or it is not at the expected revision any more.",
    412: "It is not at the revision of `If-Match` any more.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "A field is not as it must be; nothing was changed.",
    503: "An engine is away; nothing was changed.",
}


def build(control: Control, outputs: Outputs = NO_OUTPUTS, *, max_body: int = MAX_BODY) -> ASGIApp:
    """Return the application with everything that stands in front of it."""
    app: ASGIApp = Gate(application(control), database=control.database)
    return Bounds(Metrics(app, outputs, database=control.database), max_body=max_body)


def application(control: Control) -> FastAPI:
    """Return the application alone; it trusts `Gate` to have put a bearer into the request's state."""
    app = FastAPI(
        title="Mesh control plane",
        version=_version(),
        description=_DESCRIPTION,
        # The documentation pages load scripts from elsewhere; the document itself is enough.
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=True,
        redirect_slashes=False,
    )
    app.state.control = control
    app.state.readying = Readying(control)
    handle_problems(app)
    for room in ROOMS:
        app.include_router(room.router, prefix=PREFIX, responses=_responses())
    app.include_router(health)
    _describe(app)
    return app


def _version() -> str:
    try:
        return metadata.version("mesh-plugins")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "0"


def _responses() -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": said, "content": content} for status, said in _PROBLEMS.items()}


def _describe(app: FastAPI) -> None:
    """Put the form of a problem into the document, which FastAPI only knows of models in JSON."""
    original = app.openapi

    def described() -> dict[str, Any]:
        document = original()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = described  # type: ignore[method-assign]

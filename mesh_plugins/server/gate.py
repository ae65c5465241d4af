"""Who is asking: answered before anything of the request's body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from mesh_plugins.server.problems import ProblemResponse, problem_of
from mesh_store.model.errors import InvalidKey, MeshError
from mesh_store.model.tokens import REFUSAL, Bearer
from mesh_store.postgres.repository import Repository

if TYPE_CHECKING:
    from mesh_store.postgres import Database

#: Everything below it needs a token, what does not exist included.
PREFIX = "/v1"


class Gate:
    """Lets those in who show a good admin token; each request is looked up, so revocation is immediate."""

    def __init__(self, app: ASGIApp, *, database: Database) -> None:
        self._app = app
        self._repository = Repository(database, actor="mesh serve")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] + "/").startswith(PREFIX + "/"):
            try:
                bearer = await authenticated(self._repository, scope)
            except MeshError as error:
                await ProblemResponse(problem_of(error))(scope, receive, send)
                return
            scope.setdefault("state", {})["bearer"] = bearer
        await self._app(scope, receive, send)


async def authenticated(repository: Repository, scope: Scope) -> Bearer:
    """Return whom a request's token speaks for.

    Raises:
        InvalidKey: there is no good token; never says why.
    """
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, text = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise InvalidKey(REFUSAL)
    return await repository.authenticate(text.strip())

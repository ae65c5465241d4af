"""``/metrics``: what Prometheus reads, to whom it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from mesh_plugins.outputs import Outputs
from mesh_plugins.server.gate import authenticated
from mesh_plugins.server.problems import ProblemResponse, problem_of
from mesh_store.model.errors import AccessDenied, MeshError
from mesh_store.postgres.repository import Repository

if TYPE_CHECKING:
    from mesh_store.postgres import Database

PATH = "/metrics"


class Metrics:
    """Answers ``/metrics`` where there is a page, and hands everything else on.

    Unless it is open, it asks for an admin token that is not limited to one team, whatever its role:
    the page counts the calls and the spend of all teams.
    """

    def __init__(self, app: ASGIApp, outputs: Outputs, *, database: Database) -> None:
        self._app = app
        self._page: ASGIApp | None = None if outputs.page is None else outputs.page.asgi
        self._open = outputs.access == "open"
        self._repository = Repository(database, actor="mesh serve")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._page is None or scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except MeshError as error:
            await ProblemResponse(problem_of(error))(scope, receive, send)
            return
        await self._page(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        if self._open:
            return
        bearer = await authenticated(self._repository, scope)
        if bearer.team_id is not None:
            raise AccessDenied("metrics are of all teams: they need a token that is not limited to one")

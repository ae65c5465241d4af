"""What one request may see and change.

The team comes from the token, never from the request. Whatever belongs to another team does not exist:
the same words, the same status as for what never did. What everybody shares (global providers, prices,
users, tokens, global aliases, limits on whole teams) is the admin's: a team that could change those would
change what it was granted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from mesh_plugins.server.control import Control
from mesh_store.model.errors import AccessDenied, NotFound
from mesh_store.model.tokens import Bearer
from mesh_store.postgres.repository import Repository

_BEARER = HTTPBearer(
    bearerFormat="mt_…", description="An admin token: `mesh token create`.", auto_error=False
)


class Desk:
    """One request's way to the repository.

    Attributes:
        bearer: whom the token speaks for.
        repo: the repository, with the token as the actor; not yet limited to anything.
    """

    def __init__(self, control: Control, bearer: Bearer) -> None:
        self.bearer = bearer
        self.control = control
        self.repo = Repository(
            control.database,
            actor=f"token {bearer.token_id}",
            after_commit=control.after_commit,
            master=control.master,
        )

    @property
    def team_id(self) -> str | None:
        """The only team this request knows of, or None for all."""
        return self.bearer.team_id

    def admin(self) -> Repository:
        """Return the repository to an admin.

        Raises:
            AccessDenied: the token has another role.
        """
        if self.bearer.role != "admin":
            raise AccessDenied(f"this needs a token with the role admin, not {self.bearer.role}")
        return self.repo

    def overview(self) -> Repository:
        """Return the repository for reading what all teams share.

        Raises:
            AccessDenied: the token knows of one team only.
        """
        if self.bearer.team_id is not None:
            raise AccessDenied("this is not a single team's: it needs a token that is not limited to one")
        return self.repo

    def see_team(self, team: str | None) -> None:
        """Make sure that a team may be named at all.

        Raises:
            NotFound: it is another team than the token's, or there is none; nobody can tell which.
        """
        if team is not None and self.bearer.team_id is not None and team != self.bearer.team:
            raise NotFound(f"there is no team {team[:128]!r}", field="team")

    def whose(self, team: str | None) -> str | None:
        """Return the team that is meant: the token's own, else the one that was named, if any.

        Raises:
            NotFound: another team than the token's was named.
        """
        self.see_team(team)
        return self.bearer.team or team

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Repository]:
        """Open a look at what belongs to a team; the caller still asks `see_team` whose it is.

        For a token of one team, that team keeps its name until this ends, so that what is asked for
        by name is its own.
        """
        if self.bearer.team_id is None or self.bearer.team is None:
            yield self.repo
            return
        async with self.repo.batch() as batch:
            await batch.hold_team(self.bearer.team_id, self.bearer.team)
            yield batch

    @asynccontextmanager
    async def managing(self) -> AsyncIterator[Repository]:
        """Like `looking`, for changes.

        Raises:
            AccessDenied: a viewer changes nothing.
        """
        if self.bearer.role == "viewer":
            raise AccessDenied("a viewer changes nothing: this needs the role admin or team-admin")
        async with self.looking() as repo:
            yield repo


def desk(request: Request, _: Annotated[object, Security(_BEARER)]) -> Desk:
    """Return the desk of a request that `gate.Gate` let in."""
    return Desk(request.app.state.control, request.state.bearer)


At = Annotated[Desk, Depends(desk)]

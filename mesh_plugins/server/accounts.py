"""Providers as requests may change them: any by an admin, a team's own account by that team's admin.

What a caller's process finds in its surroundings (``env:``, ``file:``, federated identity, whatever litellm
looks for by itself) may belong to others than the team: a process may serve several. An account that reads
from there is an admin's, else a team's admin could have it sent to an address of their choice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mesh_plugins.server.desk import Desk
from mesh_store.model.entities import ProviderEntity
from mesh_store.model.errors import AccessDenied
from mesh_store.postgres.repository import Repository

_OWN_KINDS = ("openai", "anthropic")


class Accounts(NamedTuple):
    """The providers one request may change.

    Attributes:
        repo: the repository.
        team: whose own they are; None means the global ones.
        is_limited: True when only what stays within the team may be made of them.
    """

    repo: Repository
    team: str | None
    is_limited: bool

    async def revision_of(self, provider: str, expected: int | None) -> int | None:
        """Return the revision that a change must start from, once what is there may be changed at all.

        Raises:
            AccessDenied: an admin gave it a reference that reads from callers' surroundings.
        """
        if not self.is_limited:
            return expected
        present = await self.repo.get_provider(provider, team=self.team)
        self.check(_fields(present))
        # What was looked at is what is changed: an admin may be at it at the same moment.
        return present.revision if expected is None else expected

    def check(self, fields: Mapping[str, Any]) -> None:
        """Refuse a provider that would read what is not the team's.

        Raises:
            AccessDenied: says what an admin has to do.
        """
        if not self.is_limited:
            return
        if fields.get("kind", _OWN_KINDS[0]) not in _OWN_KINDS:
            raise AccessDenied("an account of this kind is an admin's: it finds credentials by itself")
        if not _is_stored(fields.get("secret")):
            raise AccessDenied(
                "a secret that callers read from their environment, a file or a token endpoint is an "
                "admin's: store it instead (PUT …/secret)"
            )


@asynccontextmanager
async def accounts(at: Desk, team: str | None) -> AsyncIterator[Accounts]:
    """Open what may be changed of a team's providers, or of the global ones.

    Raises:
        NotFound: it is another team than the token's.
        AccessDenied: the token may not.
    """
    at.see_team(team)
    if at.bearer.role == "admin":
        yield Accounts(at.repo, team, is_limited=False)
        return
    async with at.managing() as repo:
        yield Accounts(repo, at.bearer.team, is_limited=True)


def _fields(provider: ProviderEntity) -> dict[str, Any]:
    return {"kind": provider.kind, "secret": provider.secret}


def _is_stored(secret: Any) -> bool:
    texts = secret.values() if isinstance(secret, dict) else () if secret is None else (secret,)
    return all(isinstance(text, str) and text.startswith("sealed:") for text in texts)

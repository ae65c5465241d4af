"""An admin token: ``mt_<id>_<secret><checksum>``, made like a caller's key and good for the API alone.

========== ================================================================================
role       what it may do
========== ================================================================================
admin      everything
team-admin its own team: members, keys, limits on single keys and members, and the team's own provider
           accounts with their stored secrets; nothing else
viewer     read what an admin reads, or, when it has a team, what that team's admin reads
========== ================================================================================
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import model_validator

from mesh_store.model import fields
from mesh_store.model.entities import Spec, Stored
from mesh_store.model.errors import InvalidKey
from mesh_store.model.keys import MintedKey, checksum, digest, random_text

PATTERN = re.compile(r"mt_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)

Role = Literal["admin", "team-admin", "viewer"]

#: Every refusal of a token, whatever the reason: what is wrong with it is in the server's log.
REFUSAL = "this needs a good admin token (`mesh token create`): it is missing, unknown, revoked or expired"


class TokenSpec(Spec):
    """An admin token.

    Attributes:
        role: what it may do.
        team: the only team it knows of; None means all of them.
        expires_at: when it ends; None means never.
    """

    role: Role
    team: fields.TeamName | None = None
    description: fields.Description = ""
    expires_at: fields.Instant | None = None

    @model_validator(mode="after")
    def _team_fits_the_role(self) -> TokenSpec:
        if self.role == "team-admin" and self.team is None:
            raise ValueError("team: say which team it administers")
        if self.role == "admin" and self.team is not None:
            raise ValueError("team: an admin has no team; use the role team-admin")
        return self


class TokenEntity(TokenSpec, Stored):
    """A token as it is stored; of its text only the last four characters are ever shown again."""

    last_four: str
    revoked_at: datetime | None = None


class Bearer(NamedTuple):
    """Whom a token speaks for.

    Attributes:
        token_id: which token.
        role: what it may do.
        team_id, team: the only team it knows of, or None for all.
    """

    token_id: str
    role: Role
    team_id: str | None
    team: str | None


class MintedToken(MintedKey, frozen=True):
    """A token at the only moment its text exists on the control plane."""

    def __repr__(self) -> str:
        return f"MintedToken(id={self.id!r}, text='…{self.last_four}')"


def mint_token() -> MintedToken:
    """Make a new token."""
    token_id = random_text(8)
    head = f"mt_{token_id}_{random_text(43)}"
    text = head + checksum(head)
    return MintedToken(token_id, text, digest(text), text[-4:])


def parse_token(text: str) -> str:
    """Return the id inside a well-formed token, asking nobody.

    Raises:
        InvalidKey: ``text`` is none; the message never repeats it.
    """
    match = PATTERN.fullmatch(text)
    if match is None or checksum(text[:-6]) != match[3]:
        raise InvalidKey(REFUSAL)
    return match[1]

"""How a process gets a provider's token for its own identity, instead of a secret it shares."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer

_REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:[^\0\n]{1,1024})", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: What the form holds anyway, or what would be a secret in plain.
_TAKEN = frozenset(
    {"grant_type", "subject_token", "assertion", "client_secret", "client_assertion", "password"}
)


def _token_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.hostname or parts.username or parts.fragment or not re.fullmatch(r"[!-~]{1,2048}", value):
        raise ValueError("write an absolute URL such as https://auth.example.com/oauth/token")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("a token travels there: use https")
    return value


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        # The value itself is never repeated: it may be the very token.
        raise ValueError("write a reference, 'env:NAME' or 'file:PATH', never the token itself")
    return value


def _word(value: str) -> str:
    if not re.fullmatch(r"[ -~]{1,1024}", value):
        raise ValueError("use 1 to 1024 ASCII characters")
    return value


def _extra(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if name in _TAKEN or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
            raise ValueError(f"{name[:40]!r} cannot be set here")
    return value


_Reference = Annotated[str, AfterValidator(_reference)]
_Word = Annotated[str, AfterValidator(_word)]


class Federated(BaseModel):
    """A token endpoint and what it is asked.

    Attributes:
        token_url: where tokens are exchanged.
        subject_token: a reference to the token that says who this process is.
        grant_type: ``token-exchange`` (RFC 8693) or ``jwt-bearer`` (RFC 7523).
        subject_token_type: its type, a JWT unless said otherwise.
        client_secret: a reference, for endpoints that want one.
        extra: further fields of the form, as the vendor names them.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    token_url: Annotated[str, AfterValidator(_token_url)]
    subject_token: _Reference
    grant_type: Literal["token-exchange", "jwt-bearer"] = "token-exchange"
    subject_token_type: _Word | None = None
    requested_token_type: _Word | None = None
    audience: _Word | None = None
    scope: _Word | None = None
    resource: _Word | None = None
    client_id: _Word | None = None
    client_secret: _Reference | None = None
    extra: Annotated[dict[str, _Word], Field(max_length=20), AfterValidator(_extra)] = {}

    @model_serializer(mode="wrap")
    def _said(self, whole: Any) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if value not in (None, {})}


class FederatedSecret(BaseModel):
    """In place of a provider's secret: ``{"federated": {…}}``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    federated: Federated

"""Kinds of fields an operator may fill in, each with its rule; `mesh_store.model.entities` uses them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from mesh_store.model.errors import ConfigError, Rejected
from mesh_store.model.federation import FederatedSecret
from mesh_store.model.ids import checked_name
from mesh_store.model.limit_text import parse_terms
from mesh_store.model.limits import MAX_EXACT
from mesh_store.model.patterns import is_callable_name
from mesh_store.model.shares import parse_share, share_text

#: Bytes of JSON one field may hold.
MAX_DOCUMENT = 16_384
#: Request parameters that an alias may not set: where a call goes and with which credential is the
#: provider's business, and what is said is the caller's.
RESERVED_PARAMETERS = frozenset(
    {
        "api_base", "api_key", "api_version", "base_url", "client", "custom_llm_provider", "default_headers",
        "extra_headers", "headers", "http_client", "input", "messages", "model", "organization", "proxies",
        "proxy", "stream", "url",
    }
)  # fmt: skip
_SECRET_REFERENCE = re.compile(
    r"(env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:[^\0\n]{1,1024}|sealed:[A-Za-z_][A-Za-z0-9_.-]{0,127})", re.ASCII
)
#: What holds a credential by its name, `-` and `_` being alike; it belongs into the secret field.
_CREDENTIALS = frozenset(
    {
        "access_token", "api_key", "apikey", "auth_token", "authorization", "aws_secret_access_key",
        "aws_session_token", "azure_ad_token", "bearer", "client_secret", "cookie", "key",
        "ocp_apim_subscription_key", "password", "proxy_authorization", "secret", "secret_key", "token",
        "x_api_key", "x_auth_token", "x_goog_api_key",
    }
)  # fmt: skip
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def _checked(kind: str, value: str) -> str:
    try:
        return checked_name(kind, value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _named(kind: str) -> AfterValidator:
    return AfterValidator(lambda value: _checked(kind, value))


def _printable(value: str) -> str:
    if wrong := next((c for c in value if not c.isprintable() and c not in "\n\t"), None):
        raise ValueError(f"{wrong!r} is not allowed here")
    return value


def _ascii_word(value: str) -> str:
    if not re.fullmatch(r"[!-~]{1,256}", value):
        raise ValueError("use 1 to 256 ASCII characters without spaces, as the vendor writes it")
    return value


def _document(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, depth=0)
    size = len(json.dumps(value))
    if size > MAX_DOCUMENT:
        raise ValueError(f"it has {size} bytes of JSON, at most {MAX_DOCUMENT} are allowed")
    return value


def _check_json(value: object, depth: int) -> None:
    if depth > 10:
        raise ValueError("it is nested deeper than 10 levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not 1 <= len(key) <= 128:
                raise ValueError("every key must be text of 1 to 128 characters")
            _check_scalar(key)
            _check_json(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth + 1)
    else:
        _check_scalar(value)


def _check_scalar(value: object) -> None:
    match value:
        case str() if "\0" in value:
            raise ValueError("a NUL character is not allowed")
        case str() if any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("half a character (a lone surrogate) is not allowed")
        case float() if value - value != 0:
            raise ValueError("NaN and infinity are not allowed")
        # JSONB gives 1e16 back as a whole number, so a float is bound like one.
        case int() | float() if abs(value) > MAX_EXACT:
            raise ValueError(f"numbers go up to {MAX_EXACT}")
        case str() | int() | float() | None:
            return
        case _:
            raise ValueError(f"{type(value).__name__} is not JSON")


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if name.lower() in RESERVED_PARAMETERS:
            raise ValueError(f"{name!r} may not be set here: the provider decides it, or the caller")
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an absolute URL such as https://api.example.com/v1")
    if parts.username or parts.password:
        raise ValueError("a URL must not hold a credential; use the secret field")
    if parts.query or parts.fragment or not re.fullmatch(r"[!-~]{1,2048}", value):
        raise ValueError("a base URL has neither query, fragment nor spaces; use the query field")
    return value


def _secret(value: object) -> object:
    if isinstance(value, FederatedSecret) or (isinstance(value, dict) and "federated" in value):
        return value
    references = value.values() if isinstance(value, dict) else [value]
    for reference in references:
        if reference is not None and not (
            isinstance(reference, str) and _SECRET_REFERENCE.fullmatch(reference)
        ):
            # The value itself is never repeated: it may be the very secret.
            raise ValueError("write a reference, 'env:NAME' or 'file:PATH', never the secret itself")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, content in value.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not a header's name")
        if not re.fullmatch(r"[ -~]{0,1024}", content):
            raise ValueError(f"the value of {name!r} must be at most 1024 ASCII characters")
    return value


def _no_credentials(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if name.lower().replace("-", "_") in _CREDENTIALS:
            raise ValueError(f"{name!r} holds a credential; use the secret field")
    return value


def _limit(value: str) -> str:
    try:
        return parse_terms(value).text
    except Rejected as error:
        raise ValueError(str(error)) from None


def _end_user(value: str) -> str:
    if value != value.strip() or not value.isprintable() or not 1 <= len(value) <= 128:
        raise ValueError("an end user is 1 to 128 printable characters, or '*' for each by itself")
    return value


def _tag(value: str) -> str:
    name, equals, said = value.partition("=")
    if name != name.strip() or not value.isprintable() or not 1 <= len(name) <= 128 or len(said) > 128:
        raise ValueError("a tag is written 'batch', 'job=nightly', or 'job=*' for each value by itself")
    if "*" in name or (equals and not said) or ("*" in said and said != "*"):
        raise ValueError("'*' stands for a tag's whole value only: 'job=*'")
    return value


def _exact(value: object) -> object:
    """Take a number as it is written, never as binary floating point holds it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("write a number")
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError("write a number") from None


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("give the time zone, too")
    return value


def unique_items(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that says something twice."""
    if twice := next((item for index, item in enumerate(value) if item in value[:index]), None):
        raise ValueError(f"{twice!r} is there twice")
    return value


def _callable(value: str) -> str:
    if is_callable_name(value):
        return value
    return _checked("alias", value)


def _share(value: str) -> str:
    return share_text(parse_share(value))


TeamName = Annotated[str, _named("team")]
UserName = Annotated[str, _named("user")]
ProviderName = Annotated[str, _named("provider")]
AliasName = Annotated[str, _named("alias")]
#: What a key's list may hold: an alias's name, a pattern's, or a name that a pattern catches.
CallableName = Annotated[str, AfterValidator(_callable)]
#: A share of the calls as people write it, ``5%``.
Share = Annotated[str, AfterValidator(_share)]
KeyId = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{8}$")]
Description = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
Notice = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Model = Annotated[str, AfterValidator(_ascii_word)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_document)]
Parameters = Annotated[JsonObject, AfterValidator(_parameters)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Secret = Annotated[str | dict[str, str] | FederatedSecret | None, BeforeValidator(_secret)]
Options = Annotated[JsonObject, AfterValidator(_no_credentials)]
Headers = Annotated[
    dict[str, str], Field(max_length=50), AfterValidator(_no_credentials), AfterValidator(_headers)
]
Query = Annotated[
    dict[str, str], Field(max_length=50), AfterValidator(_no_credentials), AfterValidator(_document)
]
EndUser = Annotated[str, AfterValidator(_end_user)]
Tag = Annotated[str, AfterValidator(_tag)]
#: How many values a limit keeps apart: each takes about 100 bytes of Redis.
Distinct = Annotated[int, Field(ge=1, le=10_000_000)]
LimitText = Annotated[str, AfterValidator(_limit)]
#: USD per million tokens, as vendors print it; six decimals are one pico-USD a token.
UsdPerMillion = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1_000_000, decimal_places=6)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000_000)]
Instant = Annotated[datetime, AfterValidator(_aware)]

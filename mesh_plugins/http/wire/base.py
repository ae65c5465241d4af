"""What a wire format is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import plain
from mesh_plugins.http.transport import HttpRequest
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.snapshot import Provider

#: The longest silence between two pieces of a stream; a provider's option ``idle_timeout_s`` overrides it.
IDLE_S = 120.0
_MOST_ENDPOINTS = 1_024

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder(enc_hook=plain)


@dataclass(slots=True, frozen=True)
class Endpoint:
    """Where to ask one operation of one provider, and with which headers; nobody changes them."""

    url: str
    headers: dict[str, str] = field(repr=False)
    idle_s: float | None


class Chunks(Protocol):
    """Turns the bytes of one stream into chunks.

    Attributes:
        reply: what is known so far.
        complete: True once the provider gave a finish reason: a break after it loses no content.
        done: True once nothing more will come.
        failure: what the stream itself said went wrong, to be raised after the chunks before it.
    """

    reply: ProviderReply
    complete: bool
    done: bool
    failure: ProviderError | None

    def feed(self, piece: bytes) -> list[Any]:
        """Take bytes, return the chunks they complete."""
        ...


class Wire(Protocol):
    """A provider's format for every operation it has."""

    def request(self, call: ProviderCall) -> HttpRequest:
        """Build the request.

        Raises:
            ConfigError: the provider does not do this operation or this parameter; names it.
        """
        ...

    def reply(self, call: ProviderCall, body: bytes) -> ProviderReply:
        """Parse a whole reply.

        Raises:
            ProviderError: of kind ``protocol``, when it is not one.
        """
        ...

    def chunks(self, call: ProviderCall) -> Chunks:
        """Start reading a stream."""
        ...


def encode(body: dict[str, Any], call: ProviderCall) -> bytes:
    """Encode a request's body.

    Raises:
        ConfigError: a parameter has no JSON form; names it.
    """
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        name = next((name for name, value in body.items() if not _encodable(value)), "?")
        raise ConfigError(
            f"parameter {name!r} of the call to alias {call.request.alias!r}: {error}"
        ) from None


def _encodable(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def decode(body: bytes) -> Any:
    """Decode JSON that a stranger sent.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def header(call: ProviderCall, name: str, value: str) -> str:
    """Return a header's value when it may be one; a line break in a secret must not split the request.

    Raises:
        ConfigError: names the header and the provider, never the value.
    """
    if not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"provider {call.provider.name!r}: the value for header {name!r} has characters "
            "no header may have (a line break at its end?)"
        )
    return value


class Endpoints:
    """Addresses and headers by provider, worked out once for as long as its entry and secret stay.

    Snapshots hand out the same `Provider` until its configuration changes; another one, or another
    secret, replaces what was kept.
    """

    def __init__(self, build: Callable[[ProviderCall], Endpoint]) -> None:
        self._build = build
        self._kept: dict[tuple[str, str, str, bool], tuple[Provider, Any, Endpoint]] = {}

    def of(self, call: ProviderCall) -> Endpoint:
        """Return where and how to ask."""
        provider = call.provider
        key = (provider.id, call.request.operation, call.target.model, call.stream)
        kept = self._kept.get(key)
        if kept is not None and kept[0] is provider and kept[1] == call.secret:
            return kept[2]
        if len(self._kept) >= _MOST_ENDPOINTS:
            self._kept.clear()
        endpoint = self._build(call)
        self._kept[key] = provider, call.secret, endpoint
        return endpoint


def idle_s(call: ProviderCall) -> float | None:
    """Return the longest silence to allow, None for a reply that comes whole."""
    if not call.stream:
        return None
    value = call.provider.options.get("idle_timeout_s", IDLE_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigError(f"provider {call.provider.name!r}: option idle_timeout_s must be seconds above 0")
    return float(value)


def secret_named(call: ProviderCall, *names: str) -> str | None:
    """Return the secret, or one of a map's values by the first of these names it has."""
    secret = call.secret
    if isinstance(secret, dict):
        return next((secret[name] for name in names if name in secret), None)
    return secret


def asked_for_usage(call: ProviderCall) -> bool:
    """Tell whether the caller wants to see the usage of a stream; we always do."""
    options = call.payload.get("stream_options")
    return bool(isinstance(options, dict) and options.get("include_usage"))


def text(value: Any) -> str | None:
    """Return a stranger's word when it is one, bounded; facts hold nothing else."""
    return value[:256] if isinstance(value, str) else None

"""litellm as a `Sender`: one attempt is one call of litellm's own function, rewritten for its target."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import litellm

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.core.ports import AsyncProviderStream, ProviderStream
from mesh_plugins.hosts.litellm.attempts import attempt
from mesh_plugins.hosts.litellm.clients import http_client, openai_client
from mesh_plugins.hosts.litellm.doors import PREFIX, Door
from mesh_plugins.hosts.litellm.failures import provider_failure
from mesh_plugins.hosts.litellm.parameters import Asked
from mesh_plugins.hosts.litellm.reading import ChatReader, MessagesReader, Reader, ResponsesReader
from mesh_plugins.hosts.litellm.streams import AsyncChunks, Chunks, abegun, begun
from mesh_store.model.errors import ConfigError, ProviderError

#: Where a vendor lives when the provider names no address: said aloud, or litellm would ask the
#: environment (``OPENAI_BASE_URL``) and send our credential there.
_VENDORS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
#: For a provider of ours that wants no key: litellm would otherwise send it the caller's own from the
#: environment.
_NO_KEY = "none"
#: litellm's own timeout comes first, so that the caller's callbacks hear of it.
_GRACE_S = 0.5
_NO_RETRIES = {
    "BadRequestErrorRetries": 0,
    "AuthenticationErrorRetries": 0,
    "TimeoutErrorRetries": 0,
    "RateLimitErrorRetries": 0,
    "ContentPolicyViolationErrorRetries": 0,
    "InternalServerErrorRetries": 0,
}


class LiteLLMSender:
    """Sends one call's attempts through one of litellm's functions.

    Attributes:
        door: which function.
        original: that function as it was before `install`.
        asked: the caller's keywords, sorted.
    """

    __slots__ = ("asked", "door", "original")

    def __init__(self, door: Door, original: Callable[..., Any], asked: Asked) -> None:
        self.door, self.original, self.asked = door, original, asked

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send and wait for the whole reply."""
        with attempt(call.timeout_s):
            return self._reader().whole(self.original(**self._arguments(call)))

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Like `send`, on the caller's event loop; the total deadline holds here."""
        with attempt(call.timeout_s):
            async with asyncio.timeout(call.timeout_s + _GRACE_S):
                return self._reader().whole(await self.original(**self._arguments(call)))

    def stream(self, call: ProviderCall) -> ProviderStream:
        """Send, and return once the provider answered with a status."""
        with attempt(call.timeout_s):
            started = begun(self.original(**self._arguments(call)), hide_usage=not self.asked.wants_usage)
        return Chunks(started, self._reader(), call, mocked=self._mocked)

    async def astream(self, call: ProviderCall) -> AsyncProviderStream:
        """Like `stream`, on the caller's event loop."""
        with attempt(call.timeout_s):
            async with asyncio.timeout(call.timeout_s + _GRACE_S):
                native = await self.original(**self._arguments(call))
                started = await abegun(native, hide_usage=not self.asked.wants_usage)
        return AsyncChunks(started, self._reader(), call, mocked=self._mocked)

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate an exception of litellm; None when it is not the provider's doing."""
        return provider_failure(call, error)

    @property
    def _mocked(self) -> bool:
        return "mock_response" in self.asked.local

    @property
    def _reads_usage_chunks(self) -> bool:
        return self.door.operation in ("chat", "text_completion") and self.door.name != "anthropic_messages"

    def _reader(self) -> Reader:
        if self.door.name == "anthropic_messages":
            return MessagesReader()
        return ResponsesReader() if self.door.operation == "responses" else ChatReader()

    def _arguments(self, call: ProviderCall) -> dict[str, Any]:
        """Build the keywords for litellm; what decides where it goes comes last."""
        if litellm.model_fallbacks:
            raise ConfigError(
                "litellm.model_fallbacks is set: litellm would send this provider's credential to another "
                "model. Unset it; the targets of an alias are its fallbacks"
            )
        arguments = {**self.asked.local, **call.payload, **address(call)}
        arguments |= {"num_retries": 0, "max_retries": 0, "timeout": call.timeout_s}
        if litellm.num_retries and not self.door.is_async:
            arguments["retry_policy"] = _NO_RETRIES  # its sync functions read num_retries=0 as unset
        headers = {**self.asked.local.get("extra_headers", {}), **_bearer(call), **call.provider.headers}
        if headers:
            arguments["extra_headers"] = headers
        if call.stream:
            arguments["stream"] = True
            if self._reads_usage_chunks and call.provider.options.get("stream_usage", True):
                arguments["stream_options"] = {"include_usage": True}
        client = self._client(call, arguments)
        if client is not None:
            arguments["client"] = client
        return arguments

    def _client(self, call: ProviderCall, arguments: dict[str, Any]) -> Any:
        kind, is_async = call.provider.kind, self.door.is_async
        spoken_plainly = self.door.operation == "responses" or self.door.name == "anthropic_messages"
        if kind == "anthropic" or (kind == "openai" and self.door.operation == "responses"):
            return http_client(is_async=is_async)
        if (
            kind != "openai"
            or spoken_plainly
            or call.provider.options.get("azure")
            or "api_key" not in arguments
        ):
            return None
        return openai_client(
            arguments["api_base"], arguments["api_key"], call.provider.query, is_async=is_async
        )


def address(call: ProviderCall) -> dict[str, Any]:
    """Return the keywords that say where a call goes and as whom; all of them from the provider.

    Raises:
        ConfigError: the target is itself an alias, or litellm is set to send it elsewhere.
    """
    provider, target = call.provider, call.target
    if target.model.startswith(PREFIX):
        raise ConfigError(
            f"target {target.model!r} of provider {provider.name!r} names an alias, not a model"
        )
    if provider.kind == "litellm":
        return _any_vendor(call)
    azure = provider.kind == "openai" and bool(provider.options.get("azure"))
    where: dict[str, Any] = {
        "model": f"{'azure' if azure else provider.kind}/{target.model}",
        "api_base": provider.base_url or _VENDORS[provider.kind],
    }
    if azure and "api_version" in provider.options:
        where["api_version"] = provider.options["api_version"]
    if isinstance(call.secret, dict):
        where |= _named(call, call.secret)
    elif call.secret is not None:
        where["api_key"] = call.secret
    elif provider.base_url is not None:
        where["api_key"] = _NO_KEY
    return where


def _any_vendor(call: ProviderCall) -> dict[str, Any]:
    where: dict[str, Any] = {"model": call.target.model}
    if call.provider.base_url is not None:
        where["api_base"] = call.provider.base_url
    elif call.secret is not None and litellm.api_base:
        raise ConfigError("litellm.api_base is set: it would receive this provider's credential. Unset it")
    if isinstance(call.secret, dict):
        where |= _named(call, call.secret)
    elif call.secret is not None:
        where["api_key"] = call.secret
    return where


def _bearer(call: ProviderCall) -> dict[str, str]:
    """Return the header of a token exchanged for our identity, where litellm would send it as a key."""
    if call.provider.kind == "anthropic" and isinstance(call.secret, dict) and "token" in call.secret:
        return {"authorization": f"Bearer {call.secret['token']}"}
    return {}


def _named(call: ProviderCall, secret: dict[str, str]) -> dict[str, str]:
    """Return a secret of several values under litellm's names; a token exchanged for our identity has one."""
    if secret.keys() != {"token"}:
        return secret
    if not call.provider.options.get("azure"):
        return {"api_key": secret["token"]}
    # Without a key litellm takes one of the process, and openai 3 refuses both; this is its word for none.
    return {"azure_ad_token": secret["token"], "api_key": "<missing API key>"}

"""Providers of kind ``litellm`` for callers that are not litellm's: its calls, our replies.

One attempt is one call of litellm's own function, as in `sender`; what comes back is OpenAI-shaped already
and is handed out as `mesh_plugins.http.reply.Reply`. The caller's parameters pass the same allow-list as
under litellm, because litellm reads addresses, credentials and clients from them, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.core.ports import AsyncProviderStream, ProviderStream
from mesh_plugins.hosts.litellm.doors import DOORS, Door
from mesh_plugins.hosts.litellm.failures import provider_failure
from mesh_plugins.hosts.litellm.installation import original
from mesh_plugins.hosts.litellm.parameters import sort
from mesh_plugins.hosts.litellm.sender import LiteLLMSender
from mesh_plugins.http.reply import Reply
from mesh_store.model.errors import ProviderError

_DOORS: dict[tuple[str, bool], Door] = {
    (door.operation, door.is_async): door for door in DOORS if door.name != "anthropic_messages"
}


class AnyVendor:
    """Sends each attempt through litellm; replies and chunks are `Reply` objects."""

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send and wait for the whole reply."""
        inner, sorted_call = _prepared(call, is_async=False)
        return _whole(inner.send(sorted_call))

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Like `send`, on the caller's event loop."""
        inner, sorted_call = _prepared(call, is_async=True)
        return _whole(await inner.asend(sorted_call))

    def stream(self, call: ProviderCall) -> ProviderStream:
        """Send, and return once the provider answered with a status."""
        inner, sorted_call = _prepared(call, is_async=False)
        return _Replies(inner.stream(sorted_call))

    async def astream(self, call: ProviderCall) -> AsyncProviderStream:
        """Like `stream`, on the caller's event loop."""
        inner, sorted_call = _prepared(call, is_async=True)
        return _AsyncReplies(await inner.astream(sorted_call))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate an exception of litellm; None when it is not the provider's doing."""
        return provider_failure(call, error)


class _Replies:
    """litellm's chunks as ours."""

    def __init__(self, inner: ProviderStream) -> None:
        self.reply = inner.reply
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return Reply(_plain(next(self._inner)))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()


class _AsyncReplies:
    """Like `_Replies`, on the caller's event loop."""

    def __init__(self, inner: AsyncProviderStream) -> None:
        self.reply = inner.reply
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return Reply(_plain(await anext(self._inner)))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


def _prepared(call: ProviderCall, *, is_async: bool) -> tuple[LiteLLMSender, ProviderCall]:
    """Return litellm's function as a sender, and the attempt with the caller's parameters sorted.

    Raises:
        ConfigError: the caller gave a parameter that is on no list.
    """
    door = _DOORS[call.request.operation, is_async]
    function = original(door.name)
    callers = {
        name: value
        for name, value in call.payload.items()
        if name in call.request.payload and name not in call.target.params
    }
    asked = sort(door, function, (), callers)
    operators = {name: value for name, value in call.payload.items() if name not in callers}
    return LiteLLMSender(door, function, asked), replace(call, payload={**asked.payload, **operators})


def _whole(reply: ProviderReply) -> ProviderReply:
    reply.body = Reply(_plain(reply.body))
    return reply


def _plain(said: Any) -> dict[str, Any]:
    """Return one of litellm's objects as JSON knows it."""
    if isinstance(said, Mapping):
        return dict(said)
    dumped: dict[str, Any] = said.model_dump(mode="json", exclude_none=True)
    return dumped

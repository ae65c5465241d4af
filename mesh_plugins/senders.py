"""`SenderByKind`: every kind of provider from every host.

Kinds ``openai`` and ``anthropic`` go out over our own HTTP; ``litellm`` through litellm, where its extra is
installed, so that an alias may name Bedrock, Vertex, Gemini and whatever else litellm speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mesh_plugins.core.call import CallRequest, ProviderCall, ProviderReply
from mesh_plugins.core.ports import AsyncProviderStream, ProviderStream, Sender
from mesh_plugins.http.sender import DirectSender
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.forking import forkable_lock
from mesh_store.model.snapshot import Snapshot

#: By name: it belongs to a host, which is a layer above, and takes seconds to import.
_LITELLM = "mesh_plugins.hosts.litellm.any_vendor"


class SenderByKind:
    """Sends each attempt by what its provider's kind needs.

    Args:
        direct: what speaks to kinds ``openai`` and ``anthropic``; None is our own HTTP with its defaults.
    """

    def __init__(self, direct: Sender | None = None) -> None:
        self._direct: Any = direct or DirectSender()
        self._litellm: Sender | None = None
        self._lock = forkable_lock()
        self._looked_at: Snapshot | None = None
        self._named_there = self._tried = False

    def lacks(self, request: CallRequest, snapshot: Snapshot) -> bool:
        """Whether litellm may be needed for a call and was not imported yet; then `load` it first."""
        if self._tried:
            return False
        if snapshot is not self._looked_at:
            providers = snapshot.document.providers
            self._named_there = any(provider.kind == "litellm" for provider in providers)
            self._looked_at = snapshot
        if not self._named_there:
            return False
        team = request.principal.team
        alias = snapshot.alias(request.alias, team)
        targets = snapshot.targets_of(alias.targets, team) if alias is not None else ()
        return any(snapshot.provider(target.provider).kind == "litellm" for target in targets)

    def load(self) -> None:
        """Import litellm, for seconds; what hinders that, an attempt says when it needs it."""
        with contextlib.suppress(Exception):
            self._through_litellm()
        self._tried = True

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send and wait for the whole reply."""
        if call.provider.kind != "litellm":
            return self._direct.send(call)  # type: ignore[no-any-return]
        return self._through_litellm(call.provider.name).send(call)

    def asend(self, call: ProviderCall) -> Coroutine[Any, Any, ProviderReply]:
        """Like `send`, on the caller's event loop."""
        if call.provider.kind != "litellm":
            return self._direct.asend(call)  # type: ignore[no-any-return]
        return self._asend_through_litellm(call)

    def stream(self, call: ProviderCall) -> ProviderStream:
        """Send, and return once the provider answered with a status."""
        if call.provider.kind != "litellm":
            return self._direct.stream(call)  # type: ignore[no-any-return]
        return self._through_litellm(call.provider.name).stream(call)

    def astream(self, call: ProviderCall) -> Coroutine[Any, Any, AsyncProviderStream]:
        """Like `stream`, on the caller's event loop."""
        if call.provider.kind != "litellm":
            return self._direct.astream(call)  # type: ignore[no-any-return]
        return self._astream_through_litellm(call)

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate what an attempt raised; None when it is not the provider's doing."""
        if call.provider.kind != "litellm" or self._litellm is None:
            return self._direct.failure(call, error)  # type: ignore[no-any-return]
        return self._litellm.failure(call, error)

    def close(self) -> None:
        """Let go of our own connections; litellm keeps its own."""
        self._direct.close()

    async def aclose(self) -> None:
        """Let go of our own connections, those of the running event loop included."""
        await self._direct.aclose()

    async def _asend_through_litellm(self, call: ProviderCall) -> ProviderReply:
        return await (await self._athrough_litellm(call)).asend(call)

    async def _astream_through_litellm(self, call: ProviderCall) -> AsyncProviderStream:
        return await (await self._athrough_litellm(call)).astream(call)

    async def _athrough_litellm(self, call: ProviderCall) -> Sender:
        # The first time imports litellm, for seconds: not on the event loop.
        if self._litellm is None:
            return await asyncio.to_thread(self._through_litellm, call.provider.name)
        return self._litellm

    def _through_litellm(self, provider: str = "") -> Sender:
        with self._lock:
            sender = self._litellm or _any_vendor(provider)
            self._litellm = sender
            return sender


def _any_vendor(provider: str) -> Sender:
    if find_spec("litellm") is None:
        raise ConfigError(
            f"provider {provider!r} is of kind litellm, and LiteLLM is not installed here: "
            "pip install 'mesh-plugins[litellm]'"
        )
    if "litellm" not in sys.modules:
        # Read at import: without it litellm fetches a price list, for seconds where there is no network.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    sender: Sender = import_module(_LITELLM).AnyVendor()
    return sender

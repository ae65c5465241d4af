"""The direct caller's verbs: OpenAI-shaped requests and replies over whatever ports it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mesh_plugins import batch
from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.drivers import Governed
from mesh_plugins.core.info import call_info
from mesh_plugins.core.ports import ConfigPort, Sender
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.core.streams import AsyncGovernedStream, GovernedStream
from mesh_plugins.http import wards
from mesh_plugins.http.tokens import TokenEndpoints
from mesh_store.model.errors import MeshError
from mesh_store.model.snapshot import Operation

if TYPE_CHECKING:
    from mesh_plugins.http.reply import Reply

#: Keyword arguments that say something about the call to Mesh; everything else goes to the model.
OPTIONS = ("key", "timeout_s", "max_wait_s", "tags", "session", "end_user", "trace_id", "span_id")
_NAMES = frozenset(OPTIONS)

Messages = Sequence[Mapping[str, Any]]


class DirectCaller(Runtime):
    """Makes governed calls to the providers directly.

    Every verb takes the model's parameters as keyword arguments (``max_tokens``, ``temperature``,
    ``tools``, …) and besides them ``key`` (instead of ``MESH_KEY``), ``timeout_s`` (total deadline),
    ``max_wait_s`` (wait this long for a limit to have room), ``tags``, ``session``, ``end_user``.
    Replies have OpenAI's shape and carry ``reply.mesh`` (target, cost, attempts, revision).

    Raises:
        Denied: refused before any provider was asked: `InvalidKey`, `AccessDenied`, `UnknownAlias`,
            `QuotaExceeded`.
        Unavailable: it could not be decided: `ConfigUnavailable`, `QuotaUnavailable`.
        ProviderError: every attempt failed.
    """

    def __init__(self, *, sender: Sender | None = None, **ports: Any) -> None:
        super().__init__(tokens=TokenEndpoints(), **ports)
        self._sender = sender
        self._speaks_in_threads = self._speaks_interruptibly = self._speaks_on_loops = sender is not None

    def chat(self, alias: str, messages: Messages, **params: Any) -> Reply:
        """Ask for a chat completion and wait for all of it."""
        return self._ask("chat", alias, {"messages": messages}, params)

    async def achat(self, alias: str, messages: Messages, **params: Any) -> Reply:
        """Like `chat`, on the caller's event loop."""
        return await self._aask("chat", alias, {"messages": messages}, params)

    def stream(self, alias: str, messages: Messages, **params: Any) -> GovernedStream:
        """Ask for a chat completion as chunks; a context manager, settled however it is left."""
        request = self._request("chat", alias, {"messages": messages}, params, stream=True)
        return self.stream_call(request, self.sender)

    async def astream(self, alias: str, messages: Messages, **params: Any) -> AsyncGovernedStream:
        """Like `stream`, on the caller's event loop."""
        request = await self._arequest("chat", alias, {"messages": messages}, params, stream=True)
        return await self.astream_call(request, self.async_sender)

    def embed(self, alias: str, input: Any, **params: Any) -> Reply:  # noqa: A002 - OpenAI's name
        """Ask for embeddings of a text or a list of texts."""
        return self._ask("embeddings", alias, {"input": input}, params)

    async def aembed(self, alias: str, input: Any, **params: Any) -> Reply:  # noqa: A002
        """Like `embed`, on the caller's event loop."""
        return await self._aask("embeddings", alias, {"input": input}, params)

    def responses(self, alias: str, input: Any, **params: Any) -> Reply:  # noqa: A002
        """Ask with OpenAI's responses format."""
        return self._ask("responses", alias, {"input": input}, params)

    async def aresponses(self, alias: str, input: Any, **params: Any) -> Reply:  # noqa: A002
        """Like `responses`, on the caller's event loop."""
        return await self._aask("responses", alias, {"input": input}, params)

    def map(
        self,
        alias: str,
        prompts: Iterable[Any],
        *,
        concurrency: int = 8,
        progress: batch.Progress | None = None,
        **params: Any,
    ) -> list[Reply | MeshError]:
        """Chat about each prompt (a text or messages), ``concurrency`` at once; order kept.

        A prompt that was refused or failed leaves its `MeshError` in its place. ``progress`` is told after
        each prompt how many are done; `mesh_plugins.hosts.notebook.progress.Progress` shows it in a notebook.
        """
        return batch.run(
            lambda prompt: self.chat(alias, batch.as_messages(prompt), **params),
            prompts,
            concurrency=concurrency,
            progress=progress,
        )

    async def amap(
        self,
        alias: str,
        prompts: Sequence[Any],
        *,
        concurrency: int = 8,
        progress: batch.Progress | None = None,
        **params: Any,
    ) -> list[Reply | MeshError]:
        """Like `map`, on the caller's event loop."""
        return await batch.arun(
            lambda prompt: self.achat(alias, batch.as_messages(prompt), **params),
            prompts,
            concurrency=concurrency,
            progress=progress,
        )

    def call(self, request: CallRequest, sender: Sender) -> Governed:
        """Make one governed call; importing litellm, where its alias needs it, is none of its time."""
        if (load := _missing(sender, request, self.config)) is not None:
            load()
        return super().call(request, sender)

    async def acall(self, request: CallRequest, sender: Sender) -> Governed:
        """Like `call`, on the caller's event loop."""
        if (load := _missing(sender, request, self.config)) is not None:
            await asyncio.to_thread(load)
        return await super().acall(request, sender)

    def stream_call(self, request: CallRequest, sender: Sender) -> GovernedStream:
        """Start one governed stream, as `call` makes a call."""
        if (load := _missing(sender, request, self.config)) is not None:
            load()
        return super().stream_call(request, sender)

    async def astream_call(self, request: CallRequest, sender: Sender) -> AsyncGovernedStream:
        """Like `stream_call`, on the caller's event loop."""
        if (load := _missing(sender, request, self.config)) is not None:
            await asyncio.to_thread(load)
        return await super().astream_call(request, sender)

    @property
    def sender(self) -> Sender:
        """What speaks to the providers from threads; importing it is none of a provider's latency."""
        if wards.interruptible():
            if not self._speaks_interruptibly:
                import_module("mesh_plugins.http.interruptible")
                self._speaks_interruptibly = True
        elif not self._speaks_in_threads:
            from mesh_plugins.http import forks, native

            if not forks.runtime_lost():
                native.load()
            self._speaks_in_threads = True
        return self._any_sender()

    @property
    def async_sender(self) -> Sender:
        """Like `sender`, on event loops."""
        if not self._speaks_on_loops:
            import_module("mesh_plugins.http.aiohttp")
            self._speaks_on_loops = True
        return self._any_sender()

    def _any_sender(self) -> Sender:
        if self._sender is None:
            from mesh_plugins.senders import SenderByKind

            self._sender = SenderByKind()
        return self._sender

    def _ask(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any]
    ) -> Reply:
        return _with_receipt(self.call(self._request(operation, alias, payload, params), self.sender))

    async def _aask(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any]
    ) -> Reply:
        return _with_receipt(
            await self.acall(await self._arequest(operation, alias, payload, params), self.async_sender)
        )

    def _request(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any], **more: Any
    ) -> CallRequest:
        options = _options(params)
        return self.request(operation, alias, {**payload, **params}, **options, **more)

    async def _arequest(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any], **more: Any
    ) -> CallRequest:
        options = _options(params)
        return await self.arequest(operation, alias, {**payload, **params}, **options, **more)


def _missing(sender: Any, request: CallRequest, config: ConfigPort) -> Callable[[], None] | None:
    """Return what imports litellm, once, when a call may need it; senders of one kind lack nothing."""
    lacks = getattr(sender, "lacks", None)
    return sender.load if lacks is not None and lacks(request, config.snapshot()) else None


def _options(params: dict[str, Any]) -> dict[str, Any]:
    if _NAMES.isdisjoint(params):
        return {}
    return {name: params.pop(name) for name in OPTIONS if name in params}


def _with_receipt(governed: Governed) -> Reply:
    reply: Reply = governed.body
    reply.mesh = call_info(governed.receipt)
    return reply

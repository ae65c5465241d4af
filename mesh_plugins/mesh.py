"""`Mesh`: the direct caller, with everything it needs, in two lines.

::

    mesh = Mesh.from_env()
    reply = mesh.chat("fast", [{"role": "user", "content": "Hello"}], max_tokens=64)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mesh_plugins import batch
from mesh_plugins.connections import Connections, LiveConfig
from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.drivers import Governed
from mesh_plugins.core.info import call_info
from mesh_plugins.core.ports import Sender
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.core.streams import AsyncGovernedStream, GovernedStream
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.settings import Settings
from mesh_store.model.errors import MeshError
from mesh_store.model.snapshot import Operation, Snapshot

if TYPE_CHECKING:
    from mesh_plugins.http.reply import Reply

#: Keyword arguments that say something about the call to Mesh; everything else goes to the model.
OPTIONS = ("key", "timeout_s", "max_wait_s", "tags", "session", "end_user", "trace_id", "span_id")

Messages = Sequence[Mapping[str, Any]]


class Mesh(Runtime):
    """Makes governed calls to the providers directly; a context manager in both colours.

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

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        plugins: Sequence[object] = (),
        sender: Sender | None = None,
    ) -> None:
        self.settings = settings or Settings.from_env()
        hooks = load(self.settings.plugins, plugins, builtin=builtin_plugins())
        self._held = Connections(self.settings, self._changed)
        super().__init__(
            config=LiveConfig(self._held.subscriber),
            limiter=self._held.limiter,
            async_limiter=self._held.async_limiter,
            recorder=self._held.recorder,
            hooks=hooks,
            key=self.settings.key.get_secret_value() if self.settings.key else None,
        )
        self._sender = sender

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Build from the ``MESH_*`` variables; keyword arguments are settings that go over them."""
        return cls(Settings.from_env(**overrides))

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
        return await self.astream_call(request, self.sender)

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

        A prompt that was refused or failed leaves its `MeshError` in its place.
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

    @property
    def sender(self) -> Sender:
        """What speaks to the providers; made when the first call needs it."""
        if self._sender is None:
            from mesh_plugins.http.sender import DirectSender

            self._sender = DirectSender()
        return self._sender

    @property
    def database_url(self) -> str | None:
        """Where reports are read from; None when this process was not told."""
        return self._held.database_url

    def flush(self, timeout: float = 10.0, *, collected: bool = False) -> bool:
        """Wait until every fact so far has left this process; for scripts and serverless functions.

        Args:
            timeout: seconds to wait at most.
            collected: wait until they are in Postgres.

        Returns:
            True when all of it is done.
        """
        return self._held.recorder.flush(timeout, collected=collected)

    async def aflush(self, timeout: float = 10.0, *, collected: bool = False) -> bool:  # noqa: ASYNC109
        """Like `flush`, without blocking the event loop."""
        return await asyncio.to_thread(self.flush, timeout, collected=collected)

    def close(self, timeout: float = 2.0) -> None:
        """Ship what can be shipped within ``timeout`` seconds, then let go; may be called twice."""
        self._held.close(timeout)

    async def aclose(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 - seconds to ship, not to be cancelled
        """Like `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _ask(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any]
    ) -> Reply:
        return _with_receipt(self.call(self._request(operation, alias, payload, params), self.sender))

    async def _aask(
        self, operation: Operation, alias: str, payload: dict[str, Any], params: dict[str, Any]
    ) -> Reply:
        return _with_receipt(
            await self.acall(await self._arequest(operation, alias, payload, params), self.sender)
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

    def _changed(self, old: Snapshot | None, new: Snapshot) -> None:
        self.hooks.snapshot_changed.notify(old=old, new=new)


def _options(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params.pop(name) for name in OPTIONS if name in params}


def _with_receipt(governed: Governed) -> Reply:
    reply: Reply = governed.body
    reply.mesh = call_info(governed.receipt)
    return reply

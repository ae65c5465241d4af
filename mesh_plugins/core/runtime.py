"""`Runtime`: one process's way to make governed calls, whatever speaks to the provider.

Holds the ports and hands each request to the drivers. Hosts bring their own `Sender`; the direct
caller is `mesh_plugins.mesh.Mesh`, which adds ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh_plugins.core import drivers
from mesh_plugins.core.call import CallRequest
from mesh_plugins.core.course import Course
from mesh_plugins.core.denials import Denials
from mesh_plugins.core.drivers import Engine, Governed
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.identity import aprincipal, principal
from mesh_plugins.core.measure import measure
from mesh_plugins.core.parameters import asked_cap
from mesh_plugins.core.ports import (
    AsyncLimiterPort,
    ConfigPort,
    LimiterPort,
    RecorderPort,
    SamplePort,
    Sender,
    TokenPort,
)
from mesh_plugins.core.retries import Health, RetryBudget
from mesh_plugins.core.secrets import Secrets
from mesh_plugins.core.streams import AsyncGovernedStream, GovernedStream
from mesh_plugins.core.tracing import current_span
from mesh_plugins.core.words import fit
from mesh_store.model.errors import ConfigError
from mesh_store.model.ids import new_id
from mesh_store.model.sealing import KeyHolder
from mesh_store.model.snapshot import KeyEntry, Operation

#: How many of the caller's own tags are kept: they end up in every fact.
_MOST_TAGS = 16


class Runtime:
    """Makes governed calls with the ports it is given.

    Attributes:
        config: what this process sees of the configuration.
        limiter: decides charges for threads.
        async_limiter: decides charges on any event loop.
        recorder: remembers what happened.
        hooks: who decides.
    """

    def __init__(
        self,
        *,
        config: ConfigPort,
        limiter: LimiterPort,
        recorder: RecorderPort,
        hooks: Hooks,
        async_limiter: AsyncLimiterPort,
        key: str | None = None,
        tokens: TokenPort | None = None,
        samples: SamplePort | None = None,
    ) -> None:
        self.config, self.recorder, self.hooks = config, recorder, hooks
        self.limiter, self.async_limiter = limiter, async_limiter
        self._engine = Engine(
            hooks, config, recorder, Health(), RetryBudget(), Denials(), Secrets(config, tokens), samples
        )
        self._key = key

    def request(
        self, operation: Operation, alias: str, payload: Mapping[str, Any], **options: Any
    ) -> CallRequest:
        """Say who asks for what.

        Args:
            operation: ``chat``, ``embeddings``, ``responses`` or ``text_completion``.
            alias: the model name the caller wrote, without a host's prefix.
            payload: the request in OpenAI's shape, without ``model`` and ``stream``.
            options: ``key``, ``host``, ``stream``, ``max_tokens``, ``timeout_s``, ``max_wait_s``, ``tags``,
                ``session``, ``end_user``, ``trace_id``, ``span_id`` (unless said, those of the
                OpenTelemetry span the call is made in).

        Raises:
            InvalidKey: there is no key, or it is not accepted.
            ConfigUnavailable: the key could not be looked up.
        """
        return _request(operation, alias, payload, principal(self.config, self._named(options)), **options)

    async def arequest(
        self, operation: Operation, alias: str, payload: Mapping[str, Any], **options: Any
    ) -> CallRequest:
        """Like `request`, on the caller's event loop."""
        return _request(
            operation, alias, payload, await aprincipal(self.config, self._named(options)), **options
        )

    def call(self, request: CallRequest, sender: Sender) -> Governed:
        """Make one governed call and wait for its whole answer.

        Raises:
            Denied: refused before any provider was asked.
            Unavailable: it could not be decided.
            ProviderError: every attempt failed; a host's sender may raise its own error instead.
        """
        return drivers.call(self._engine, self.limiter, request, sender)

    async def acall(self, request: CallRequest, sender: Sender) -> Governed:
        """Like `call`, on the caller's event loop."""
        return await drivers.acall(self._engine, self.async_limiter, request, sender)

    def stream_call(self, request: CallRequest, sender: Sender) -> GovernedStream:
        """Start one governed stream; raises like `call`, before anything is returned."""
        return drivers.stream(self._engine, self.limiter, request, sender)

    async def astream_call(self, request: CallRequest, sender: Sender) -> AsyncGovernedStream:
        """Like `stream_call`, on the caller's event loop."""
        return await drivers.astream(self._engine, self.async_limiter, request, sender)

    def meter(self, request: CallRequest) -> Course:
        """Admit a call that a host's own model sends, for hosts that only let us watch.

        The caller must end it: `Course.succeeded`, `Course.failed` or `Course.ended`. One that is never
        ended is settled at its estimate when this process's ring is drained.

        Raises:
            Denied: refused; the host must not send.
            Unavailable: it could not be decided.
        """
        return drivers.meter(self._engine, self.limiter, request)

    async def ameter(self, request: CallRequest) -> Course:
        """Like `meter`, on the caller's event loop."""
        return await drivers.ameter(self._engine, self.async_limiter, request)

    def _named(self, options: dict[str, Any]) -> str | None:
        return options.pop("key", None) or self._key


def _request(
    operation: Operation,
    alias: str,
    payload: Mapping[str, Any],
    caller: tuple[KeyEntry, KeyHolder],
    *,
    host: str = "direct",
    stream: bool = False,
    max_tokens: int | None = None,
    timeout_s: float | None = None,
    max_wait_s: float | None = None,
    tags: Any = None,
    session: Any = None,
    end_user: Any = None,
    trace_id: Any = None,
    span_id: Any = None,
) -> CallRequest:
    if trace_id is None:
        trace_id, span_id = current_span()
    return CallRequest(
        id=new_id(),
        operation=operation,
        alias=alias,
        payload=payload,
        principal=caller[0],
        holder=caller[1],
        size=measure(payload),
        host=host,
        stream=stream,
        max_tokens=asked_cap(payload) if max_tokens is None else max_tokens,
        timeout_us=None if timeout_s is None else _micros("timeout", timeout_s),
        max_wait_us=0 if max_wait_s is None else _micros("max_wait", max_wait_s),
        tags=_tags(tags),
        session=_label(session),
        end_user=_label(_end_user(end_user, payload)),
        trace_id=_label(trace_id),
        span_id=_label(span_id),
    )


def _micros(name: str, seconds: Any) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise ConfigError(f"{name} must be a number of seconds above 0, not {seconds!r}")
    return max(1, int(seconds * 1_000_000))


def _tags(tags: Any) -> dict[str, str]:
    if not tags:
        return {}
    pairs = tags.items() if isinstance(tags, Mapping) else ((tag, "") for tag in tags)
    return {fit(str(name)): fit(str(value)) for name, value in list(pairs)[:_MOST_TAGS]}


def _end_user(said: Any, payload: Mapping[str, Any]) -> Any:
    """Return whom a call is for: as said, or in the payload by OpenAI's old or new field, or Anthropic's."""
    if said is not None:
        return said
    metadata = payload.get("metadata")
    told = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    told = payload.get("user") or payload.get("safety_identifier") or told
    return told if isinstance(told, str) else None


def _label(value: Any) -> str | None:
    return None if value is None else fit(str(value))

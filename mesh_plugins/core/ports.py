"""What the core needs of the outside, as a few verbs each.

Pairs ``x``/``ax`` do the same in two colours. Everything that can wait is here; everything else in
the core is a plain function of values.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.core.content import RawSample
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import Asked, Cancel, Done, Intent, Settlement
from mesh_store.model.limits import Charge, Decision
from mesh_store.model.snapshot import KeyEntry, Snapshot


class LimiterPort(Protocol):
    """Decides charges in the caller's thread."""

    def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = 0,
    ) -> Decision:
        """Take all charges or none; the same id replays the recorded answer.

        Raises:
            QuotaUnavailable: it could not be decided.
        """
        ...

    def peek(self, charges: Sequence[Charge]) -> Decision:
        """Say what `reserve` would answer, taking nothing."""
        ...


class AsyncLimiterPort(Protocol):
    """Decides charges on the caller's event loop."""

    async def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = 0,
    ) -> Decision:
        """Like `LimiterPort.reserve`."""
        ...


class RecorderPort(Protocol):
    """Remembers what happened; never raises to a call and never blocks it."""

    def asked(self, asked: Asked) -> None:
        """Remember that charges of a budget are about to be asked for."""

    def intent(self, intent: Intent) -> None:
        """Remember a call that is about to be sent."""

    def done(self, done: Done) -> None:
        """Remember an attempt that ended, and with the last one the settlement."""

    def cancel(self, cancel: Cancel) -> None:
        """Give back a reserve whose answer was never read."""

    def settle(self, settlement: Settlement) -> None:
        """Remember what an extension of a reservation really took."""

    def flush_settlements(self, timeout_s: float) -> bool:
        """Wait until everything so far is settled; the one verb that waits. True when it is."""
        ...


class SamplePort(Protocol):
    """Takes what calls asked and were answered, of teams that switched samples on."""

    def offer(self, sample: RawSample) -> None:
        """Take a sample, or drop it when too many wait; microseconds, from any thread."""


class ConfigPort(Protocol):
    """Holds the configuration this process sees."""

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot.

        Raises:
            ConfigUnavailable: there is none; the message names what was tried.
        """
        ...

    def lookup(self, digest: bytes) -> KeyEntry | None:
        """Return the key with this digest, or None when there is certainly none."""
        ...

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        """Like `lookup`, on the caller's event loop."""
        ...

    def refetch(self, digest: bytes) -> KeyEntry | None:
        """Like `lookup`, but ask again whatever is remembered."""
        ...

    async def arefetch(self, digest: bytes) -> KeyEntry | None:
        """Like `refetch`, on the caller's event loop."""
        ...


class TokenPort(Protocol):
    """Posts forms to token endpoints; no redirects, no retries, bounded replies."""

    def post(self, url: str, form: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Post a form and return the status and the body.

        Raises:
            TokenUnreachable: there was no answer.
        """
        ...

    async def apost(self, url: str, form: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Like `post`, on the caller's event loop."""
        ...


class TokenUnreachable(Exception):
    """A token endpoint gave no answer; says why."""


class ProviderStream(Protocol):
    """Chunks of one reply, in the host's own type.

    ``reply`` is filled in while chunks are read: usage, finish reason and ids as the provider says
    them, ``output_chars`` as they arrive. A stream that ends early without a finish reason raises
    `ProviderError` of kind ``incomplete`` instead of ending quietly.
    """

    reply: ProviderReply

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def close(self) -> None:
        """Close the connection; may be called twice and at any time."""


class AsyncProviderStream(Protocol):
    """Like `ProviderStream`, on the caller's event loop."""

    reply: ProviderReply

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def __anext__(self) -> Any: ...

    async def aclose(self) -> None:
        """Close the connection; may be called twice and at any time."""


class Sender(Protocol):
    """Speaks to a provider, once per attempt: no retries, no redirects, no fallbacks of its own."""

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send and wait for the whole reply; raises what `failure` understands."""
        ...

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Like `send`, on the caller's event loop."""
        ...

    def stream(self, call: ProviderCall) -> ProviderStream:
        """Send, and return once the provider answered with a status."""
        ...

    async def astream(self, call: ProviderCall) -> AsyncProviderStream:
        """Like `stream`, on the caller's event loop."""
        ...

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate an exception of `send` or of a stream; None when it is not the provider's doing."""
        ...

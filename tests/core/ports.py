"""The core's ports, in a few lines each: what was asked is kept, what is answered is set by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import Asked, Cancel, Done, Fact, Intent, Settlement
from mesh_store.model.limits import Charge, Decision, Reservation
from mesh_store.model.usage import Usage


@dataclass
class Limiter:
    """Admits everything until told otherwise."""

    asked: list[tuple[Charge, ...]] = field(default_factory=list)
    refuse: Callable[[tuple[Charge, ...]], Decision] | None = None
    error: BaseException | None = None

    def reserve(
        self, charges: Any, *, reservation_id: Any = None, max_wait_us: int = 0, ttl_us: int = 0
    ) -> Decision:
        self.asked.append(tuple(charges))
        if self.error is not None:
            raise self.error
        if self.refuse is not None:
            return self.refuse(tuple(charges))
        full = tuple(0 for _ in charges)
        record = Reservation(reservation_id, tuple(charges), 1, 2)
        return Decision(
            admitted=True, remaining=full, retry_after_us=0, reset_after_us=full, reservation=record
        )

    def peek(self, charges: Any) -> Decision:
        return Decision(admitted=True, remaining=(0,) * len(charges), retry_after_us=0, reset_after_us=())


class AsyncLimiter:
    """The same limiter, awaited."""

    def __init__(self, inner: Limiter) -> None:
        self.inner = inner

    async def reserve(self, *args: Any, **kwargs: Any) -> Decision:
        return self.inner.reserve(*args, **kwargs)


@dataclass
class Recorder:
    """Keeps every record in order."""

    records: list[Intent | Done | Cancel] = field(default_factory=list)
    questions: list[Asked] = field(default_factory=list)
    extensions: list[Settlement] = field(default_factory=list)

    def asked(self, asked: Asked) -> None:
        self.questions.append(asked)

    def intent(self, intent: Intent) -> None:
        self.records.append(intent)

    def done(self, done: Done) -> None:
        self.records.append(done)

    def cancel(self, cancel: Cancel) -> None:
        self.records.append(cancel)

    def settle(self, settlement: Settlement) -> None:
        self.extensions.append(settlement)

    def flush_settlements(self, timeout_s: float) -> bool:
        return True

    @property
    def facts(self) -> list[Fact]:
        return [record.fact for record in self.records if isinstance(record, Done)]

    @property
    def settlements(self) -> list[Done]:
        return [record for record in self.records if isinstance(record, Done) and record.settlement]

    @property
    def intents(self) -> list[Intent]:
        return [record for record in self.records if isinstance(record, Intent)]

    @property
    def cancels(self) -> list[Cancel]:
        return [record for record in self.records if isinstance(record, Cancel)]


ANSWER = ProviderReply("the answer", Usage(11, 7), "stop", "small-2026", "resp-1", 20)


class Chunks:
    """A stream over a list; an exception in the list is raised at its place."""

    def __init__(self, items: list[Any], reply: ProviderReply) -> None:
        self.items, self.reply, self.closed = iter(items), reply, 0

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> Any:
        item = next(self.items)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1
        self.items = iter(())


class AsyncChunks:
    """The same stream, awaited."""

    def __init__(self, inner: Chunks) -> None:
        self.inner, self.reply = inner, inner.reply

    def __aiter__(self) -> AsyncChunks:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self.inner)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.inner.close()


@dataclass
class Sender:
    """Answers each attempt with the next of ``script``; the last one repeats."""

    script: list[Any] = field(default_factory=lambda: [ANSWER])
    calls: list[ProviderCall] = field(default_factory=list)

    def send(self, call: ProviderCall) -> Any:
        self.calls.append(call)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def asend(self, call: ProviderCall) -> Any:
        return self.send(call)

    def stream(self, call: ProviderCall) -> Any:
        return self.send(call)

    async def astream(self, call: ProviderCall) -> Any:
        return AsyncChunks(self.send(call))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        if isinstance(error, OSError):
            return failing("connect", call=call, native=error)
        return None


def failing(
    kind: str = "status", status: int = 502, *, call: ProviderCall | None = None, **more: Any
) -> ProviderError:
    """A provider's failure."""
    return ProviderError(
        f"{kind} {status}", provider="first", model="small", kind=kind, status=status, **more
    )

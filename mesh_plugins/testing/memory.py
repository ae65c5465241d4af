"""A whole mesh in memory, for the tests of code that uses Mesh and of plugins for it.

::

    mesh = MemoryMesh(limits=["2 requests/min"])
    mesh.chat("fast", [{"role": "user", "content": "hi"}])
    mesh.facts[-1].outcome

The same core, hooks and exact arithmetic as over Redis, without engines, threads or network; the
contract tests of the limiter run over both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.core.ports import Sender
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.direct import DirectCaller
from mesh_plugins.http.reply import Reply
from mesh_plugins.manager import load
from mesh_store.model import gcra, keys
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import Cancel, Done, Fact, Intent
from mesh_store.model.ids import new_id
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.limits import Charge, Decision, Reservation
from mesh_store.model.snapshot import (
    Alias,
    KeyEntry,
    LimitRule,
    Provider,
    Snapshot,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)
from mesh_store.model.usage import Usage


class MemoryLimiter:
    """Decides like `mesh_store.redis.Limiter`, in this process: rates exactly, slots by count.

    Calendar windows are counted without their calendar: they never roll over here.

    Attributes:
        now_us: the clock; advance it to let limits refill.
    """

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        self.now_us = now_us or (lambda: time.monotonic_ns() // 1_000)
        self._debts: dict[str, gcra.Debt] = {}
        self._counts: dict[str, int] = {}
        self._open: dict[str, Reservation] = {}
        self._lock = threading.Lock()

    def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = 0,
    ) -> Decision:
        """Take all charges or none."""
        with self._lock:
            now = self.now_us()
            asked = [self._ask(charge, now) for charge in charges]
            waits = [wait for _, wait in asked]
            refused = [index for index, wait in enumerate(waits) if wait is None or wait > max_wait_us]
            if refused:
                binding = max(refused, key=lambda i: float("inf") if waits[i] is None else waits[i] or 0)
                return self._decision(charges, now, retry=waits[binding], binding=binding)
            for charge in charges:
                self._add(charge, charge.amount, now)
            reservation = Reservation(reservation_id or new_id(), tuple(charges), now, now + ttl_us)
            self._open[reservation.id] = reservation
            longest = max((wait or 0 for wait in waits), default=0)
            return self._decision(charges, now, retry=0, reservation=reservation, wait_us=longest)

    def peek(self, charges: Sequence[Charge]) -> Decision:
        """Say what is left, taking nothing."""
        with self._lock:
            return self._decision(charges, self.now_us(), retry=0)

    def settle(self, reservation: Reservation, deltas: Sequence[int]) -> bool:
        """True a reservation up; False when it was settled before."""
        with self._lock:
            if self._open.pop(reservation.id, None) is None:
                return False
            now = self.now_us()
            for charge, delta in zip(reservation.charges, deltas, strict=True):
                self._add(charge, delta, now)
            return True

    def _ask(self, charge: Charge, now: int) -> tuple[Charge, int | None]:
        if charge.limit.kind == "rate":
            rate = gcra.rate_of(charge.limit)
            debt = gcra.drain(self._debts.get(charge.key), rate, now)
            return charge, gcra.wait_for(rate, debt.micros, debt.rem, charge.amount)
        room = charge.limit.amount - self._counts.get(charge.key, 0)
        return charge, 0 if charge.amount <= room else charge.limit.period_us

    def _add(self, charge: Charge, units: int, now: int) -> None:
        if charge.limit.kind != "rate":
            self._counts[charge.key] = max(0, self._counts.get(charge.key, 0) + units)
            return
        debt = gcra.drain(self._debts.get(charge.key), gcra.rate_of(charge.limit), now)
        self._debts[charge.key] = gcra.add(debt, units) if units >= 0 else gcra.give(debt, -units)

    def _left(self, charge: Charge, now: int) -> tuple[int, int]:
        if charge.limit.kind != "rate":
            return max(0, charge.limit.amount - self._counts.get(charge.key, 0)), charge.limit.period_us
        rate = gcra.rate_of(charge.limit)
        debt = gcra.drain(self._debts.get(charge.key), rate, now)
        return gcra.units_left(rate, debt.micros, debt.rem), gcra.drained_after(debt.micros, debt.rem)

    def _decision(self, charges: Sequence[Charge], now: int, *, retry: int | None, **more: Any) -> Decision:
        lefts = [self._left(charge, now) for charge in charges]
        return Decision(
            admitted=more.get("reservation") is not None,
            remaining=tuple(left for left, _ in lefts),
            reset_after_us=tuple(reset for _, reset in lefts),
            retry_after_us=retry,
            **more,
        )


class AsyncMemoryLimiter:
    """The same limiter, awaited."""

    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter

    async def reserve(self, charges: Sequence[Charge], **options: Any) -> Decision:
        """Take all charges or none."""
        return self._limiter.reserve(charges, **options)


class MemoryRecorder:
    """Keeps facts in a list and settles at once."""

    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter
        self.facts: list[Fact] = []
        self.open_intents: dict[str, Intent] = {}

    def intent(self, intent: Intent) -> None:
        """Note that a call was granted."""
        self.open_intents[intent.lost.id] = intent

    def done(self, done: Done) -> None:
        """Keep the fact and settle."""
        self.facts.append(done.fact)
        if done.settlement is not None:
            self._limiter.settle(done.settlement.reservation, done.settlement.deltas)
        if done.closes is not None:
            self.open_intents.pop(done.closes, None)

    def cancel(self, cancel: Cancel) -> None:
        """Nothing to give back: an answer in memory is always read."""


class MemoryConfig:
    """A configuration a test can change; every change is a new revision.

    Attributes:
        document: what is published.
        entries: keys by digest.
    """

    def __init__(self, document: SnapshotDocument, entries: dict[bytes, KeyEntry]) -> None:
        self.document, self.entries = document, entries
        self._snapshot = Snapshot(document)

    def publish(self, document: SnapshotDocument) -> None:
        """Make ``document`` the configuration from the next call on."""
        self.document, self._snapshot = document, Snapshot(document)

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshot

    def lookup(self, digest: bytes) -> KeyEntry | None:
        """Return the key with this digest, or None."""
        return self.entries.get(digest)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        """Return the key with this digest, or None."""
        return self.entries.get(digest)


class CannedSender:
    """Answers without a network: with a text, a whole body, or an exception to raise.

    Attributes:
        answer: what to answer, or a function of the `ProviderCall` that says.
        calls: every attempt that was sent.
    """

    def __init__(self, answer: Any = "Hello from memory") -> None:
        self.answer = answer
        self.calls: list[ProviderCall] = []

    def send(self, call: ProviderCall) -> ProviderReply:
        """Answer a whole reply."""
        self.calls.append(call)
        answer = self.answer(call) if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        body = _body(call, answer) if isinstance(answer, str) else answer
        return ProviderReply(Reply(body), _usage(body), "stop", call.target.model, body.get("id"))

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Answer a whole reply."""
        return self.send(call)

    def stream(self, call: ProviderCall) -> CannedStream:
        """Answer word by word."""
        return CannedStream(self.send(call))

    async def astream(self, call: ProviderCall) -> CannedStream:
        """Answer word by word."""
        return CannedStream(self.send(call))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Say nothing: a test's own exception stays what it is."""
        return None


class CannedStream:
    """A canned answer in chunks, one word each; both colours."""

    def __init__(self, reply: ProviderReply) -> None:
        self.reply = reply
        text = reply.body.choices[0].message.content or ""
        head = {"id": reply.response_id, "object": "chat.completion.chunk", "model": reply.response_model}
        pieces: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            for word in text.split(" ")
        ]
        pieces.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return Reply(next(self._pieces))

    def __aiter__(self) -> CannedStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop."""
        self._pieces = iter(())

    async def aclose(self) -> None:
        """Stop."""
        self.close()


class MemoryMesh(DirectCaller):
    """A mesh of one team, in memory.

    Args:
        aliases: names callers may use; each resolves to one model of one provider.
        limits: limits of the team, as people write them (``"10 requests/min"``).
        answer: what providers answer; see `CannedSender`.
        document: a whole configuration instead of ``aliases`` and ``limits``.
        plugins: plugin objects under test.
        sender: what speaks to providers instead of canned answers.
        now_us: the limiter's clock, microseconds.

    Attributes:
        facts: every fact so far.
        key_text: the text of the one key.
    """

    def __init__(
        self,
        *,
        aliases: Sequence[str] = ("fast",),
        limits: Sequence[str] = (),
        answer: Any = "Hello from memory",
        document: SnapshotDocument | None = None,
        plugins: Sequence[object] = (),
        sender: Sender | None = None,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        minted = keys.mint()
        self.key_text = minted.text
        document = document or _document(aliases, limits)
        entry = KeyEntry(id=minted.id, team=document.teams[0].id)
        limiter = MemoryLimiter(now_us)
        self.memory = MemoryRecorder(limiter)
        super().__init__(
            config=MemoryConfig(document, {minted.digest: entry}),
            limiter=limiter,
            async_limiter=AsyncMemoryLimiter(limiter),
            recorder=self.memory,
            hooks=load((), plugins, builtin=builtin_plugins()),
            key=minted.text,
            sender=sender or CannedSender(answer),
        )

    @property
    def facts(self) -> list[Fact]:
        """Every fact so far, oldest first."""
        return self.memory.facts


def _document(aliases: Sequence[str], limits: Sequence[str]) -> SnapshotDocument:
    return SnapshotDocument(
        epoch="memory",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(id="provider", name="memory", kind="openai", base_url="http://memory.invalid/v1"),
        ),
        aliases=tuple(
            Alias(
                id=f"alias-{name}",
                name=name,
                operations=("chat", "embeddings", "responses", "text_completion"),
                targets=(Target(id=f"target-{name}", provider="provider", model=f"{name}-model"),),
            )
            for name in aliases
        ),
        limits=tuple(_rule(index, text) for index, text in enumerate(limits)),
    )


def _rule(index: int, text: str) -> LimitRule:
    dimension, limit = parse_limit(text)
    return LimitRule(
        id=f"limit-{index}",
        subject=Subject(team="team"),
        dimension=dimension,
        limit=limit,
        text=text,
        label="team team",
    )


def _body(call: ProviderCall, text: str) -> dict[str, Any]:
    if call.request.operation == "embeddings":
        given = call.payload.get("input")
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": i, "embedding": [0.0, 1.0, 0.5]} for i, _ in enumerate(texts)
        ]
        return {
            "object": "list",
            "model": call.target.model,
            "data": data,
            "usage": {"prompt_tokens": len(texts)},
        }
    words = len(text.split())
    return {
        "id": f"memory-{call.request.id}",
        "object": "chat.completion",
        "model": call.target.model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": words, "total_tokens": 8 + words},
    }


def _usage(body: Mapping[str, Any]) -> Usage | None:
    said = body.get("usage")
    return Usage(said.get("prompt_tokens", 0), said.get("completion_tokens", 0)) if said else None

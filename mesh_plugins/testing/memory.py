"""A whole mesh in memory, for the tests of code that uses Mesh and of plugins for it.

::

    mesh = MemoryMesh(limits=["2 requests/min"])
    mesh.chat("fast", [{"role": "user", "content": "hi"}])
    mesh.facts[-1].outcome

The same core, hooks and exact arithmetic as over Redis, without engines, threads or network; the
contract tests of the limiter run over both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mesh_plugins.core.denials import Denials
from mesh_plugins.core.ports import Sender
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.direct import DirectCaller
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.manager import load
from mesh_plugins.testing.canned import CannedSender
from mesh_plugins.testing.limiter import AsyncMemoryLimiter, MemoryLimiter
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model import keys
from mesh_store.model.facts import Asked, Cancel, Done, Fact, Intent, Settlement
from mesh_store.model.limit_text import parse_limit
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

#: Where canned answers come from; nobody asks there.
_NOWHERE = "http://memory.invalid/v1"


class MemoryRecorder:
    """Keeps facts in a list and settles at once."""

    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter
        self.facts: list[Fact] = []
        self.open_intents: dict[str, Intent | Asked] = {}

    def asked(self, asked: Asked) -> None:
        """Note that a budget is about to be asked."""
        self.open_intents.pop(asked.instead, None)
        self.open_intents[asked.reservation_id] = asked

    def intent(self, intent: Intent) -> None:
        """Note that a call was granted."""
        self.open_intents[intent.lost.id] = intent
        for granted in (intent.reservation, *intent.also):
            if granted is not None:
                self.open_intents.pop(granted.id, None)

    def done(self, done: Done) -> None:
        """Keep the fact and settle."""
        self.facts.append(done.fact)
        if done.settlement is not None:
            self._limiter.settle(done.settlement.reservation, done.settlement.deltas)
        if done.closes is not None:
            self.open_intents.pop(done.closes, None)

    def settle(self, settlement: Settlement) -> None:
        """Settle an extension at once."""
        self._limiter.settle(settlement.reservation, settlement.deltas)

    def flush_settlements(self, timeout_s: float) -> bool:
        """Nothing is ever on its way."""
        return True

    def cancel(self, cancel: Cancel) -> None:
        """Give back what was granted to a caller who no longer heard it."""
        self.open_intents.pop(cancel.reservation_id, None)
        self._limiter.cancel(cancel.reservation_id)


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

    refetch, arefetch = lookup, alookup


class MemoryMesh(DirectCaller):
    """A mesh of one team, in memory.

    Args:
        aliases: names callers may use; each resolves to one model of one provider.
        limits: limits of the team, as people write them (``"10 requests/min"``).
        answer: what providers answer; see `CannedSender`.
        document: a whole configuration instead of ``aliases`` and ``limits``.
        plugins: plugin objects under test.
        named: installed plugins to load, by entry point, as ``MESH_PLUGINS`` would.
        sender: what speaks to providers instead of canned answers.
        provider: a stand-in that answers over real HTTP instead, ``answer`` if that is a text: for litellm,
            which makes the call itself.
        now_us: the limits' clock, microseconds.

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
        named: Sequence[str] = (),
        sender: Sender | None = None,
        provider: StandInProvider | None = None,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        minted = keys.mint()
        self.key_text = minted.text
        if provider is not None:
            sender = sender or DirectSender()
            provider.script(content=answer if isinstance(answer, str) else None)
        document = document or _document(aliases, limits, provider.base_url if provider else _NOWHERE)
        entry = KeyEntry(id=minted.id, team=document.teams[0].id)
        limiter = MemoryLimiter(now_us)
        self.memory = MemoryRecorder(limiter)
        super().__init__(
            config=MemoryConfig(document, {minted.digest: entry}),
            limiter=limiter,
            async_limiter=AsyncMemoryLimiter(limiter),
            recorder=self.memory,
            hooks=load(named, plugins, builtin=builtin_plugins()),
            key=minted.text,
            sender=sender or CannedSender(answer),
        )
        if now_us is not None:  # a refusal is remembered on the clock that a test moves
            self._engine.denials = Denials(lambda: now_us() * 1_000)

    @property
    def facts(self) -> list[Fact]:
        """Every fact so far, oldest first."""
        return self.memory.facts


def _document(aliases: Sequence[str], limits: Sequence[str], base_url: str) -> SnapshotDocument:
    return SnapshotDocument(
        epoch="memory",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(Provider(id="provider", name="memory", kind="openai", base_url=base_url),),
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

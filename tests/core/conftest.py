"""One team with one alias of two targets, and a runtime over ports that the test sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderReply
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_store.model import keys
from mesh_store.model.errors import ProviderError
from mesh_store.model.limits import Limit
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
from mesh_store.model.usage import Rates, Usage
from tests.core.ports import ANSWER, AsyncLimiter, Chunks, Limiter, Recorder, Sender, failing

KEY = keys.mint("testkey1")
MESSAGES = [{"role": "user", "content": "hello there, this is a message"}]


def document(**changes: Any) -> SnapshotDocument:
    """One team with one alias of two targets, priced, and two limits."""
    values: dict[str, Any] = {
        "epoch": "e",
        "revision": 7,
        "compiled_at_us": 1,
        "rate_card": "card-1",
        "teams": (Team("t1", "research"), Team("t2", "sales")),
        "providers": (
            Provider(id="p1", name="first", kind="openai", base_url="http://one.test/v1"),
            Provider(id="p2", name="second", kind="openai", base_url="http://two.test/v1"),
        ),
        "aliases": (
            Alias(
                id="a1",
                name="fast",
                targets=(
                    Target(id="x1", provider="p1", model="small"),
                    Target(id="x2", provider="p2", model="large", tier=2),
                ),
                timeout_us=30_000_000,
            ),
        ),
        "rates": {"x1": Rates(input=10, output=20), "x2": Rates(input=100, output=200)},
        "limits": (
            rule("r1", "requests", 600, team="t1"),
            rule("r2", "tokens", 100_000, team="t1", alias="a1"),
        ),
    }
    return SnapshotDocument(**{**values, **changes})


def rule(
    rule_id: str, dimension: Any, amount: int, *, limit: Limit | None = None, **subject: str
) -> LimitRule:
    """A limit on a subject, per minute unless ``limit`` says otherwise."""
    return LimitRule(
        id=rule_id,
        subject=Subject(**subject),
        dimension=dimension,
        limit=limit or Limit(amount=amount, period_us=60_000_000),
        text=f"{amount} {dimension}/min",
        label="team research",
    )


@dataclass
class Config:
    """A configuration that never changes."""

    document: SnapshotDocument
    entries: dict[bytes, KeyEntry] = field(
        default_factory=lambda: {KEY.digest: KeyEntry(id=KEY.id, team="t1")}
    )

    def snapshot(self) -> Snapshot:
        return Snapshot(self.document)

    def lookup(self, digest: bytes) -> KeyEntry | None:
        return self.entries.get(digest)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        return self.entries.get(digest)

    refetch, arefetch = lookup, alookup


@dataclass
class World:
    """A runtime and everything it touches."""

    config: Config
    limiter: Limiter
    recorder: Recorder
    sender: Sender
    runtime: Runtime

    def ask(self, **options: Any) -> Any:
        payload = options.pop("payload", {"messages": MESSAGES, "max_tokens": 50})
        return self.runtime.request("chat", options.pop("alias", "fast"), payload, **options)

    def call(self, **options: Any) -> Any:
        return self.runtime.call(self.ask(**options), self.sender)

    async def acall(self, **options: Any) -> Any:
        return await self.runtime.acall(self.ask(**options), self.sender)


@pytest.fixture
def make_world() -> Callable[..., World]:
    def make(script: list[Any] | None = None, plugins: tuple[object, ...] = (), **changes: Any) -> World:
        config, limiter, recorder = Config(document(**changes)), Limiter(), Recorder()
        runtime = Runtime(
            config=config,
            limiter=limiter,
            recorder=recorder,
            hooks=load((), plugins, builtin=builtin_plugins()),
            async_limiter=AsyncLimiter(limiter),
            key=KEY.text,
        )
        return World(config, limiter, recorder, Sender(script or [ANSWER]), runtime)

    return make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def fail() -> Callable[..., ProviderError]:
    return failing


@pytest.fixture
def make_rule() -> Callable[..., LimitRule]:
    return rule


@pytest.fixture
def chunks() -> Callable[..., Chunks]:
    def make(*items: Any, usage: Usage | None = None, chars: int = 0) -> Chunks:
        return Chunks(list(items), ProviderReply(None, usage, "stop" if usage else None, output_chars=chars))

    return make

"""litellm over the real core and a real provider on the loopback; only Redis is a few lines here.

litellm takes seconds to import, so tests get it from a fixture: nothing is paid when they are not run.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mesh_plugins.core.runtime import Runtime
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model import keys
from mesh_store.model.facts import Done, Fact
from mesh_store.model.limits import Decision, Limit, Reservation
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
from mesh_store.model.usage import Rates

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

KEY, OTHER_KEY = keys.mint("litellm1"), keys.mint("litellm2")
SECRET = "sk-of-the-alias"
OPERATIONS = ("chat", "embeddings", "responses", "text_completion")


_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let litellm and what it brings warn as they do; our own warnings stay errors."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            item.add_marker(pytest.mark.filterwarnings("error:::mesh_plugins"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Throw away, before another folder's tests run, what litellm leaves open on ended event loops."""
    if nextitem is None or _HERE not in nextitem.path.parents:
        litellm = sys.modules.get("litellm")
        if litellm is not None:
            asyncio.run(litellm.close_litellm_async_clients())
            litellm.in_memory_llm_clients_cache.flush_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                gc.collect()


@pytest.fixture(scope="session")
def litellm() -> Any:
    return pytest.importorskip("litellm")


@pytest.fixture(scope="session")
def running_provider() -> Iterator[StandInProvider]:
    with StandInProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: StandInProvider) -> StandInProvider:
    running_provider.clear()
    return running_provider


@dataclass
class Config:
    """A configuration that never changes; every call looks its key up once."""

    document: SnapshotDocument
    entries: dict[bytes, KeyEntry]
    lookups: int = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(self.document)

    def lookup(self, digest: bytes) -> KeyEntry | None:
        self.lookups += 1
        return self.entries.get(digest)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        return self.lookup(digest)

    refetch, arefetch = lookup, alookup


@dataclass
class Limiter:
    """Admits everything until it is told to refuse or to be away."""

    refuses: bool = False
    away: Exception | None = None
    asked: int = 0

    def reserve(self, charges: Any, *, reservation_id: Any = None, **_: Any) -> Decision:
        self.asked += 1
        if self.away is not None:
            raise self.away
        none_left = tuple(0 for _ in charges)
        if self.refuses:
            return Decision(
                admitted=False,
                remaining=none_left,
                retry_after_us=2_500_000,
                reset_after_us=none_left,
                binding=0,
                reservation=None,
            )
        return Decision(
            admitted=True,
            remaining=none_left,
            retry_after_us=0,
            reset_after_us=none_left,
            reservation=Reservation(reservation_id, tuple(charges), 1, 2),
        )


class AsyncLimiter:
    """The same limiter, awaited."""

    def __init__(self, inner: Limiter) -> None:
        self.inner = inner

    async def reserve(self, *args: Any, **kwargs: Any) -> Decision:
        return self.inner.reserve(*args, **kwargs)


@dataclass
class Recorder:
    """Keeps every record in order."""

    done_records: list[Done] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def asked(self, asked: Any) -> None:
        pass

    def intent(self, intent: Any) -> None:
        pass

    def cancel(self, cancel: Any) -> None:
        pass

    def settle(self, settlement: Any) -> None:
        pass

    def done(self, done: Done) -> None:
        with self.changed:
            self.done_records.append(done)
            self.changed.notify_all()

    @property
    def facts(self) -> list[Fact]:
        return [record.fact for record in self.done_records]

    @property
    def fact(self) -> Fact:
        (only,) = self.facts
        return only

    @property
    def settlements(self) -> int:
        return sum(record.settlement is not None for record in self.done_records)

    def wait_for(self, facts: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.done_records) >= facts, timeout=60)


@dataclass
class World:
    """A runtime that governs litellm, and everything it touches."""

    runtime: Runtime
    config: Config
    limiter: Limiter
    recorder: Recorder
    provider: StandInProvider

    @property
    def sent(self) -> Any:
        """The one request that reached the provider."""
        (only,) = self.provider.requests
        return only


def document(provider: StandInProvider) -> SnapshotDocument:
    """Aliases on the stand-in: plain, with a second tier, of other kinds, priced in USD."""

    def alias(number: int, name: str, *targets: Target, **more: Any) -> Alias:
        return Alias(
            id=f"a{number}", name=name, operations=OPERATIONS, targets=targets, timeout_us=30_000_000, **more
        )

    def rule(number: int, dimension: Any, amount: int, alias_id: str | None = None) -> LimitRule:
        return LimitRule(
            id=f"r{number}",
            subject=Subject(team="t1", alias=alias_id),
            dimension=dimension,
            limit=Limit(amount=amount, period_us=60_000_000),
            text="$50/day" if dimension == "usd" else f"{amount} {dimension}/min",
            label="team research",
        )

    return SnapshotDocument(
        epoch="e",
        revision=7,
        compiled_at_us=1,
        teams=(Team("t1", "research"),),
        providers=(
            Provider(
                id="p1",
                name="first",
                kind="openai",
                base_url=provider.base_url,
                secret="env:MESH_TEST_SECRET",
                headers={"x-tenant": "blue"},
                query={"zone": "eu"},
            ),
            Provider(
                id="p2",
                name="second",
                kind="anthropic",
                base_url=provider.anthropic_url,
                secret="env:MESH_TEST_SECRET",
            ),
            Provider(
                id="p3",
                name="third",
                kind="litellm",
                base_url=provider.base_url,
                secret="env:MESH_TEST_SECRET",
            ),
            Provider(id="p4", name="open", kind="openai", base_url=provider.base_url),
            Provider(
                id="p5",
                name="identified",
                kind="anthropic",
                base_url=provider.anthropic_url,
                secret={"token": "env:MESH_TEST_SECRET"},
            ),
            *(
                Provider(
                    id=f"p{number}",
                    name=f"azure-{number}",
                    kind="openai",
                    base_url=provider.base_url,
                    secret=secret,
                    options={"azure": True, "api_version": "2024-10-21"},
                )
                for number, secret in ((6, "env:MESH_TEST_SECRET"), (7, {"token": "env:MESH_TEST_SECRET"}))
            ),
        ),
        aliases=(
            alias(1, "fast", Target(id="x1", provider="p1", model="small")),
            alias(2, "claude", Target(id="x2", provider="p2", model="claude-stand-in")),
            alias(3, "any", Target(id="x3", provider="p3", model="openai/tiny")),
            alias(
                4,
                "tiered",
                Target(id="x4", provider="p1", model="flaky"),
                Target(id="x5", provider="p2", model="claude-stand-in", tier=2),
            ),
            alias(5, "costly", Target(id="x6", provider="p1", model="small")),
            alias(6, "secret", Target(id="x7", provider="p1", model="small"), grants=("t2",)),
            alias(7, "keyless", Target(id="x8", provider="p4", model="small")),
            alias(8, "loop", Target(id="x9", provider="p1", model="mesh/fast")),
            alias(9, "openai/named", Target(id="x10", provider="p1", model="named")),
            alias(10, "identified", Target(id="x11", provider="p5", model="claude-stand-in")),
            alias(11, "azure", Target(id="x12", provider="p6", model="small")),
            alias(12, "azure-identified", Target(id="x13", provider="p7", model="small")),
        ),
        rates={"x1": Rates(input=10, output=20), "x6": Rates(input=10, output=20)},
        limits=(rule(1, "requests", 600), rule(2, "usd", 50 * 10**12, "a5")),
    )


@pytest.fixture
def unhosted_world(provider: StandInProvider, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("MESH_TEST_SECRET", SECRET)
    entries = {
        KEY.digest: KeyEntry(id=KEY.id, team="t1"),
        OTHER_KEY.digest: KeyEntry(id=OTHER_KEY.id, team="t1", revoked=True),
    }
    config, limiter, recorder = Config(document(provider), entries), Limiter(), Recorder()
    runtime = Runtime(
        config=config,
        limiter=limiter,
        recorder=recorder,
        hooks=load((), (), builtin=builtin_plugins()),
        async_limiter=AsyncLimiter(limiter),
        key=KEY.text,
    )
    return World(runtime, config, limiter, recorder, provider)


@pytest.fixture
def world(unhosted_world: World, litellm: Any) -> Iterator[World]:
    """A world whose mesh governs litellm."""
    from mesh_plugins.hosts.litellm import install, uninstall

    install(unhosted_world.runtime)
    yield unhosted_world
    uninstall()


@pytest.fixture
def key() -> str:
    return KEY.text


@pytest.fixture
def revoked_key() -> str:
    return OTHER_KEY.text


@pytest.fixture
def messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": "hello there"}]


@dataclass(frozen=True)
class Way:
    """One way through one door, as anything a test may call."""

    name: str
    call: Callable[[Any, str, dict[str, Any]], Any]

    async def __call__(self, litellm: Any, alias: str, **more: Any) -> Any:
        """Call it, and read a stream to its end."""
        answer = self.call(litellm, f"mesh/{alias}", more)
        answer = await answer if isinstance(answer, Awaitable) else answer
        if hasattr(answer, "__anext__") and not hasattr(answer, "__next__"):
            return [chunk async for chunk in answer]
        return list(answer) if hasattr(answer, "__next__") else answer


_MESSAGES = [{"role": "user", "content": "hello there"}]
_STREAM = {"stream": True}
WAYS = [
    Way("completion", lambda x, m, k: x.completion(model=m, messages=_MESSAGES, **k)),
    Way("completion positional", lambda x, m, k: x.completion(m, _MESSAGES, **k)),
    Way("completion stream", lambda x, m, k: x.completion(m, _MESSAGES, **_STREAM, **k)),
    Way("acompletion", lambda x, m, k: x.acompletion(model=m, messages=_MESSAGES, **k)),
    Way("acompletion positional", lambda x, m, k: x.acompletion(m, _MESSAGES, **k)),
    Way("acompletion stream", lambda x, m, k: x.acompletion(m, _MESSAGES, **_STREAM, **k)),
    Way("completion from main", lambda x, m, k: x.main.completion(m, _MESSAGES, **k)),
    Way("acompletion from main", lambda x, m, k: x.main.acompletion(m, _MESSAGES, **k)),
    Way(
        "completion with retries", lambda x, m, k: x.completion_with_retries(model=m, messages=_MESSAGES, **k)
    ),
    Way("embedding", lambda x, m, k: x.embedding(model=m, input=["hello", "there"], **k)),
    Way("embedding positional", lambda x, m, k: x.embedding(m, "hello", **k)),
    Way("aembedding", lambda x, m, k: x.aembedding(model=m, input=["hello"], **k)),
    Way("aembedding positional", lambda x, m, k: x.aembedding(m, ["hello"], **k)),
    Way("text_completion", lambda x, m, k: x.text_completion(prompt="hello", model=m, **k)),
    Way("text_completion positional", lambda x, m, k: x.text_completion("hello", m, **k)),
    Way("text_completion stream", lambda x, m, k: x.text_completion("hello", m, **_STREAM, **k)),
    Way("atext_completion", lambda x, m, k: x.atext_completion(prompt="hello", model=m, **k)),
    Way("atext_completion stream", lambda x, m, k: x.atext_completion("hello", m, **_STREAM, **k)),
    Way("responses", lambda x, m, k: x.responses(input="hello", model=m, **k)),
    Way("responses positional", lambda x, m, k: x.responses("hello", m, **k)),
    Way("responses stream", lambda x, m, k: x.responses("hello", m, **_STREAM, **k)),
    Way("aresponses", lambda x, m, k: x.aresponses(input="hello", model=m, **k)),
    Way("aresponses stream", lambda x, m, k: x.aresponses("hello", m, **_STREAM, **k)),
    Way(
        "anthropic_messages",
        lambda x, m, k: x.anthropic_messages(max_tokens=20, messages=_MESSAGES, model=m, **k),
    ),
]


@pytest.fixture(params=WAYS, ids=lambda way: way.name.replace(" ", "_"))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def ways() -> list[Way]:
    """All of them at once."""
    return WAYS


@dataclass
class Heard:
    """What the caller's own callback was told, oldest first."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, kind: str, kwargs: dict[str, Any]) -> None:
        with self.changed:
            self.events.append((kind, kwargs))
            self.changed.notify_all()

    def of(self, user: str) -> list[tuple[str, dict[str, Any]]]:
        """Events of calls whose metadata carries this label."""
        return [(kind, told) for kind, told in list(self.events) if _labels(told).get("label") == user]

    async def until(self, user: str) -> bool:
        """Wait for an event of calls with this label."""

        def wait() -> bool:
            with self.changed:
                return self.changed.wait_for(lambda: bool(self.of(user)), timeout=60)

        return await asyncio.to_thread(wait)


def _labels(told: dict[str, Any]) -> dict[str, Any]:
    params = told.get("litellm_params") or {}
    return {**(params.get("metadata") or {}), **(params.get("litellm_metadata") or {})}


@pytest.fixture
def heard(litellm: Any) -> Iterator[Heard]:
    """A callback of the caller's own."""
    from litellm.integrations.custom_logger import CustomLogger

    ears = Heard()

    class Ears(CustomLogger):  # type: ignore[misc]
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            ears.tell("success", kwargs)

        def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            ears.tell("failure", kwargs)

        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            ears.tell("success", kwargs)

        async def async_log_failure_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            ears.tell("failure", kwargs)

    yield from _registered(litellm, Ears(), ears)


def _registered(litellm: Any, callback: Any, answer: Any) -> Iterator[Any]:
    """Register a callback for one test; litellm copies it into six more lists, and takes it out of none."""
    litellm.callbacks.append(callback)
    yield answer
    for name in (
        "callbacks",
        "success_callback",
        "failure_callback",
        "input_callback",
        "_async_success_callback",
        "_async_failure_callback",
        "_async_input_callback",
    ):
        remaining = [other for other in getattr(litellm, name) if other is not callback]
        getattr(litellm, name)[:] = remaining


@pytest.fixture
def registered() -> Callable[..., Iterator[Any]]:
    return _registered

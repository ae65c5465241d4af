"""However a call through `ChatMesh` ends, it leaves one fact, nothing reserved, and nothing counted twice.

Each ending is a scenario played against a real server over HTTP; afterwards the ledger is read: facts by
outcome, open intents, slots still held, and the tokens that the team's limit lost.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from mesh_plugins import ProviderError, QuotaExceeded
from mesh_plugins.hosts.langchain import ChatMesh
from mesh_store.model.limits import Charge, Limit
from mesh_store.model.snapshot import LimitRule, Subject

SLOTS, TOKENS = 6, 1_000_000
ASK = "one two three"
Ending = Callable[[ChatMesh, Any], Any]
#: Name of the ending, the outcomes of its facts, and how it is played.
ENDINGS: dict[str, tuple[list[str], Ending]] = {}


def ending(*outcomes: str) -> Callable[[Ending], Ending]:
    def add(play: Ending) -> Ending:
        ENDINGS[play.__name__] = (sorted(outcomes), play)
        return play

    return add


class Veto(BaseCallbackHandler):
    """Another handler, which refuses after or during a call."""

    raise_error = True

    def __init__(self, event: str) -> None:
        setattr(self, event, self._refuse)

    def _refuse(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("vetoed")


@ending("ok")
def invoke(model: ChatMesh, provider: Any) -> None:
    model.invoke(ASK)


@ending("ok")
async def ainvoke(model: ChatMesh, provider: Any) -> None:
    await model.ainvoke(ASK)


@ending("ok")
def stream_read_to_its_end(model: ChatMesh, provider: Any) -> None:
    list(model.stream(ASK))


@ending("ok")
async def astream_read_to_its_end(model: ChatMesh, provider: Any) -> None:
    [chunk async for chunk in model.astream(ASK)]


@ending("ok", "ok", "ok")
def batch(model: ChatMesh, provider: Any) -> None:
    model.batch([ASK] * 3)


@ending("ok", "ok", "ok")
async def abatch(model: ChatMesh, provider: Any) -> None:
    await model.abatch([ASK] * 3)


@ending("error")
def provider_fails(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", status=400)
    with pytest.raises(ProviderError):
        model.invoke(ASK)


@ending("error")
async def provider_fails_in_a_loop(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", status=400)
    with pytest.raises(ProviderError):
        await model.ainvoke(ASK)


@ending("error", "ok")
def retried_by_the_core(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", status=503, times=1)
    model.invoke(ASK)


@ending("error", "ok")
def retried_by_langchain(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", status=400, times=1)
    model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(ASK)


@ending("error", "ok")
def fallen_back_by_langchain(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", status=400)
    model.with_fallbacks([model.bind(model="slow")]).invoke(ASK)


@ending("abandoned")
def stream_left_by_break(model: ChatMesh, provider: Any) -> None:
    for _ in model.stream(ASK):
        break
    gc.collect()


@ending("abandoned")
def stream_closed(model: ChatMesh, provider: Any) -> None:
    stream = model.stream(ASK)
    next(stream)
    stream.close()


@ending("abandoned")
async def astream_closed(model: ChatMesh, provider: Any) -> None:
    stream = model.astream(ASK)
    await anext(stream)
    await stream.aclose()


@ending("abandoned")
def chain_of_a_stream_closed(model: ChatMesh, provider: Any) -> None:
    chain = model | RunnableLambda(lambda message: message)
    stream = (RunnableLambda(lambda text: text) | model).stream(ASK)
    next(stream)
    stream.close()
    del chain


@ending()
def stream_never_iterated(model: ChatMesh, provider: Any) -> None:
    model.stream(ASK)
    gc.collect()


@ending("abandoned")
def consumer_raises(model: ChatMesh, provider: Any) -> None:
    with suppress(ZeroDivisionError):
        for _ in model.stream(ASK):
            raise ZeroDivisionError
    gc.collect()


@ending("incomplete")
def stream_breaks_off(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", cut_after=2)
    with pytest.raises(ProviderError):
        list(model.stream(ASK))


@ending("cancelled")
async def ainvoke_cancelled(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", latency_s=30)
    task = asyncio.create_task(model.ainvoke(ASK))
    await _asked(provider)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@ending("cancelled")
async def ainvoke_timed_out(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", latency_s=30)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.ainvoke(ASK), 0.5)


@ending("cancelled", "cancelled", "cancelled")
async def abatch_cancelled(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", latency_s=30)
    task = asyncio.create_task(model.abatch([ASK] * 3))
    await _asked(provider, 3)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@ending("cancelled")
async def astream_cancelled_between_chunks(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", chunk_delay_s=30)
    first = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream(ASK):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@ending("timeout")
def deadline_passes(model: ChatMesh, provider: Any) -> None:
    provider.script("fast-1", latency_s=30)
    with pytest.raises(ProviderError):
        model.bind(timeout_s=0.3).invoke(ASK)


@ending("error", "ok")
def second_prompt_of_generate_fails(model: ChatMesh, provider: Any) -> None:
    provider.script("slow-1", status=400)
    model.generate([[HumanMessage(ASK)]])
    with pytest.raises(ProviderError):
        model.generate([[HumanMessage(ASK)], [HumanMessage(ASK)]], model="slow")


@ending()
def vetoed_before_it_starts(model: ChatMesh, provider: Any) -> None:
    with pytest.raises(RuntimeError, match="vetoed"):
        model.invoke(ASK, config={"callbacks": [Veto("on_chat_model_start")]})


@ending("ok")
def vetoed_after_the_answer(model: ChatMesh, provider: Any) -> None:
    with pytest.raises(RuntimeError, match="vetoed"):
        model.invoke(ASK, config={"callbacks": [Veto("on_llm_end")]})


@ending("abandoned")
def vetoed_at_the_first_token(model: ChatMesh, provider: Any) -> None:
    with pytest.raises(RuntimeError, match="vetoed"):
        list(model.stream(ASK, config={"callbacks": [Veto("on_llm_new_token")]}))


@ending("ok")
def answered_from_langchains_cache(model: ChatMesh, provider: Any) -> None:
    cached = model.model_copy(update={"cache": InMemoryCache()})
    assert cached.invoke(ASK).content == cached.invoke(ASK).content


@ending("ok")
def stream_read_by_another_thread(model: ChatMesh, provider: Any) -> None:
    stream = model.stream(ASK)
    next(stream)
    thread = threading.Thread(target=list, args=(stream,))
    thread.start()
    thread.join()


@ending("denied")
def refused(model: ChatMesh, provider: Any) -> None:
    with pytest.raises(QuotaExceeded):
        model.invoke("far too long " * TOKENS)


async def _asked(provider: Any, count: int = 1) -> None:
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.count >= count)


@pytest.fixture
def governed(make_mesh: Any, provider: Any) -> Any:
    provider.clear()

    def rule(id: str, dimension: Any, limit: Limit) -> LimitRule:  # noqa: A002 - the field's name
        team = Subject(team="team")
        return LimitRule(id=id, subject=team, dimension=dimension, limit=limit, text=id, label="team")

    slots = Limit(amount=SLOTS, period_us=60_000_000, kind="slots")
    tokens = Limit(amount=TOKENS, period_us=10**15, burst=TOKENS)  # a token refills in 16 minutes
    return make_mesh(
        limits=(
            rule("l1", "concurrency", slots),
            rule("l2", "tokens", tokens),
        )
    )


def left(mesh: Any, charges: tuple[Charge, ...]) -> dict[str, int]:
    """Return what each of the two limits has left."""
    found = mesh.limiter.peek(charges)
    return {charge.limit.kind: there for charge, there in zip(charges, found.remaining, strict=True)}


@pytest.mark.parametrize("name", ENDINGS)
async def test_ending_leaves_one_fact_and_nothing_reserved(name: str, governed: Any, provider: Any) -> None:
    outcomes, play = ENDINGS[name]
    model = ChatMesh(model="fast", mesh=governed, max_tokens=50)
    plan = governed._engine.plan(governed.request("chat", "fast", {"messages": [], "max_tokens": 50}))

    played = await asyncio.to_thread(play, model, provider) if not _is_async(play) else play(model, provider)
    if isinstance(played, Awaitable):
        await played

    assert sorted(fact.outcome for fact in governed.facts) == outcomes
    assert not governed.memory.open_intents
    standing = left(governed, plan.charges)
    assert standing["slots"] == SLOTS, "a slot is still held"
    spent = sum(fact.input_tokens + fact.output_tokens for fact in governed.facts)
    assert standing["rate"] == pytest.approx(TOKENS - spent, abs=1), "the limit and the facts disagree"
    assert len({fact.id for fact in governed.facts}) == len(governed.facts)


def test_a_stream_held_open_ends_with_its_last_reference(governed: Any, provider: Any) -> None:
    held = ChatMesh(model="fast", mesh=governed).stream(ASK)
    next(held)
    assert len(governed.memory.open_intents) == 1

    del held
    gc.collect()

    assert [fact.outcome for fact in governed.facts] == ["abandoned"]
    assert not governed.memory.open_intents


def _is_async(play: Ending) -> bool:
    return asyncio.iscoroutinefunction(play)

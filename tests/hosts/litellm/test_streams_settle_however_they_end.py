from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from mesh_store.model.errors import MeshError, ProviderError


def _ended(world: Any) -> Any:
    """The one fact of a call that ended in exactly one settlement."""
    assert world.recorder.wait_for(1)
    assert world.recorder.settlements == 1
    return world.recorder.fact


async def test_a_stream_read_to_its_end_says_what_it_took(litellm: Any, world: Any, messages: Any) -> None:
    chunks = list(litellm.completion("mesh/fast", messages, stream=True))
    first = _ended(world)
    world.recorder.done_records.clear()
    achunks = [chunk async for chunk in await litellm.acompletion("mesh/fast", messages, stream=True)]
    second = _ended(world)

    assert [c.choices[0].delta.content for c in chunks] == [c.choices[0].delta.content for c in achunks]
    for fact in (first, second):
        assert (fact.outcome, fact.stream, fact.finish_reason, fact.estimated) == ("ok", True, "stop", False)
        assert (fact.input_tokens, fact.output_tokens) == (2, 4)
        assert fact.ttft_us is not None


def test_the_chunks_are_those_of_litellm_alone(litellm: Any, world: Any, messages: Any) -> None:
    def alone(**more: Any) -> list[Any]:
        own = {"api_base": world.provider.base_url, "api_key": "k"}
        return list(litellm.completion("openai/small", messages, stream=True, **own, **more))

    def governed(**more: Any) -> list[Any]:
        return list(litellm.completion("mesh/fast", messages, stream=True, **more))

    def told(chunks: list[Any]) -> list[Any]:
        return [chunk.model_dump(exclude={"id", "created", "citations"}) for chunk in chunks]

    assert told(governed()) == told(alone())
    with_usage = {"stream_options": {"include_usage": True}}
    assert told(governed(**with_usage)) == told(alone(**with_usage))
    assert governed(**with_usage)[-1].usage.total_tokens == 6


def test_a_stream_looks_like_litellms_own(litellm: Any, world: Any, messages: Any) -> None:
    stream = litellm.completion("mesh/fast", messages, stream=True)

    assert isinstance(stream, litellm.CustomStreamWrapper)
    assert stream.custom_llm_provider == "openai"
    assert stream._hidden_params["api_base"].rstrip("/") == world.provider.base_url
    rebuilt = litellm.stream_chunk_builder(list(stream), messages=messages)
    assert rebuilt.choices[0].message.content == "stand-in small: hello there"


@pytest.mark.parametrize("alias", ["fast", "claude"])
def test_a_loop_that_breaks_settles_at_what_arrived(
    alias: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("*", stall_after=4)
    stream = litellm.completion(f"mesh/{alias}", messages, stream=True)
    next(stream)
    del stream
    gc.collect()

    fact = _ended(world)
    assert (fact.outcome, fact.estimated) == ("abandoned", True)
    assert world.provider.wait_for(lambda provider: provider.aborted == 1)


@pytest.mark.parametrize("alias", ["fast", "claude"])
async def test_an_async_stream_nobody_reads_any_more_closes_its_connection(
    alias: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("*", stall_after=4)
    stream = await litellm.acompletion(f"mesh/{alias}", messages, stream=True)
    await anext(stream)
    del stream
    gc.collect()

    assert await asyncio.to_thread(world.provider.wait_for, lambda p: p.aborted == 1)
    assert _ended(world).outcome == "abandoned"


async def test_an_async_loop_that_breaks_settles(litellm: Any, world: Any, messages: Any) -> None:
    stream = await litellm.acompletion("mesh/fast", messages, stream=True)
    async for _ in stream:
        break
    del stream, _
    gc.collect()

    assert _ended(world).outcome == "abandoned"


async def test_a_stream_that_is_never_read_settles(way: Any, litellm: Any, world: Any) -> None:
    if not way.name.endswith("stream"):
        return
    answer = way.call(litellm, "mesh/fast", {})
    answer = await answer if asyncio.iscoroutine(answer) else answer
    del answer
    gc.collect()

    assert _ended(world).outcome == "abandoned"


async def test_closing_settles_once(litellm: Any, world: Any, messages: Any) -> None:
    stream = litellm.completion("mesh/fast", messages, stream=True)
    next(stream)
    stream.close()
    stream.close()
    astream = await litellm.acompletion("mesh/fast", messages, stream=True)
    await anext(astream)
    await astream.aclose()
    await astream.aclose()
    del stream, astream
    gc.collect()

    assert [fact.outcome for fact in world.recorder.facts] == ["abandoned", "abandoned"]
    assert world.recorder.settlements == 2


async def test_a_text_stream_closed_early_lets_go_of_its_connection(litellm: Any, world: Any) -> None:
    world.provider.script("small", stall_after=3)
    stream = litellm.text_completion("hello there", "mesh/fast", stream=True)
    next(stream)
    stream.close()

    assert _ended(world).outcome == "abandoned"
    assert await asyncio.to_thread(world.provider.wait_for, lambda provider: provider.aborted == 1)


def test_an_exception_in_the_consumer_settles(litellm: Any, world: Any, messages: Any) -> None:
    def consume() -> None:
        for _ in litellm.completion("mesh/fast", messages, stream=True):
            raise RuntimeError("of the consumer")

    with pytest.raises(RuntimeError):
        consume()
    gc.collect()

    assert _ended(world).outcome == "abandoned"


async def test_a_cancelled_reader_settles(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("small", stall_after=2)
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in await litellm.acompletion("mesh/fast", messages, stream=True):
            reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert _ended(world).outcome == "cancelled"
    assert world.provider.wait_for(lambda provider: provider.aborted == 1)


async def test_a_cancelled_call_settles(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("small", latency_s=20)
    task = asyncio.create_task(litellm.acompletion("mesh/fast", messages))
    await asyncio.to_thread(world.provider.wait_for, lambda provider: provider.count == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert _ended(world).outcome == "cancelled"


async def test_a_call_that_wait_for_gives_up_settles(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("small", latency_s=20)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(litellm.acompletion("mesh/fast", messages), timeout=0.2)

    assert _ended(world).outcome == "cancelled"


async def test_a_stream_handed_to_another_thread_settles_once(
    litellm: Any, world: Any, messages: Any
) -> None:
    stream = litellm.completion("mesh/fast", messages, stream=True)
    next(stream)
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    await asyncio.to_thread(thread.join)

    assert _ended(world).outcome == "ok"


async def test_an_event_loop_may_read_a_sync_stream(litellm: Any, world: Any, messages: Any) -> None:
    chunks = [chunk async for chunk in litellm.completion("mesh/fast", messages, stream=True)]

    assert len(chunks) > 2
    assert _ended(world).outcome == "ok"


@pytest.mark.parametrize("alias", ["fast", "claude"])
@pytest.mark.parametrize("broken", [{"end_after": 3}, {"cut_after": 3}], ids=["ended early", "cut"])
async def test_a_stream_without_a_finish_is_an_error(
    broken: Any, alias: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("*", **broken)

    with pytest.raises(ProviderError) as sync:
        list(litellm.completion(f"mesh/{alias}", messages, stream=True))
    with pytest.raises(ProviderError) as a_sync:
        [chunk async for chunk in await litellm.acompletion(f"mesh/{alias}", messages, stream=True)]

    for caught in (sync, a_sync):
        assert caught.value.kind == "incomplete"
        assert isinstance(caught.value, litellm.exceptions.openai.APIError)
    assert [(f.outcome, f.estimated) for f in world.recorder.facts] == [("incomplete", True)] * 2
    assert world.recorder.settlements == 2


@pytest.mark.parametrize("said", [{"prompt_tokens": -1}, {"completion_tokens": 10**12}])
def test_usage_that_cannot_be_true_is_replaced_by_our_estimate(
    said: Any, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", usage=said)

    litellm.completion("mesh/fast", messages)

    fact = _ended(world)
    assert fact.estimated
    assert fact.flags == ("usage_suspect",)


async def test_a_stream_without_usage_is_estimated(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("small", usage=None)

    list(litellm.completion("mesh/fast", messages, stream=True))

    fact = _ended(world)
    assert (fact.outcome, fact.estimated) == ("ok", True)
    assert fact.output_tokens > 0


async def test_a_refused_stream_is_refused_before_it_is_one(litellm: Any, world: Any, messages: Any) -> None:
    world.limiter.refuses = True

    with pytest.raises(MeshError):
        litellm.completion("mesh/fast", messages, stream=True)
    with pytest.raises(MeshError):
        await litellm.acompletion("mesh/fast", messages, stream=True)


def test_a_mock_answers_without_a_provider(litellm: Any, world: Any, messages: Any) -> None:
    list(litellm.completion("mesh/fast", messages, stream=True, mock_response="hello you"))

    assert _ended(world).outcome == "ok"
    assert world.provider.count == 0


@pytest.mark.parametrize("door", ["completion", "text_completion"])
async def test_an_async_stream_that_drips_in_ends_at_its_deadline(
    door: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", content="word " * 500, chunk_delay_s=0.1)
    asked = {"messages": messages} if door == "completion" else {"prompt": "hello"}

    with pytest.raises(ProviderError) as failed:
        stream = await getattr(litellm, f"a{door}")(model="mesh/fast", stream=True, timeout=1.5, **asked)
        [chunk async for chunk in stream]

    assert failed.value.kind == "timeout"
    assert _ended(world).outcome == "timeout"


async def test_the_chunks_of_a_text_completion_are_those_of_litellm_alone(litellm: Any, world: Any) -> None:
    async def told(**more: Any) -> list[Any]:
        stream = await litellm.atext_completion("hello there", stream=True, **more)
        return [chunk.model_dump(exclude={"id", "created"}) async for chunk in stream]

    own = {"model": "openai/small", "api_base": world.provider.base_url, "api_key": "k"}
    governed, alone = await told(model="mesh/fast"), await told(**own)

    assert [chunk["choices"] for chunk in governed] == [chunk["choices"] for chunk in alone]
    assert [chunk.get("usage") for chunk in governed] == [chunk.get("usage") for chunk in alone]
    assert not world.recorder.fact.estimated


async def test_a_text_stream_refused_by_a_provider_moves_on_to_the_next_tier(
    litellm: Any, world: Any
) -> None:
    world.provider.script("flaky", status=503)

    stream = await litellm.atext_completion("hello there", "mesh/tiered", stream=True)
    text = "".join([chunk.choices[0].text or "" async for chunk in stream])

    assert "claude-stand-in" in text
    assert [(fact.provider, fact.outcome) for fact in world.recorder.facts] == [
        ("first", "error"),
        ("second", "ok"),
    ]

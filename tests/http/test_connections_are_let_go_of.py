"""Streams end in every way a caller can leave them, seen from the provider's side."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]


@pytest.fixture
def endless(provider: StandInProvider, make_call: MakeCall) -> ProviderCall:
    """A stream that says something and then nothing for a minute."""
    provider.script(stall_after=3)
    return make_call(provider.base_url, stream=True)


def is_given_up(provider: StandInProvider) -> bool:
    return provider.wait_for(lambda p: p.aborted == 1 and p.open_connections == 0)


async def is_given_up_soon(provider: StandInProvider) -> bool:
    return await asyncio.to_thread(is_given_up, provider)


def test_closing_a_stream_early_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    stream = sender.stream(endless)
    next(stream)
    stream.close()
    assert is_given_up(provider)
    stream.close()
    assert list(stream) == [], "a closed stream has ended"


async def test_closing_an_async_stream_early_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    stream = await sender.astream(endless)
    await anext(stream)
    await stream.aclose()
    assert await is_given_up_soon(provider)
    await stream.aclose()
    assert [chunk async for chunk in stream] == []
    await sender.aclose()


def test_a_stream_that_is_never_read_can_be_closed(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    sender.stream(endless).close()
    assert is_given_up(provider)


def test_a_dropped_stream_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    stream = sender.stream(endless)
    next(stream)
    del stream
    gc.collect()
    assert is_given_up(provider)


async def test_a_dropped_async_stream_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    stream = await sender.astream(endless)
    await anext(stream)
    del stream
    gc.collect()
    assert await is_given_up_soon(provider)
    await sender.aclose()


def test_a_stream_may_be_closed_by_another_thread(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    stream = sender.stream(endless)
    next(stream)
    other = threading.Thread(target=stream.close)
    other.start()
    other.join()
    assert is_given_up(provider)


async def test_a_task_cancelled_in_the_middle_of_a_stream_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, endless: ProviderCall
) -> None:
    waiting = asyncio.Event()

    async def reading() -> None:
        stream = await sender.astream(endless)
        try:
            for _ in range(3):
                await anext(stream)
            waiting.set()
            await anext(stream)
        finally:
            await stream.aclose()

    task = asyncio.create_task(reading())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_given_up_soon(provider)
    await sender.aclose()


async def test_a_call_cancelled_before_its_answer_closes_its_connection(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    provider.script(latency_s=60)
    calls = [
        sender.asend(make_call(provider.base_url)),
        sender.astream(make_call(provider.base_url, stream=True)),
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.count == 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.aborted == 2 and p.open_connections == 0)
    assert provider.count == 2, "nothing is sent again"
    await sender.aclose()


async def test_calls_and_streams_of_a_loop_share_its_connections(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    for _ in range(5):
        await sender.asend(make_call(provider.base_url))
        stream = await sender.astream(make_call(provider.base_url, stream=True))
        assert len([chunk async for chunk in stream]) > 3
    assert (provider.count, provider.connections, provider.aborted) == (10, 1, 0)
    await sender.aclose()
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.open_connections == 0)


async def test_no_more_connections_are_opened_than_allowed(
    provider: StandInProvider, make_call: MakeCall
) -> None:
    sender = DirectSender(DefaultTransport(TransportOptions(max_connections=3)))
    replies = await asyncio.gather(*[sender.asend(make_call(provider.base_url)) for _ in range(20)])
    assert {reply.finish_reason for reply in replies} == {"stop"}
    assert provider.connections <= 3
    await sender.aclose()


def test_calls_in_a_row_share_a_connection(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    for _ in range(5):
        sender.send(make_call(provider.base_url))
    assert (provider.count, provider.connections, provider.aborted) == (5, 1, 0)


# pyreqwest learns of a dropped connection in its own thread: used at that very moment, it fails.
@pytest.mark.parametrize("name", ["default", "httpx"])
def test_a_connection_the_provider_dropped_is_not_used_again(
    transports: dict[str, Any], name: str, provider: StandInProvider, make_call: MakeCall
) -> None:
    sender = DirectSender(transports[name])
    for _ in range(3):
        assert sender.send(make_call(provider.base_url)).finish_reason == "stop"
        provider.drop_connections()
        assert provider.wait_for(lambda p: p.open_connections == 0)


@pytest.mark.parametrize("name", ["default", "httpx"])
async def test_a_connection_the_provider_dropped_is_not_used_again_by_a_loop(
    transports: dict[str, Any], name: str, provider: StandInProvider, make_call: MakeCall
) -> None:
    sender = DirectSender(transports[name])
    for _ in range(3):
        assert (await sender.asend(make_call(provider.base_url))).finish_reason == "stop"
        provider.drop_connections()
        # Blocks the loop on purpose: it has no chance to notice by itself.
        assert provider.wait_for(lambda p: p.open_connections == 0)
    await sender.aclose()


async def test_what_came_before_a_break_is_handed_out_however_late_it_is_read(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    provider.script(content="one two three four five", cut_after=5, chunk_delay_s=0.01)
    stream = await sender.astream(make_call(provider.base_url, stream=True))
    said = [(await anext(stream)).choices[0].delta.content or ""]
    # Blocks the loop on purpose: what is said and the break are both there when it goes on.
    assert provider.wait_for(lambda p: p.open_connections == 0)
    for _ in range(10):
        await asyncio.sleep(0)
    with pytest.raises(ProviderError) as failed:
        async for chunk in stream:
            said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - seen before the error
    assert failed.value.kind == "incomplete"
    assert "".join(said).split() == ["one", "two", "three", "four"]
    await sender.aclose()


async def test_a_reader_slower_than_the_provider_misses_nothing(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    words = [letter * 600_000 for letter in "abcdefgh"]
    provider.script(content=" ".join(words))
    stream = await sender.astream(make_call(provider.base_url, stream=True))
    said = []
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")
        await asyncio.sleep(0)
    assert "".join(said) == " ".join(words)
    await sender.aclose()


def test_threads_share_a_sender_and_get_their_own_answers(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    answers: dict[int, set[str]] = {}

    def work(number: int) -> None:
        call = make_call(provider.base_url, messages=[{"role": "user", "content": f"thread {number}"}])
        answers[number] = {sender.send(call).body.choices[0].message.content for _ in range(10)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: {f"stand-in m: thread {number}"} for number in range(8)}


def test_repeated_event_loops_send_every_prompt_once(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    async def one(word: str) -> str:
        call = make_call(provider.base_url, messages=[{"role": "user", "content": word}])
        reply = await sender.asend(call)
        stream = await sender.astream(
            make_call(provider.base_url, stream=True, messages=call.payload["messages"])
        )
        assert len([chunk async for chunk in stream]) > 2
        return str(reply.body.choices[0].message.content)

    for number in range(4):
        assert asyncio.run(one(f"loop {number}")) == f"stand-in m: loop {number}"
    asked = [request.json["messages"][0]["content"] for request in provider.requests]
    assert asked == [f"loop {number}" for number in range(4) for _ in "ab"]


def test_a_loop_that_ends_under_a_call_leaves_the_next_one_unharmed(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    provider.script(latency_s=60, times=1)

    async def leave() -> None:
        task = asyncio.create_task(sender.asend(make_call(provider.base_url)))
        await asyncio.to_thread(provider.wait_for, lambda p: p.count == 1)
        del task

    asyncio.run(leave())
    assert asyncio.run(sender.asend(make_call(provider.base_url))).finish_reason == "stop"
    assert provider.count == 2


def test_loops_in_several_threads_do_not_disturb_each_other(
    sender: DirectSender, provider: StandInProvider, make_call: MakeCall
) -> None:
    counts: list[int] = []

    async def many() -> int:
        replies = await asyncio.gather(*[sender.asend(make_call(provider.base_url)) for _ in range(10)])
        return sum(reply.finish_reason == "stop" for reply in replies)

    threads = [threading.Thread(target=lambda: counts.append(asyncio.run(many()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [10] * 4
    assert provider.count == 40

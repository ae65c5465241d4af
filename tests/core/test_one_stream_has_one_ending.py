"""Every stream ends in exactly one settlement, read to its end or not."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from mesh_store.model.errors import ProviderError, QuotaUnavailable
from mesh_store.model.usage import Usage


def assert_settled_once(world, outcome):
    assert [fact.outcome for fact in world.recorder.facts][-1] == outcome
    assert len(world.recorder.settlements) == 1
    assert {intent.lost.id for intent in world.recorder.intents} == {world.recorder.settlements[0].closes}
    return world.recorder.settlements[0]


class TestStreams:
    def read(self, world, chunks, **options):
        world.sender.script = [chunks]
        return world.runtime.stream_call(world.ask(stream=True, **options), world.sender)

    def test_read_to_its_end(self, world, chunks):
        stream = self.read(world, chunks("a", "b", usage=Usage(5, 2)))
        assert list(stream) == ["a", "b"]
        assert assert_settled_once(world, "ok").fact.output_tokens == 2
        assert stream.receipt.fact.ttft_us is not None
        assert list(stream) == []
        assert_settled_once(world, "ok")

    def test_left_by_break_and_dropped(self, world, chunks):
        inner = chunks("abcd", "efgh", chars=8)
        stream = self.read(world, inner)
        for _ in stream:
            break
        del stream
        gc.collect()
        done = assert_settled_once(world, "abandoned")
        assert done.fact.estimated
        assert done.fact.output_tokens == 2

    def test_closed_early_closes_the_connection(self, world, chunks):
        inner = chunks("a", "b")
        stream = self.read(world, inner)
        next(stream)
        stream.close()
        stream.close()
        assert_settled_once(world, "abandoned")
        assert inner.closed >= 1

    def test_never_read_at_all(self, world, chunks):
        self.read(world, chunks("a"))
        gc.collect()
        assert_settled_once(world, "abandoned")

    def test_an_exception_in_the_consumer(self, world, chunks):
        with pytest.raises(RuntimeError), self.read(world, chunks("a", "b")) as stream:
            next(stream)
            raise RuntimeError
        assert_settled_once(world, "abandoned")

    def test_a_failure_in_the_middle_is_raised_and_settled(self, world, chunks, fail):
        stream = self.read(world, chunks("abcd", fail("incomplete"), chars=4))
        next(stream)
        with pytest.raises(ProviderError):
            next(stream)
        assert assert_settled_once(world, "incomplete").fact.output_tokens == 1

    def test_a_stall_in_the_middle_is_a_timeout(self, world, chunks, fail):
        stream = self.read(world, chunks("abcd", fail("timeout", 504), chars=4))
        next(stream)
        with pytest.raises(ProviderError):
            next(stream)
        assert assert_settled_once(world, "timeout").fact.output_tokens == 1

    def test_a_connection_lost_in_the_middle_surfaces_as_the_hosts_own_error(self, world, chunks):
        stream = self.read(world, chunks("a", ConnectionResetError("gone")))
        next(stream)
        with pytest.raises(ConnectionResetError):
            next(stream)
        assert_settled_once(world, "error")

    def test_read_to_its_end_by_another_thread(self, world, chunks):
        stream = self.read(world, chunks("a", "b", usage=Usage(5, 2)))
        thread = threading.Thread(target=lambda: list(stream))
        thread.start()
        thread.join()
        assert_settled_once(world, "ok")

    async def test_a_cancelled_reader(self, world, chunks):
        inner = chunks("a", asyncio.CancelledError())
        world.sender.script = [inner]
        stream = await world.runtime.astream_call(world.ask(stream=True), world.sender)
        await anext(stream)
        with pytest.raises(asyncio.CancelledError):
            await anext(stream)
        assert_settled_once(world, "cancelled")
        assert inner.closed == 1

    async def test_an_async_stream_left_by_break(self, world, chunks):
        world.sender.script = [chunks("a", "b")]
        stream = await world.runtime.astream_call(world.ask(stream=True), world.sender)
        async for _ in stream:
            break
        del stream
        gc.collect()
        assert_settled_once(world, "abandoned")

    def test_falls_back_before_its_first_chunk_only(self, world, chunks, fail):
        world.sender.script = [fail(status=503), chunks("a", fail(status=503))]
        stream = world.runtime.stream_call(world.ask(stream=True), world.sender)
        assert next(stream) == "a"
        with pytest.raises(ProviderError):
            next(stream)
        assert len(world.sender.calls) == 2
        assert_settled_once(world, "error")


class TestAnUnreadGrant:
    async def test_is_given_back_when_the_caller_is_cancelled_while_asking(self, world):
        asking = asyncio.Event()

        class Slow:
            async def reserve(self, *args, **kwargs):
                asking.set()
                await asyncio.Event().wait()

        world.runtime.async_limiter = Slow()
        task = asyncio.create_task(world.acall())
        await asking.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(world.recorder.cancels) == 1
        assert not world.recorder.intents
        assert not world.sender.calls

    def test_is_given_back_when_the_limiter_could_not_say(self, world):
        world.limiter.error = QuotaUnavailable("redis is away")
        with pytest.raises(QuotaUnavailable):
            world.call()
        assert len(world.recorder.cancels) == 1
        assert [(f.outcome, f.error_type) for f in world.recorder.facts] == [("denied", "QuotaUnavailable")]


def test_a_stream_given_up_costs_what_the_provider_said_of_its_input(world, chunks):
    given_up = chunks("one", "two", chars=40)
    given_up.reply.begun = Usage(9_003, 1, cache_write_tokens=9_000)
    world.sender.script = [given_up]
    stream = world.runtime.stream_call(world.ask(stream=True), world.sender)
    next(stream)
    stream.close()
    (fact,) = world.recorder.facts
    assert (fact.outcome, fact.estimated) == ("abandoned", True)
    assert (fact.input_tokens, fact.cache_write_tokens, fact.output_tokens) == (9_003, 9_000, 10)

"""Every granted call ends in exactly one settlement, whatever ends it."""

from __future__ import annotations

import asyncio

import pytest

from mesh_plugins.core import course
from mesh_plugins.core.call import ProviderReply
from mesh_plugins.core.reserve import DRAIN_US
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.snapshot import Alias, Provider, Target
from mesh_store.model.usage import Rates, Usage


def assert_settled_once(world, outcome):
    assert [fact.outcome for fact in world.recorder.facts][-1] == outcome
    assert len(world.recorder.settlements) == 1
    assert {intent.lost.id for intent in world.recorder.intents} == {world.recorder.settlements[0].closes}
    return world.recorder.settlements[0]


def test_an_answer_settles_at_what_the_provider_said(world):
    reply = world.call()

    done = assert_settled_once(world, "ok")
    assert reply.body == "the answer"
    assert reply.receipt.cost_pico_usd == 11 * 10 + 7 * 20
    assert done.fact.cost_pico_usd == 250
    by_rule = dict(
        zip([c.key for c in done.settlement.reservation.charges], done.settlement.actual, strict=True)
    )
    assert by_rule == {"{t1}:q:r1": 1, "{t1}:q:r2": 18}


async def test_both_colours_write_the_same_records(make_world):
    sync, other = make_world(), make_world()
    sync.call()
    await other.acall()

    def shape(world):
        fact = world.recorder.facts[-1]
        return (
            fact.outcome,
            fact.input_tokens,
            fact.cost_pico_usd,
            world.recorder.settlements[0].settlement.actual,
        )

    assert shape(sync) == shape(other)


def test_the_intent_stands_in_the_ring_before_the_provider_is_asked(world):
    seen = []
    send = world.sender.send
    world.sender.send = lambda call: (seen.append(len(world.recorder.intents)), send(call))[1]
    world.call()
    assert seen == [1]
    lost = world.recorder.intents[0].lost
    assert (lost.outcome, lost.estimated, lost.output_tokens) == ("lost", True, 50)


def test_a_failed_call_settles_at_nothing_but_the_request(make_world, fail):
    world = make_world([fail(status=400)])
    with pytest.raises(ProviderError):
        world.call()
    assert assert_settled_once(world, "error").settlement.actual == (1, 0)


def test_a_fallback_writes_a_fact_for_each_attempt_and_settles_once(make_world, fail):
    world = make_world([fail(status=503), ProviderReply("second", Usage(3, 4), "stop")])
    reply = world.call()
    assert_settled_once(world, "ok")
    assert [(f.attempt, f.outcome, f.request_model) for f in world.recorder.facts] == [
        (1, "error", "small"),
        (2, "ok", "large"),
    ]
    assert len(reply.receipt.outcome.attempts) == 2
    assert len({f.call_id for f in world.recorder.facts}) == 1
    # A process that dies in the second attempt loses the second, so that the call is counted once.
    assert [(i.lost.attempt, i.lost.request_model) for i in world.recorder.intents] == [
        (1, "small"),
        (2, "large"),
    ]


def test_a_timeout_keeps_the_estimated_input_because_it_may_be_billed(make_world, fail):
    world = make_world([fail("timeout", 504)])
    with pytest.raises(ProviderError):
        world.call()
    assert assert_settled_once(world, "timeout").fact.input_tokens > 0
    assert len(world.sender.calls) == 1


async def test_a_cancelled_call_settles_as_cancelled_with_its_input_estimated(make_world):
    world = make_world()
    started = asyncio.Event()

    async def forever(call):
        started.set()
        await asyncio.Event().wait()

    world.sender.asend = forever
    task = asyncio.create_task(world.acall())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    done = assert_settled_once(world, "cancelled")
    assert done.fact.estimated
    assert done.fact.input_tokens > 0
    assert done.fact.output_tokens == 0


def test_an_interrupt_settles_too(make_world):
    world = make_world([KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        world.call()
    assert_settled_once(world, "cancelled")


def test_a_bug_of_a_sender_settles_too(make_world):
    world = make_world([ZeroDivisionError()])
    with pytest.raises(ZeroDivisionError):
        world.call()
    assert_settled_once(world, "error")


def test_a_missing_secret_says_which_and_takes_nothing(make_world):
    world = make_world(
        providers=(
            Provider(id="p1", name="first", kind="openai", secret="env:MESH_TEST_NO_SUCH"),
            Provider(id="p2", name="second", kind="openai", secret="env:MESH_TEST_NO_SUCH"),
        )
    )
    with pytest.raises(ConfigError, match="MESH_TEST_NO_SUCH"):
        world.call()
    assert assert_settled_once(world, "error").settlement.actual == (1, 0)
    assert not world.sender.calls


async def test_cancelled_between_two_attempts_bills_nothing_that_was_not_sent(make_world, make_rule, fail):
    world = make_world(
        [fail(status=503, retry_after=5.0)],
        aliases=(Alias(id="a1", name="fast", targets=(Target(id="x1", provider="p1", model="small"),)),),
        limits=(
            make_rule("r1", "tokens", 100_000, team="t1"),
            make_rule("r2", "requests", 60, provider="p1"),
        ),
    )
    task = asyncio.create_task(world.acall())
    await asyncio.sleep(0)  # to the pause: nothing before it waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    done = assert_settled_once(world, "cancelled")
    taken = zip(done.settlement.reservation.charges, done.settlement.actual, strict=True)
    assert {charge.key: actual for charge, actual in taken} == {"{t1}:q:r1": 0, "{p1}:q:r2": 1}
    assert done.fact.cost_pico_usd == 0


async def test_cancelled_while_its_secret_is_fetched_bills_nothing(world, monkeypatch):
    async def forever(call, snapshot):
        await asyncio.Event().wait()

    monkeypatch.setattr(world.runtime._engine.secrets, "aread", forever)
    task = asyncio.create_task(world.acall())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert assert_settled_once(world, "cancelled").settlement.actual == (1, 0)


def test_a_fallback_that_cannot_be_sent_is_told_from_the_attempt_before(make_world, fail):
    world = make_world(
        [fail(status=503)],
        providers=(
            Provider(id="p1", name="first", kind="openai"),
            Provider(id="p2", name="second", kind="openai", secret="env:MESH_TEST_NO_SUCH"),
        ),
    )
    with pytest.raises(ConfigError, match="MESH_TEST_NO_SUCH"):
        world.call()
    assert_settled_once(world, "error")
    assert [(fact.attempt, fact.request_model) for fact in world.recorder.facts] == [
        (1, "small"),
        (2, "large"),
    ]


def test_an_attempt_that_was_not_billed_costs_nothing_even_where_requests_have_a_price(make_world, fail):
    world = make_world(
        [fail(status=503), fail(status=400)],
        rates={
            "x1": Rates(input=10, output=20, request=1_000),
            "x2": Rates(input=1, output=1, request=1_000),
        },
    )
    with pytest.raises(ProviderError):
        world.call()
    assert [fact.cost_pico_usd for fact in world.recorder.facts] == [0, 0]


@pytest.mark.parametrize("colour", ["meter", "ameter"])
async def test_a_call_for_a_host_that_cannot_begin_settles_too(world, monkeypatch, colour):
    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(course, "merged", broken)
    with pytest.raises(ZeroDivisionError):
        if colour == "meter":
            world.runtime.meter(world.ask())
        else:
            await world.runtime.ameter(world.ask())
    assert_settled_once(world, "error")


def test_a_reservation_is_remembered_for_the_wait_too(world, monkeypatch):
    asked = {}
    reserve = world.limiter.reserve
    monkeypatch.setattr(world.limiter, "reserve", lambda *a, **k: (asked.update(k), reserve(*a, **k))[1])
    world.call(max_wait_s=7_200, timeout_s=10)
    assert asked["ttl_us"] == 7_200_000_000 + 10_000_000 + DRAIN_US

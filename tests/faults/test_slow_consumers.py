"""Whoever takes what comes too slowly delays himself: nothing is lost, cut short, or kept from others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mesh_plugins import ProviderError, UnknownAlias
from mesh_store.redis.client import connect
from mesh_store.redis.config_channel import NEWS
from tests.conftest import World
from tests.faults.conftest import Priced

#: For what others do, on a busy machine.
PATIENCE_S = 60
#: Where the machine is busy, words of 40 kB all lay in the reader's own buffer before it read the first, and
#: nothing was left to wait for.
WORDS = [letter * 200_000 for letter in "abcdefghijkl"]
#: What its answer is cut to by ``max_tokens``.
SAID = " ".join(WORDS[:8])


@pytest.fixture
def talkative(priced: Priced) -> Any:
    """A team whose provider says at once more than any buffer on the way holds."""
    priced.world.provider.script("small", content=" ".join(WORDS))
    yield priced
    priced.world.provider.script("small")


def test_a_stream_read_slowly_is_whole_and_one_fact(talkative: Priced) -> None:
    mesh, said = talkative.world.mesh(), []
    for chunk in mesh.stream(**talkative.asked(f"{talkative.world.team}-slow")):
        said += [choice.delta.content or "" for choice in chunk.choices]
        time.sleep(0.02)  # the reader is the fault
    assert "".join(said) == SAID
    mesh.close()
    assert talkative.check() == {"ok": 1}


async def test_so_it_is_on_an_event_loop_while_others_are_answered(talkative: Priced) -> None:
    world, read = talkative.world, asyncio.Event()
    mesh = world.mesh()

    async def slowly() -> str:
        said = []
        async for chunk in await mesh.astream(**talkative.asked(f"{world.team}-slow")):
            said += [choice.delta.content or "" for choice in chunk.choices]
            await read.wait()
        return "".join(said)

    slow = asyncio.create_task(slowly())
    for number in range(5):
        await mesh.achat(**talkative.asked(f"{world.team}-{number}"))
    assert not slow.done()
    read.set()
    assert await slow == SAID
    await mesh.aclose()
    assert await asyncio.to_thread(talkative.check) == {"ok": 6}


def test_a_reader_that_outlasts_the_deadline_is_told_and_one_fact(talkative: Priced) -> None:
    """The deadline is that of the whole call: it gets what had arrived, and has no claim to the rest."""
    mesh = talkative.world.mesh()
    stream = mesh.stream(**talkative.asked(f"{talkative.world.team}-slow") | {"timeout_s": 3.0})
    with pytest.raises(ProviderError) as told:
        for _ in stream:
            time.sleep(3.5)  # the reader is the fault
    assert told.value.kind == "timeout"
    mesh.close()
    assert talkative.check() == {"timeout": 1}


@pytest.mark.full  # a third of a slot's minute
def test_a_call_read_for_longer_than_its_slots_lease_keeps_its_slot(make_world: Callable[..., World]) -> None:
    world = make_world(limits=("1 concurrent, lease off",))
    alias, mesh, ask = world.alias(), world.mesh(), [{"role": "user", "content": "hi"}]
    other = world.mesh()
    with mesh.stream(alias, ask) as stream:
        next(stream)
        held = [_slots(world)]
        until = time.monotonic() + PATIENCE_S
        while len(set(held)) < 2:  # its end is put off while it is read
            assert time.monotonic() < until, "nobody renews it"
            time.sleep(0.2)
            held.append(_slots(world))
        assert min(map(len, held)) == 1, "it was never free"
        list(stream)
    assert mesh.flush(PATIENCE_S)
    other.chat(alias, ask)


def _slots(world: World) -> tuple[float, ...]:
    """When the slots of a team are free again, by the server's clock, in microseconds."""
    [team] = world.query("SELECT id::text FROM teams WHERE name = $1", world.team)
    with connect(world.engines.redis_url) as redis:
        keys = [key for key in redis.keys(f"[{{]{team['id']}}}:q:*") if redis.type(key) == b"zset"]
        return tuple(ends for key in keys for _, ends in redis.zrange(key, 0, -1, withscores=True))


def test_a_subscriber_the_server_cuts_off_for_its_slowness_is_back_at_the_newest(
    make_world: Callable[..., World],
) -> None:
    """What listens to changes takes its time; meanwhile more is published than the server keeps for it."""
    world = make_world()
    alias, mesh = world.alias(), world.mesh()
    mesh.chat(alias, [{"role": "user", "content": "hi"}])
    follower, go_on, slow = mesh._held.subscriber._follower, threading.Event(), threading.Event()
    assert follower is not None

    def dawdle(*_: Any) -> None:
        slow.set()
        assert go_on.wait(2 * PATIENCE_S)

    connects, follower._on_change = follower.connects, dawdle
    redis = connect(world.engines.redis_url, deadline=PATIENCE_S)
    bounds = redis.config_get("client-output-buffer-limit")
    try:
        redis.config_set("client-output-buffer-limit", "pubsub 262144 262144 0")
        world.callers.clear()  # an operator waits for none of them
        world.alias("first")
        assert slow.wait(PATIENCE_S)
        until = time.monotonic() + PATIENCE_S
        cut = _cut(redis)
        while _cut(redis) == cut:
            assert time.monotonic() < until, "the server keeps everything"
            redis.publish(NEWS, b"x" * 65_536)
        last = world.alias("last")
    finally:
        go_on.set()
        redis.config_set("client-output-buffer-limit", bounds["client-output-buffer-limit"])
        redis.close()
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            mesh.chat(last, [{"role": "user", "content": "hi"}])
            break
        except UnknownAlias:
            assert time.monotonic() < until, "it never heard of it"
            time.sleep(0.05)
    while follower.connects == connects:
        assert time.monotonic() < until, "it never listened again"
        time.sleep(0.05)


def _cut(redis: Any) -> int:
    """How many clients the server cut off because their output was waiting for too long."""
    return int(redis.info("stats")["client_output_buffer_limit_disconnections"])

"""A slot is its call's: whoever makes one call after another never meets his own shadow."""

from __future__ import annotations

import asyncio

import pytest

from mesh_plugins import QuotaExceeded

ASK = [{"role": "user", "content": "hi"}]


def test_one_caller_with_one_slot_is_never_refused(make_world):
    world = make_world(limits=("1 concurrent",))
    alias, mesh = world.alias(), world.mesh()
    for _ in range(60):
        mesh.chat(alias, ASK)


async def test_nor_on_an_event_loop(make_world):
    world = await asyncio.to_thread(make_world, limits=("1 concurrent",))
    alias = await asyncio.to_thread(world.alias)
    mesh = world.mesh()
    for _ in range(40):
        await mesh.achat(alias, ASK)
    await mesh.aclose()


def test_a_slot_that_is_held_refuses_and_says_to_come_back_soon(make_world):
    world = make_world(limits=("1 concurrent",))
    mesh = world.mesh()
    stream = mesh.stream(world.alias(), ASK)
    next(stream)
    with pytest.raises(QuotaExceeded, match="1 concurrent") as caught:
        mesh.chat(world.name("fast"), ASK)
    assert caught.value.retry_after == 1.0
    stream.close()
    mesh.chat(world.name("fast"), ASK)


def test_nor_while_no_server_takes_the_facts(make_world, tmp_path):
    world = make_world(limits=("1 concurrent",))
    alias = world.alias()
    mesh = world.mesh(telemetry_redis_url=f"unix://{tmp_path / 'nobody'}")
    for _ in range(20):
        mesh.chat(alias, ASK)

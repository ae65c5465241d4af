"""The whole way of one call, on real engines over real HTTP."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from mesh_plugins import (
    AccessDenied,
    ConfigUnavailable,
    InvalidKey,
    ProviderError,
    QuotaExceeded,
    QuotaUnavailable,
    UnknownAlias,
)
from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings
from mesh_store.model import keys
from tests.faults.relay import Relay

ASK = [{"role": "user", "content": "tell me something true"}]


def test_a_call_is_resolved_admitted_sent_settled_and_stored(make_world, stand_in):
    world = make_world(limits=("600 requests/min", "100k tokens/min"))
    alias = world.alias(models=("gpt-4o-mini",))
    mesh, before = world.mesh(), stand_in.count

    reply = mesh.chat(alias, ASK, max_tokens=64, tags={"job": "nightly"})

    assert reply.choices[0].message.content
    assert reply.mesh.target == f"{world.name('local')}/gpt-4o-mini"
    assert reply.mesh.attempts == 1
    assert stand_in.count == before + 1
    sent = stand_in.requests[-1].json
    assert sent["model"] == "gpt-4o-mini"
    assert "mk_" not in str(stand_in.requests[-1])
    assert mesh.flush(10)
    world.collect()
    [row] = world.rows("e.*")
    assert row["outcome"] == "ok"
    assert row["output_tokens"] == reply.usage.completion_tokens
    assert row["input_tokens"] == reply.usage.prompt_tokens


async def test_the_same_call_on_an_event_loop(make_world):
    import asyncio

    world = await asyncio.to_thread(make_world, limits=("600 requests/min",))
    alias = await asyncio.to_thread(world.alias)
    mesh = world.mesh()
    reply = await mesh.achat(alias, ASK, max_tokens=64)
    assert reply.usage.total_tokens > 0
    chunks = [chunk async for chunk in await mesh.astream(alias, ASK)]
    assert chunks
    await mesh.aclose()


def test_an_exhausted_limit_refuses_says_when_and_reaches_no_provider(make_world, stand_in):
    world = make_world(limits=("2 requests/hour",))
    alias, mesh = world.alias(), world.mesh()
    mesh.chat(alias, ASK)
    before = stand_in.count
    with pytest.raises(QuotaExceeded, match="2 requests/hour") as caught:
        for _ in range(3):
            mesh.chat(alias, ASK)
    assert 0 < caught.value.retry_after <= 3600
    assert caught.value.subject == f"team {world.team}"
    assert stand_in.count - before <= 1


def test_tokens_are_reserved_by_estimate_and_settled_at_what_was_used(make_world):
    world = make_world(limits=("100k tokens/hour",))
    alias, mesh = world.alias(), world.mesh()
    first = mesh.chat(alias, ASK, max_tokens=5_000)
    [left] = first.mesh.remaining.values()
    assert mesh.flush(10)
    second = mesh.chat(alias, ASK, max_tokens=10)
    [after] = second.mesh.remaining.values()
    assert after > left  # the reserved thousands came back but for the tokens used


def test_an_alias_changed_live_sends_the_next_call_elsewhere(world, stand_in):
    alias, mesh = world.alias(models=("small",)), world.mesh()
    assert mesh.chat(alias, ASK).mesh.target.endswith("/small")
    targets = [{"provider": world.name("local"), "model": "large"}]
    world.run(lambda admin: admin.update_alias(alias, targets=targets))
    revision = world.run(lambda admin: admin.publish()).revision
    assert mesh._held.subscriber.wait(revision, 60) is not None
    reply = mesh.chat(alias, ASK)
    assert reply.mesh.target.endswith("/large")
    assert reply.mesh.revision == revision


def test_a_fallback_is_one_reservation_and_two_facts(make_world, stand_in):
    world = make_world(limits=("10 requests/hour",))
    alias, mesh = world.alias(models=("broken?status=503", "sound")), world.mesh()
    reply = mesh.chat(alias, ASK)
    assert (reply.mesh.attempts, reply.mesh.target.split("/")[-1]) == (2, "sound")
    mesh.flush(10)
    world.collect()
    assert [row["outcome"] for row in world.rows("e.outcome")] == ["error", "ok"]


class TestEveryRefusalIsItsOwnErrorAndSaysWhatToDo:
    def test_a_wrong_key(self, world):
        with pytest.raises(InvalidKey, match="not accepted"):
            world.mesh().chat(world.alias(), ASK, key=keys.mint().text)

    def test_a_revoked_key_within_a_second(self, world):
        key_id, text = world.new_key()
        alias, mesh = world.alias(), world.mesh()
        mesh.chat(alias, ASK, key=text)
        world.run(lambda admin: admin.revoke_key(key_id))
        with pytest.raises(InvalidKey):
            for _ in range(10_000):
                mesh.chat(alias, ASK, key=text)

    def test_a_stream_that_runs_is_read_to_its_end_though_its_key_is_revoked(self, world):
        key_id, text = world.new_key()
        alias, mesh = world.alias(), world.mesh()
        with mesh.stream(alias, ASK, key=text) as stream:
            chunks = [next(stream)]
            world.run(lambda admin: admin.revoke_key(key_id))
            until = time.monotonic() + 60
            with pytest.raises(InvalidKey):
                while time.monotonic() < until:
                    mesh.chat(alias, ASK, key=text)
            chunks += stream
        assert chunks[-1].choices[0].finish_reason
        assert stream.receipt.outcome.last.outcome == "ok"

    def test_an_unknown_alias(self, world):
        with pytest.raises(UnknownAlias, match="no alias 'nowhere'"):
            world.mesh().chat("nowhere", ASK)

    def test_a_forbidden_alias(self, make_world):
        world, other = make_world(), make_world()
        alias = world.alias(grants=[other.team])
        with pytest.raises(AccessDenied, match=f"team '{world.team}' may not use"):
            world.mesh().chat(alias, ASK)

    def test_an_unreachable_provider(self, make_world):
        world = make_world(base_url="http://127.0.0.1:9/v1")
        with pytest.raises(ProviderError) as caught:
            world.mesh().chat(world.alias(), ASK, timeout_s=5)
        assert caught.value.kind == "connect"
        assert caught.value.provider == world.name("local")

    def test_an_unreachable_redis_at_the_start(self, world, tmp_path):
        settings = Settings.of(redis_url=f"unix://{tmp_path}/nobody", key=world.key, home=tmp_path / "h")
        with Mesh(settings) as mesh, pytest.raises(ConfigUnavailable, match="nobody"):
            mesh.chat("fast", ASK)

    def test_an_unreachable_redis_later_keeps_the_configuration_and_closes_limits(self, make_world, stand_in):
        world = make_world(limits=("600 requests/min",))
        alias = world.alias()
        with Relay.to_redis(world.engines.redis_url) as relay:
            mesh = world.mesh(redis_url=relay.redis_url)
            mesh.chat(alias, ASK)
            relay.toxics.refuse = True
            relay.reset()
            before = stand_in.count
            with pytest.raises(QuotaUnavailable, match="Redis"):
                mesh.chat(alias, ASK)
            with pytest.raises(UnknownAlias):  # still decided by the last good configuration
                mesh.chat("nowhere", ASK)
            assert stand_in.count == before
            relay.toxics.refuse = False
            assert mesh.chat(alias, ASK).mesh.attempts == 1


def test_cost_is_exact_and_unknown_models_are_unpriced_not_free(world):
    world.run(
        lambda admin: admin.set_price(
            provider=world.name("local"), model="small", input=Decimal("0.25"), output=Decimal(2)
        )
    )
    mesh = world.mesh()
    priced = mesh.chat(world.alias("priced", models=("small",)), ASK)
    unpriced = mesh.chat(world.alias("unpriced", models=("nobody-knows-me",)), ASK)
    usage = priced.usage
    expected = (Decimal(usage.prompt_tokens) * Decimal("0.25") + Decimal(usage.completion_tokens) * 2) / 10**6
    assert priced.mesh.cost == expected
    assert unpriced.mesh.cost is None

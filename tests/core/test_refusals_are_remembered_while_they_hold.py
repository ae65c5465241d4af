"""Blind retries get the same refusal again, without a question, a charge or a second fact."""

from __future__ import annotations

import pytest

from mesh_plugins.core import denials
from mesh_store.model.errors import QuotaExceeded
from mesh_store.model.limits import Decision


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_ns = 10**12

    monkeypatch.setattr(denials.time, "monotonic_ns", lambda: Clock.now_ns)
    return Clock


def full(world, binding=0, retry_after_us=30_000_000):
    world.limiter.refuse = lambda charges: Decision(
        admitted=False,
        remaining=(0,) * len(charges),
        retry_after_us=retry_after_us,
        reset_after_us=(0,) * len(charges),
        binding=binding,
    )


def refused(world, **options):
    with pytest.raises(QuotaExceeded) as caught:
        world.call(**options)
    return caught.value


def test_the_same_call_is_refused_again_without_asking(world, clock):
    full(world)
    first = refused(world)
    clock.now_ns += 400_000_000
    again = refused(world)
    assert len(world.limiter.asked) == 1
    assert len(world.recorder.facts) == 1
    assert again.retry_after == pytest.approx(first.retry_after - 0.4)
    assert (again.limit, again.headroom) == (first.limit, first.headroom)


def test_only_as_long_as_it_surely_holds(world, clock):
    full(world)
    refused(world)
    clock.now_ns += 1_000_000_001
    refused(world)
    assert len(world.limiter.asked) == 2


def test_never_longer_than_its_own_wait(world, clock):
    full(world, retry_after_us=20_000)
    refused(world)
    clock.now_ns += 20_000_001
    refused(world)
    assert len(world.limiter.asked) == 2


def test_tokens_come_back_with_settlements_so_their_refusals_hold_for_a_moment_only(world, clock):
    full(world, binding=1)
    refused(world)
    clock.now_ns += 50_000_001
    refused(world)
    assert len(world.limiter.asked) == 2


def test_a_smaller_call_is_asked_about(world, clock):
    full(world, binding=1)
    refused(world)
    refused(world, payload={"messages": [], "max_tokens": 1})
    assert len(world.limiter.asked) == 2


def test_a_changed_configuration_is_asked_about(world, clock):
    import msgspec

    full(world)
    refused(world)
    world.config.document = msgspec.structs.replace(world.config.document, revision=8)
    refused(world)
    assert len(world.limiter.asked) == 2


def test_a_caller_that_waits_is_asked_about(world, clock):
    full(world)
    refused(world)
    refused(world, max_wait_s=5)
    assert len(world.limiter.asked) == 2


def test_another_key_is_asked_about(world, clock):
    from mesh_store.model import keys
    from mesh_store.model.snapshot import KeyEntry

    full(world)
    refused(world)
    key = keys.mint()
    world.config.entries[key.digest] = KeyEntry(id=key.id, team="t1")
    refused(world, key=key.text)
    assert len(world.limiter.asked) == 2

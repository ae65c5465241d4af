"""What a call costs is decided by when it began, by which service answered, and by every price plugin."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_plugins import hookimpl
from mesh_plugins.core.call import ProviderReply
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Limit
from mesh_store.model.usage import Later, Rates, Terms, Tier, Usage


def dollars(make_rule: Any, *, hard: bool) -> Any:
    limit = Limit(amount=10**12, period_us=86_400_000_000, kind="window", hard=hard)
    return make_rule("usd", "usd", 1, limit=limit, team="t1")


def test_a_price_that_changes_during_a_call_does_not_change_what_it_costs(make_world, monkeypatch):
    begun, ended = now_us(), now_us() + 60_000_000
    rates = Rates(10, 20, terms=Terms(later=(Later(begun + 30_000_000, Rates(1_000, 2_000)),)))
    world = make_world(rates={"x1": rates, "x2": rates})
    sent = world.sender.send

    def slow(call: Any) -> Any:
        monkeypatch.setattr("mesh_store.model.usage.time.time_ns", lambda: ended * 1_000)
        return sent(call)

    monkeypatch.setattr(world.sender, "send", slow)
    assert world.call().receipt.cost_pico_usd == 11 * 10 + 7 * 20


def test_a_plugin_is_told_when_the_attempt_began(make_world):
    told = []

    class Prices:
        @hookimpl
        def mesh_price(self, usage, at_us):
            told.append((usage.estimated, at_us))

    world = make_world(plugins=(Prices(),))
    world.call()
    begun = world.recorder.facts[0].started_at_us
    assert [at for estimated, at in told if not estimated] == [begun]
    assert all(abs(at - begun) < 60_000_000 for _, at in told)


@pytest.mark.parametrize("hard", [True, False])
def test_a_plugins_price_is_what_a_budget_is_asked_for(make_world, make_rule, hard):
    class Prices:
        @hookimpl
        def mesh_price(self, usage):
            return usage.output_tokens * 1_000_000

    world = make_world(plugins=(Prices(),), limits=(dollars(make_rule, hard=hard),))
    world.call()
    ((charge,),) = world.limiter.asked
    assert charge.amount == 50 * 1_000_000
    (done,) = world.recorder.settlements
    assert done.settlement.actual == (7 * 1_000_000,)


KINDS = {
    "written to a cache": ({"cache_write": 90}, Usage(1_000, 50, cache_write_tokens=1_000)),
    "for an hour": (
        {"cache_write": 90, "cache_write_1h": 200},
        Usage(1_000, 50, cache_write_tokens=1_000, cache_write_1h_tokens=1_000),
    ),
    "spoken to": ({"audio_input": 500}, Usage(1_000, 50, audio_input_tokens=1_000)),
    "spoken": ({"audio_output": 500}, Usage(1_000, 50, audio_output_tokens=50)),
    "thought": ({"reasoning": 70}, Usage(1_000, 50, reasoning_tokens=50)),
    "long": ({"terms": Terms(tiers=(Tier(10, Rates(40, 80)),))}, Usage(1_000, 50)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hard_budget_reserves_for_tokens_of_the_dearest_kind(make_world, make_rule, kind):
    more, worst = KINDS[kind]
    rates = Rates(10, 20, **more)
    world = make_world(
        [ProviderReply("the answer", worst, "stop")],
        rates={"x1": rates, "x2": rates},
        limits=(dollars(make_rule, hard=True),),
    )
    world.call(payload={"messages": [{"role": "user", "content": "x" * 1_000}], "max_tokens": 50})
    ((charge,),) = world.limiter.asked
    (done,) = world.recorder.settlements
    assert done.settlement.actual[0] > Rates(10, 20).cost(worst)
    assert done.settlement.actual[0] <= charge.amount


@pytest.mark.parametrize("where", ["caller", "default", "forced"])
def test_the_service_that_is_asked_for_is_reserved_at_its_price(make_world, make_rule, world, where):
    rates = Rates(10, 20, terms=Terms(services={"priority": Rates(100, 200), "flex": Rates(1, 2)}))
    (alias,) = world.config.document.aliases
    payload: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}
    if where == "caller":
        payload["service_tier"] = "priority"
    elif where == "default":
        alias = msgspec.structs.replace(alias, defaults={"service_tier": "priority"})
    else:
        payload["service_tier"] = "flex"
        alias = msgspec.structs.replace(alias, forced={"service_tier": "priority"})
    usage = Usage(5, 50, service="priority")
    world = make_world(
        [ProviderReply("the answer", usage, "stop")],
        rates={"x1": rates, "x2": rates},
        limits=(dollars(make_rule, hard=False),),
        aliases=(alias,),
    )
    reply = world.call(payload=payload)
    ((charge,),) = world.limiter.asked
    assert charge.amount >= 50 * 200
    assert reply.receipt.cost_pico_usd == 5 * 100 + 50 * 200
    assert world.recorder.facts[0].service == "priority"


def test_a_hard_budget_covers_a_cheap_service_that_was_not_given(make_world, make_rule):
    rates = Rates(10, 20, terms=Terms(services={"flex": Rates(1, 2)}))
    world = make_world(
        [ProviderReply("the answer", Usage(5, 50, service="default"), "stop")],
        rates={"x1": rates, "x2": rates},
        limits=(dollars(make_rule, hard=True),),
    )
    messages = [{"role": "user", "content": "hello"}]
    world.call(payload={"messages": messages, "max_tokens": 50, "service_tier": "flex"})
    ((charge,),) = world.limiter.asked
    assert charge.amount >= world.recorder.settlements[0].settlement.actual[0] == 5 * 10 + 50 * 20

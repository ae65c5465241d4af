from __future__ import annotations

from contextvars import copy_context
from typing import Any

import httpx
import pytest

from mesh_store.model.errors import InvalidKey, QuotaExceeded


async def test_a_call_reaches_the_provider_once_and_leaves_one_fact(
    way: Any, litellm: Any, world: Any
) -> None:
    await way(litellm, "fast")

    assert world.provider.count == 1
    assert world.sent.json["model"] == "small"
    fact = world.recorder.fact
    assert (fact.outcome, fact.host, fact.alias, fact.request_model) == ("ok", "litellm", "fast", "small")
    assert fact.input_tokens > 0
    assert not fact.estimated
    assert world.recorder.settlements == 1


async def test_a_refused_call_sends_nothing(way: Any, litellm: Any, world: Any) -> None:
    world.limiter.refuses = True

    with pytest.raises(QuotaExceeded) as refused:
        await way(litellm, "fast")

    assert isinstance(refused.value, litellm.RateLimitError)
    assert world.provider.count == 0
    assert {fact.outcome for fact in world.recorder.facts} == {"denied"}


async def test_retries_asked_for_by_the_caller_do_not_get_past_a_refusal(
    way: Any, litellm: Any, world: Any
) -> None:
    world.limiter.refuses = True

    with pytest.raises(QuotaExceeded):
        await way(litellm, "fast", num_retries=3, max_retries=3)

    assert world.provider.count == 0
    assert world.config.lookups == 1 or way.name == "completion with retries"


async def test_other_models_pass_untouched(litellm: Any, world: Any, messages: Any) -> None:
    reply = litellm.completion(
        model="openai/own", messages=messages, api_base=world.provider.base_url, api_key="sk-own"
    )
    areply = await litellm.acompletion(
        "openai/own", messages, api_base=world.provider.base_url, api_key="sk-own"
    )

    assert reply.model == areply.model == "own"
    assert world.provider.count == 2
    assert world.recorder.facts == []


def test_a_batch_is_governed_call_by_call(litellm: Any, world: Any, messages: Any) -> None:
    replies = litellm.batch_completion("mesh/fast", [messages, messages, messages])

    assert len(replies) == 3
    assert world.provider.count == len(world.recorder.facts) == world.recorder.settlements == 3


async def test_the_second_tier_answers_inside_one_reservation(
    litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("flaky", status=503, times=1)

    reply = await litellm.acompletion("mesh/tiered", messages)

    assert reply.model == "claude-stand-in"
    assert world.limiter.asked == 1
    assert [(fact.provider, fact.outcome) for fact in world.recorder.facts] == [
        ("first", "error"),
        ("second", "ok"),
    ]
    assert world.recorder.settlements == 1


@pytest.mark.parametrize("alias", ["claude", "any"])
async def test_every_kind_of_provider_answers(alias: str, litellm: Any, world: Any, messages: Any) -> None:
    assert litellm.completion(f"mesh/{alias}", messages).choices[0].message.content
    stream = await litellm.acompletion(f"mesh/{alias}", messages, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert [fact.outcome for fact in world.recorder.facts] == ["ok", "ok"]
    assert len({(fact.input_tokens, fact.output_tokens) for fact in world.recorder.facts}) == 1


def test_labels_of_the_caller_come_into_the_fact(litellm: Any, world: Any, messages: Any) -> None:
    litellm.completion(
        "mesh/fast", messages, user="u-1", metadata={"tags": ["a", "b"], "session_id": "s-1", "team": "t2"}
    )

    fact = world.recorder.fact
    assert (fact.tags, fact.session, fact.end_user, fact.team_id) == ({"a": "", "b": ""}, "s-1", "u-1", "t1")


def test_litellms_other_words_for_labels_and_deadlines_are_understood(
    litellm: Any, world: Any, messages: Any
) -> None:
    litellm.completion("mesh/fast", messages, tags=["a"], litellm_session_id="s-2")
    assert (world.recorder.fact.tags, world.recorder.fact.session) == ({"a": ""}, "s-2")

    for name in ("timeout", "request_timeout"):
        with pytest.raises(litellm.BadRequestError, match="above 0"):
            litellm.completion("mesh/fast", messages, **{name: -1})
    assert world.provider.count == 1


@pytest.mark.parametrize(
    ("phases", "seconds"), [({"timeout": 5, "read": 9}, 9), ({"timeout": None}, None), ({"timeout": 3}, 3)]
)
def test_a_timeout_by_phases_is_a_deadline_as_long_as_the_longest(
    litellm: Any, phases: Any, seconds: Any
) -> None:
    from mesh_plugins.hosts.litellm.doors import DOORS
    from mesh_plugins.hosts.litellm.parameters import sort

    (door,) = (door for door in DOORS if door.name == "completion")
    asked = sort(door, litellm.completion, (), {"timeout": httpx.Timeout(**phases)})
    assert asked.options["timeout_s"] == seconds


def test_usage_of_a_cache_hit_is_nothing(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("input_callback", "success_callback", "_async_success_callback"):
        monkeypatch.setattr(litellm, name, [*getattr(litellm, name)])
    monkeypatch.setattr(litellm, "cache", litellm.Cache())

    litellm.completion("mesh/fast", messages)
    litellm.completion("mesh/fast", messages)

    assert world.provider.count == 1
    assert [(fact.input_tokens > 0, fact.flags) for fact in world.recorder.facts] == [
        (True, ()),
        (False, ("cache_hit",)),
    ]


async def test_a_name_that_litellm_took_apart_is_governed(litellm: Any, world: Any, messages: Any) -> None:
    await litellm.acompletion("fast", messages, custom_llm_provider="mesh", _litellms_own=True)

    assert [fact.outcome for fact in world.recorder.facts] == ["ok"]
    assert "_litellms_own" not in world.sent.json


def test_behind_a_proxy_its_requests_key_goes_over_whatever_the_request_says(
    litellm: Any, world: Any, messages: Any, key: str, revoked_key: str
) -> None:
    from mesh_plugins.hosts.litellm import callers

    def ask(served: str, **said: Any) -> Any:
        callers.serve(served)
        return litellm.completion("mesh/fast", messages, **said)

    for said in ({}, {"metadata": {"mesh_key": key}}, {"api_key": key}):
        with pytest.raises(InvalidKey):
            copy_context().run(ask, revoked_key, **said)
    assert world.provider.count == 0
    copy_context().run(ask, key, metadata={"mesh_key": revoked_key})
    assert world.provider.count == 1

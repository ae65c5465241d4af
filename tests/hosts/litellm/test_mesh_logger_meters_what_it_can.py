from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from mesh_store.model.errors import InvalidKey, QuotaExceeded


@pytest.fixture
def meter(litellm: Any, unhosted_world: Any, registered: Any) -> Any:
    """A world with a logger instead of an installation."""
    from mesh_plugins.hosts.litellm import MeshLogger

    logger = MeshLogger(unhosted_world.runtime)
    yield from registered(litellm, logger, unhosted_world)


@pytest.fixture
def own(unhosted_world: Any) -> dict[str, str]:
    return {"api_base": unhosted_world.provider.base_url, "api_key": "sk-own"}


async def test_calls_that_name_their_model_leave_facts(
    litellm: Any, meter: Any, own: Any, messages: Any
) -> None:
    litellm.completion("openai/named", messages, metadata={"session_id": "s-1"}, **own)
    assert meter.recorder.wait_for(1)
    list(
        litellm.completion(
            "openai/named", messages, stream=True, stream_options={"include_usage": True}, **own
        )
    )
    assert meter.recorder.wait_for(2)
    litellm.embedding("openai/named", "hello", **own)
    assert meter.recorder.wait_for(3)
    await litellm.acompletion(model="openai/named", messages=messages, **own)
    await litellm.acompletion("openai/named", messages, **own)
    await litellm.aembedding(model="openai/named", input="hello", **own)
    assert await asyncio.to_thread(meter.recorder.wait_for, 6)

    facts = meter.recorder.facts
    assert [fact.outcome for fact in facts] == ["ok"] * 6
    assert {(fact.alias, fact.request_model) for fact in facts} == {("openai/named", "named")}
    assert not any(fact.estimated for fact in facts)
    assert facts[0].session == "s-1"
    assert meter.recorder.settlements == 6


async def test_what_the_caller_says_of_a_call_is_in_its_fact(
    litellm: Any, meter: Any, own: Any, messages: Any
) -> None:
    said = {"metadata": {"tags": ["nightly"], "session_id": "s-1"}, "user": "ann"}
    await litellm.acompletion(model="openai/named", messages=messages, **own, **said)
    assert await asyncio.to_thread(meter.recorder.wait_for, 1)
    stream = await litellm.acompletion(
        model="openai/named", messages=messages, stream=True, stream_options={"include_usage": True}, **own
    )
    [chunk async for chunk in stream]
    assert await asyncio.to_thread(meter.recorder.wait_for, 2)

    whole, streamed = meter.recorder.facts
    assert (whole.tags, whole.session, whole.end_user) == ({"nightly": ""}, "s-1", "ann")
    assert (whole.stream, streamed.stream) == (False, True)


async def test_responses_are_counted_as_they_count_themselves(litellm: Any, meter: Any, own: Any) -> None:
    answer = await litellm.aresponses(model="openai/named", input="hello there", **own)
    assert await asyncio.to_thread(meter.recorder.wait_for, 1)

    fact = meter.recorder.fact
    assert (fact.operation, fact.estimated, fact.finish_reason) == ("responses", False, "completed")
    assert (fact.input_tokens, fact.output_tokens) == (answer.usage.input_tokens, answer.usage.output_tokens)


async def test_an_answer_that_comes_too_late_is_a_timeout(
    litellm: Any, meter: Any, own: Any, messages: Any
) -> None:
    meter.provider.script("named", latency_s=5)

    with pytest.raises(litellm.Timeout):
        await litellm.acompletion(model="openai/named", messages=messages, timeout=0.2, num_retries=0, **own)

    assert await asyncio.to_thread(meter.recorder.wait_for, 1)
    assert meter.recorder.fact.outcome == "timeout"


async def test_a_retry_under_the_same_id_ends_the_attempt_before(unhosted_world: Any, messages: Any) -> None:
    from mesh_plugins.hosts.litellm import MeshLogger

    logger = MeshLogger(unhosted_world.runtime)
    call = {"model": "openai/named", "messages": messages, "litellm_call_id": "c-1"}
    for _ in range(2):
        await logger.async_pre_call_deployment_hook(dict(call), "acompletion")

    assert unhosted_world.recorder.fact.outcome == "abandoned"


async def test_a_key_is_looked_up_without_holding_up_the_event_loop(
    unhosted_world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesh_plugins.hosts.litellm import MeshLogger

    config, known = unhosted_world.config, unhosted_world.config.lookup
    waited: list[str] = []

    async def alookup(digest: bytes) -> Any:
        waited.append("on the loop")
        return known(digest)

    monkeypatch.setattr(config, "alookup", alookup)
    monkeypatch.setattr(config, "lookup", lambda digest: waited.append("in its way") or known(digest))
    call = {"model": "openai/named", "messages": messages, "litellm_call_id": "c-1"}
    await MeshLogger(unhosted_world.runtime).async_pre_call_deployment_hook(call, "acompletion")

    assert waited[0] == "on the loop"


async def test_models_without_an_alias_are_left_alone(
    litellm: Any, meter: Any, own: Any, messages: Any
) -> None:
    litellm.completion("openai/nobodys", messages, **own)
    await litellm.acompletion(model="openai/nobodys", messages=messages, **own)

    assert meter.recorder.facts == []
    assert meter.limiter.asked == 0


@pytest.mark.parametrize("caller", ["no key", "revoked"])
async def test_whoever_calls_models_without_an_alias_are_left_alone(
    caller: str,
    litellm: Any,
    meter: Any,
    own: Any,
    messages: Any,
    revoked_key: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(meter.runtime, "_key", revoked_key if caller == "revoked" else None)

    await litellm.acompletion(model="openai/nobodys", messages=messages, **own)
    litellm.completion("openai/nobodys", messages, **own)
    assert meter.provider.count == 2
    assert "no way to stop" not in caplog.text

    with pytest.raises(InvalidKey):
        await litellm.acompletion(model="openai/named", messages=messages, **own)
    assert meter.provider.count == 2
    litellm.completion("openai/named", messages, **own)
    assert "no way to stop" in caplog.text
    assert meter.recorder.facts == []


@pytest.mark.parametrize("retries", [{}, {"num_retries": 2}], ids=["plain", "num_retries"])
async def test_an_async_call_by_keyword_is_refused(
    retries: Any, litellm: Any, meter: Any, own: Any, messages: Any
) -> None:
    meter.limiter.refuses = True

    with pytest.raises(QuotaExceeded) as refused:
        await litellm.acompletion(model="openai/named", messages=messages, **own, **retries)
    with pytest.raises(QuotaExceeded):
        await litellm.acompletion(model="openai/named", messages=messages, stream=True, **own, **retries)

    assert isinstance(refused.value, litellm.RateLimitError)
    assert meter.provider.count == 0


def test_a_sync_call_goes_out_and_the_log_says_so(
    litellm: Any, meter: Any, own: Any, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    meter.limiter.refuses = True

    litellm.completion("openai/named", messages, **own)

    assert meter.provider.count == 1
    assert [fact.outcome for fact in meter.recorder.facts] == ["denied"]
    assert "no way to stop" in caplog.text


async def test_a_failed_call_is_settled(litellm: Any, meter: Any, own: Any, messages: Any) -> None:
    meter.provider.script("named", status=400)

    with pytest.raises(litellm.BadRequestError):
        await litellm.acompletion(model="openai/named", messages=messages, **own)

    assert await asyncio.to_thread(meter.recorder.wait_for, 1)
    assert (meter.recorder.fact.outcome, meter.recorder.fact.status) == ("error", 400)
    assert meter.recorder.settlements == 1


async def test_a_call_whose_event_never_comes_is_settled_after_its_deadline(
    litellm: Any, meter: Any, own: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await litellm.acompletion(model="openai/named", messages=messages, stream=True, **own)
    await stream.aclose()
    assert meter.recorder.facts == []

    later = time.monotonic() + 3_600
    monkeypatch.setattr("mesh_plugins.hosts.litellm.logger.time.monotonic", lambda: later)
    await litellm.acompletion(model="openai/named", messages=messages, **own)

    assert await asyncio.to_thread(meter.recorder.wait_for, 1)
    assert meter.recorder.facts[0].outcome == "abandoned"


async def test_a_governed_call_is_charged_once(litellm: Any, meter: Any, messages: Any, heard: Any) -> None:
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    from mesh_plugins.hosts.litellm import install, uninstall

    install(meter.runtime)
    try:
        await litellm.acompletion("mesh/openai/named", messages)
        litellm.completion("mesh/openai/named", messages, metadata={"label": "sync"})
    finally:
        uninstall()
    await GLOBAL_LOGGING_WORKER.flush()
    assert await heard.until("sync")

    assert len(meter.recorder.facts) == meter.recorder.settlements == 2

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mesh_store.model import errors


@pytest.fixture
def world(unhosted_world: Any, litellm: Any) -> Iterator[Any]:
    """A world whose mesh governs litellm, by the short way where there is one."""
    from mesh_plugins.hosts.litellm import install, uninstall

    install(unhosted_world.runtime, fast=True)
    yield unhosted_world
    uninstall()


def _agent(request: Any) -> str:
    return str(request.headers.get("user-agent", ""))


def _was_fast(world: Any) -> bool:
    """Tell who sent: litellm's clients name themselves."""
    names = [_agent(request).lower() for request in world.provider.requests]
    return not any("openai" in name or "litellm" in name for name in names)


@pytest.mark.parametrize("alias", ["fast", "claude"])
async def test_replies_are_litellms_own_types(alias: str, litellm: Any, world: Any, messages: Any) -> None:
    reply = litellm.completion(f"mesh/{alias}", messages, max_tokens=50)
    areply = await litellm.acompletion(f"mesh/{alias}", messages, max_tokens=50)
    chunks = list(litellm.completion(f"mesh/{alias}", messages, stream=True, max_tokens=50))
    stream = await litellm.acompletion(f"mesh/{alias}", messages, stream=True, max_tokens=50)
    achunks = [chunk async for chunk in stream]

    assert _was_fast(world)
    assert isinstance(reply, litellm.ModelResponse)
    assert isinstance(areply, litellm.ModelResponse)
    said = reply.choices[0].message.content
    assert said == areply.choices[0].message.content
    for read in (chunks, achunks):
        assert "".join(chunk.choices[0].delta.content or "" for chunk in read if chunk.choices) == said
        assert litellm.stream_chunk_builder(read).choices[0].message.content == said
    assert [fact.outcome for fact in world.recorder.facts] == ["ok"] * 4
    assert len({fact.output_tokens for fact in world.recorder.facts}) == 1


async def test_other_doors_and_kinds_take_the_usual_way(way: Any, litellm: Any, world: Any) -> None:
    await way(litellm, "any")

    assert not _was_fast(world)
    assert world.recorder.fact.outcome == "ok"


def test_a_callback_of_the_caller_is_still_told(litellm: Any, world: Any, messages: Any, heard: Any) -> None:
    litellm.completion("mesh/fast", messages, metadata={"label": "told"})

    assert not _was_fast(world)
    with heard.changed:
        assert heard.changed.wait_for(lambda: heard.of("told"), timeout=60)


def test_what_litellm_left_listening_itself_slows_nothing(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "success_callback", ["cache"])

    litellm.completion("mesh/fast", messages)

    assert _was_fast(world)


def test_a_mock_is_still_a_mock(litellm: Any, world: Any, messages: Any) -> None:
    reply = litellm.completion("mesh/fast", messages, mock_response="not asked")

    assert reply.choices[0].message.content == "not asked"
    assert world.provider.count == 0


@pytest.mark.parametrize(
    ("script", "theirs"),
    [
        ({"status": 400}, "BadRequestError"),
        ({"status": 401}, "AuthenticationError"),
        ({"status": 418}, "APIError"),
        ({"hang_up": True}, "BadGatewayError"),
        ({"latency_s": 5}, "Timeout"),
    ],
    ids=lambda value: str(value),
)
async def test_failures_have_litellms_names(
    script: Any, theirs: str, litellm: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", **script)

    with pytest.raises(errors.ProviderError) as sync:
        litellm.completion("mesh/fast", messages, timeout=0.5)
    with pytest.raises(errors.ProviderError) as a_sync:
        await litellm.acompletion("mesh/fast", messages, timeout=0.5, stream=True)

    for caught in (sync.value, a_sync.value):
        assert isinstance(caught, getattr(litellm, theirs))


async def test_a_refusal_sends_nothing(litellm: Any, world: Any, messages: Any) -> None:
    world.limiter.refuses = True

    with pytest.raises(litellm.RateLimitError):
        litellm.completion("mesh/fast", messages)
    with pytest.raises(litellm.RateLimitError):
        await litellm.acompletion("mesh/fast", messages, stream=True)

    assert world.provider.count == 0


def test_an_abandoned_stream_settles(litellm: Any, world: Any, messages: Any) -> None:
    for _ in litellm.completion("mesh/fast", messages, stream=True):
        break

    assert world.recorder.fact.outcome == "abandoned"


def test_the_callers_extra_body_arrives(litellm: Any, world: Any, messages: Any) -> None:
    litellm.completion("mesh/fast", messages, extra_body={"vendor_word": 1})

    assert world.sent.json["vendor_word"] == 1
    assert "extra_body" not in world.sent.json

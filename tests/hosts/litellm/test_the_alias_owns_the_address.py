from __future__ import annotations

import json
from typing import Any

import pytest

from mesh_store.model.errors import ConfigError


def test_no_override_of_the_caller_reaches_the_provider(litellm: Any, world: Any, messages: Any) -> None:
    litellm.completion(
        "mesh/fast",
        messages,
        api_base="http://127.0.0.1:9/elsewhere",
        base_url="http://127.0.0.1:9/elsewhere",
        api_key="sk-of-the-caller",
        api_version="1",
        organization="org-of-the-caller",
        headers={"authorization": "Bearer of-the-caller"},
        extra_headers={"authorization": "Bearer of-the-caller", "traceparent": "00-1-2-01"},
        custom_llm_provider="anthropic",
        fallbacks=["openai/elsewhere"],
        model_list=[],
        client=object(),
    )

    sent = world.sent
    assert sent.headers["authorization"] == "Bearer sk-of-the-alias"
    assert sent.headers["x-tenant"] == "blue"
    assert sent.headers["traceparent"] == "00-1-2-01"
    assert sent.query == "zone=eu"
    assert "of-the-caller" not in json.dumps([sent.headers, sent.json])


async def test_the_environment_cannot_send_our_credential_elsewhere(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/elsewhere")
    monkeypatch.setattr(litellm, "api_base", "http://127.0.0.1:9/elsewhere")

    for alias in ("fast", "claude", "any"):
        await litellm.acompletion(f"mesh/{alias}", messages)

    assert world.provider.count == 3


def test_a_provider_without_a_secret_never_gets_the_callers_own(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-caller")

    litellm.completion("mesh/keyless", messages)

    assert "of-the-caller" not in json.dumps(world.sent.headers)


async def test_azure_is_reached_at_its_deployment_with_its_header(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "of-the-caller")
    monkeypatch.setenv("AZURE_API_BASE", "http://127.0.0.1:9/elsewhere")
    for alias, header, value in (
        ("azure", "api-key", "sk-of-the-alias"),
        ("azure-identified", "authorization", "Bearer sk-of-the-alias"),
    ):
        litellm.completion(f"mesh/{alias}", messages)
        await litellm.acompletion(f"mesh/{alias}", messages)
        litellm.embedding(f"mesh/{alias}", ["text"])
        for sent in list(world.provider.requests)[-3:]:
            assert sent.path.split("/v1")[-1].startswith("/openai/deployments/small/")
            assert (sent.query, sent.headers[header]) == ("api-version=2024-10-21", value)
            assert "of-the-caller" not in json.dumps(sent.headers)
    assert world.provider.count == 6


async def test_a_token_of_our_identity_is_sent_as_one(litellm: Any, world: Any, messages: Any) -> None:
    litellm.completion("mesh/identified", messages)
    await litellm.acompletion("mesh/identified", messages)
    await litellm.anthropic_messages(model="mesh/identified", messages=messages, max_tokens=5)
    assert {sent.headers["authorization"] for sent in world.provider.requests} == {"Bearer sk-of-the-alias"}


@pytest.mark.parametrize("alias", ["fast", "claude"])
async def test_redirects_are_not_followed(alias: str, litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("*", redirect=f"{world.provider.base_url}/chat/completions")

    with pytest.raises(litellm.exceptions.openai.APIError):
        litellm.completion(f"mesh/{alias}", messages)
    with pytest.raises(litellm.exceptions.openai.APIError):
        await litellm.acompletion(f"mesh/{alias}", messages)
    with pytest.raises(litellm.exceptions.openai.APIError):
        litellm.responses("hello", f"mesh/{alias}")

    assert world.provider.count == 3


def test_a_body_cannot_undo_what_the_alias_decides(litellm: Any, world: Any, messages: Any) -> None:
    litellm.completion(
        "mesh/fast",
        messages,
        max_tokens=5,
        extra_body={"model": "dearer", "models": ["dearer"], "max_tokens": 5_000, "vendor_word": 1},
    )

    assert world.sent.json["model"] == "small"
    assert world.sent.json["max_tokens"] == 5
    assert world.sent.json["vendor_word"] == 1
    assert "models" not in world.sent.json


def test_an_unknown_parameter_is_refused_by_name(litellm: Any, world: Any, messages: Any) -> None:
    with pytest.raises(ConfigError, match="frobnicate") as refused:
        litellm.completion("mesh/fast", messages, frobnicate=1)

    assert isinstance(refused.value, litellm.BadRequestError)
    assert world.provider.count == 0

    litellm.completion("mesh/fast", messages, frobnicate=1, drop_params=True)
    assert "frobnicate" not in world.sent.json


async def test_parameters_of_the_model_arrive_as_they_were_given(
    litellm: Any, world: Any, messages: Any
) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    given = {
        "temperature": 0.5,
        "seed": 7,
        "stop": ["x"],
        "tools": tools,
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "top_k": 3,
    }

    await litellm.acompletion("mesh/fast", messages, **given)

    sent = world.sent.json
    assert {name: sent[name] for name in given} == given
    assert sent["messages"] == messages


async def test_nothing_of_ours_is_sent(way: Any, litellm: Any, world: Any, key: str) -> None:
    labels = {"mesh_key": key, "tags": ["of-the-caller"], "label": "of-the-caller"}
    name = "litellm_metadata" if way.name.startswith(("responses", "aresponses", "anthropic")) else "metadata"

    await way(litellm, "fast", **{name: labels})

    sent = json.dumps([world.sent.json, world.sent.headers])
    assert key not in sent
    assert "of-the-caller" not in sent
    assert "mesh" not in json.dumps(world.sent.json)
    assert world.recorder.fact.tags == {"of-the-caller": ""}


def test_a_key_in_the_metadata_that_goes_upstream_is_taken_out(litellm: Any, world: Any, key: str) -> None:
    litellm.responses("hello", "mesh/fast", metadata={"mesh_key": key, "purpose": "test"})

    assert world.sent.json["metadata"] == {"purpose": "test"}


def test_a_target_that_names_an_alias_is_a_mistake(litellm: Any, world: Any, messages: Any) -> None:
    with pytest.raises(ConfigError, match="alias"):
        litellm.completion("mesh/loop", messages)

    assert world.provider.count == 0


def test_litellms_own_fallbacks_cannot_take_our_credential_along(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "model_fallbacks", ["openai/elsewhere"])

    with pytest.raises(ConfigError, match="model_fallbacks"):
        litellm.completion("mesh/fast", messages)

    assert world.provider.count == 0


def test_messages_that_litellm_returned_can_be_sent_again(litellm: Any, world: Any, messages: Any) -> None:
    said = litellm.completion("mesh/fast", messages).choices[0].message

    litellm.completion("mesh/fast", [*messages, said, *messages])

    assert world.provider.requests[-1].json["messages"][1]["content"] == said.content
    first, second = world.recorder.facts
    assert second.estimate_tokens > first.estimate_tokens


async def test_a_provider_that_knows_no_usage_in_streams_is_not_asked_for_it(
    litellm: Any, world: Any, messages: Any
) -> None:
    assert list(litellm.completion("mesh/silent", messages, stream=True))
    stream = await litellm.acompletion("mesh/silent", messages, stream=True)
    assert [chunk async for chunk in stream]

    assert ["stream_options" in sent.json for sent in world.provider.requests] == [False, False]
    assert [fact.outcome for fact in world.recorder.facts] == ["ok", "ok"]


async def test_litellms_own_address_is_no_way_out_for_a_providers_credential(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "api_base", world.provider.base_url)

    with pytest.raises(ConfigError, match=r"litellm\.api_base"):
        litellm.completion("mesh/anywhere", messages)
    with pytest.raises(ConfigError, match=r"litellm\.api_base"):
        await litellm.acompletion("mesh/anywhere", messages)

    assert world.provider.count == 0

"""Providers of kind ``litellm`` from the direct caller and LangChain: our replies and limits, their reach.

The stand-in is reached by litellm's own route to OpenAI-compatible servers, ``openai/<model>``.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

import pytest

from mesh_plugins import ConfigError, ProviderError, QuotaExceeded, senders
from mesh_plugins.http.reply import Reply
from mesh_plugins.senders import SenderByKind
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.snapshot import Alias, LimitRule, Provider, SnapshotDocument, Subject, Target, Team

ASK = [{"role": "user", "content": "hello there"}]


def over(provider: StandInProvider, *, limit: str | None = None, **target: Any) -> MemoryMesh:
    """A mesh whose alias ``any`` is at a provider of kind litellm."""
    rules = []
    if limit is not None:
        dimension, parsed = parse_limit(limit)
        rules = [
            LimitRule(
                id="l",
                subject=Subject(team="team"),
                dimension=dimension,
                limit=parsed,
                text=limit,
                label="team",
            )
        ]
    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(
                id="p", name="vendor", kind="litellm", base_url=provider.base_url, secret="env:VENDOR_KEY"
            ),
        ),
        aliases=(
            Alias(
                id="a",
                name="any",
                operations=("chat", "embeddings", "responses", "text_completion"),
                targets=(Target(id="t", provider="p", model="openai/gpt-x", **target),),
            ),
        ),
        limits=tuple(rules),
    )
    return MemoryMesh(document=document, sender=SenderByKind())


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, litellm: Any) -> None:
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-vendor")


@pytest.fixture
def mesh(provider: StandInProvider) -> MemoryMesh:
    return over(provider)


def test_a_chat_comes_back_as_ours_with_the_vendors_usage(mesh, provider):
    reply = mesh.chat("any", ASK, max_tokens=20)
    assert isinstance(reply, Reply)
    assert reply.choices[0].message.content == "stand-in gpt-x: hello there"
    assert (reply.usage.total_tokens, reply.mesh.target) == (6, "vendor/openai/gpt-x")
    [sent] = provider.requests
    assert sent.headers["authorization"] == "Bearer sk-of-the-vendor"
    assert (sent.json["model"], sent.json["max_tokens"]) == ("gpt-x", 20)
    [fact] = mesh.facts
    assert (fact.outcome, fact.input_tokens, fact.output_tokens, fact.host) == ("ok", 2, 4, "direct")


async def test_the_other_colour_does_the_same(mesh):
    reply = await mesh.achat("any", ASK)
    assert isinstance(reply, Reply)
    assert reply.choices[0].message.content == "stand-in gpt-x: hello there"
    assert mesh.facts[-1].output_tokens == 4


def test_a_stream_is_read_and_settled(mesh):
    with mesh.stream("any", ASK) as stream:
        chunks = list(stream)
    assert all(isinstance(chunk, Reply) for chunk in chunks)
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        == "stand-in gpt-x: hello there"
    )
    assert [(fact.outcome, fact.output_tokens, fact.estimated) for fact in mesh.facts] == [("ok", 4, False)]


async def test_an_async_stream_is_read_and_settled(mesh):
    async with await mesh.astream("any", ASK) as stream:
        words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(words) == "stand-in gpt-x: hello there"
    assert [(fact.outcome, fact.output_tokens) for fact in mesh.facts] == [("ok", 4)]


async def test_a_stream_that_is_left_settles_and_closes(mesh, provider):
    provider.script("gpt-x", chunk_delay_s=5.0)
    async with await mesh.astream("any", ASK) as stream:
        async for _ in stream:
            break
    with mesh.stream("any", ASK) as stream:
        next(stream)
    assert [fact.outcome for fact in mesh.facts] == ["abandoned", "abandoned"]
    assert not mesh.memory.open_intents
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.aborted == 2)


async def test_embeddings_and_responses_go_through_too(mesh):
    assert len(mesh.embed("any", ["a", "b"]).data) == 2
    assert len((await mesh.aembed("any", "a")).data) == 1
    assert "hello there" in mesh.responses("any", "hello there").output_text
    assert "hello there" in (await mesh.aresponses("any", "hello there")).output_text
    assert [fact.operation for fact in mesh.facts] == ["embeddings", "embeddings", "responses", "responses"]


async def test_a_refused_call_reaches_no_provider(provider):
    mesh = over(provider, limit="1 requests/hour")
    mesh.chat("any", ASK)
    for ask in (mesh.chat, mesh.stream):
        with pytest.raises(QuotaExceeded):
            ask("any", ASK)
    for aask in (mesh.achat, mesh.astream):
        with pytest.raises(QuotaExceeded):
            await aask("any", ASK)
    assert provider.count == 1


async def test_callers_choose_no_address_and_no_credential(mesh, provider):
    with StandInProvider() as elsewhere:
        there = {"api_base": elsewhere.base_url, "base_url": elsewhere.base_url, "api_key": "sk-mine"}
        mesh.chat("any", ASK, **there)
        await mesh.achat("any", ASK, **there)
        with pytest.raises(ConfigError, match="nonsense"):
            mesh.chat("any", ASK, aws_bedrock_runtime_endpoint=elsewhere.base_url, nonsense=1)
        assert elsewhere.count == 0
    assert {sent.headers["authorization"] for sent in provider.requests} == {"Bearer sk-of-the-vendor"}
    assert not mesh.memory.open_intents


def test_the_operators_parameters_are_sent_whatever_they_are_called(provider):
    mesh = over(provider, params={"top_p": 0.5, "extra_body": {"vendor_word": 7}})
    mesh.chat("any", ASK, top_p=0.9)
    assert (provider.requests[-1].json["top_p"], provider.requests[-1].json["vendor_word"]) == (0.5, 7)


async def test_a_failing_vendor_is_a_provider_error(mesh, provider):
    provider.script("gpt-x", status=400, error="no such thing")
    with pytest.raises(ProviderError) as caught:
        mesh.chat("any", ASK)
    assert (caught.value.status, caught.value.provider) == (400, "vendor")
    with pytest.raises(ProviderError):
        await mesh.achat("any", ASK)
    assert [fact.outcome for fact in mesh.facts] == ["error", "error"]


async def test_it_is_retried_by_us_alone(mesh, provider):
    provider.script("gpt-x", status=503, times=1)
    assert mesh.chat("any", ASK).mesh.attempts == 2
    assert provider.count == 2


def test_under_install_it_is_charged_once(mesh, litellm):
    from mesh_plugins.hosts.litellm import install, uninstall

    install(mesh)
    try:
        mesh.chat("any", ASK)
        litellm.completion(model="mesh/any", messages=ASK, api_key=mesh.key_text)
    finally:
        uninstall()
    assert [fact.host for fact in mesh.facts] == ["direct", "litellm"]


async def test_langchain_reaches_it(mesh):
    chat = pytest.importorskip("mesh_plugins.hosts.langchain.chat")
    model = chat.ChatMesh(model="any", mesh=mesh)
    assert model.invoke("hello there").text == "stand-in gpt-x: hello there"
    assert (await model.ainvoke("hello there")).usage_metadata["output_tokens"] == 4
    assert "".join(chunk.text for chunk in model.stream("hello there")) == "stand-in gpt-x: hello there"


def test_without_the_extra_the_error_names_it(mesh, monkeypatch):
    monkeypatch.setattr(senders, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"vendor.*mesh-plugins\[litellm\]"):
        mesh.chat("any", ASK)
    assert importlib.util.find_spec("litellm") is not None
    assert not mesh.memory.open_intents

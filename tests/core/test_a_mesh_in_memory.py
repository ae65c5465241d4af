"""What people test their own code with: the same core and arithmetic, without engines."""

from __future__ import annotations

import threading

import pytest

from mesh_plugins import ProviderError, QuotaExceeded
from mesh_plugins.testing.memory import MemoryMesh

ASK = [{"role": "user", "content": "hi"}]


def test_answers_and_keeps_facts():
    mesh = MemoryMesh(answer="forty two")
    assert mesh.chat("fast", ASK).choices[0].message.content == "forty two"
    assert [(fact.outcome, fact.output_tokens) for fact in mesh.facts] == [("ok", 2)]
    assert not mesh.memory.open_intents


def test_refuses_like_the_real_one_and_refills_on_its_clock():
    now = [0]
    mesh = MemoryMesh(limits=["6 requests/min, burst 2"], now_us=lambda: now[0])
    mesh.chat("fast", ASK)
    mesh.chat("fast", ASK)
    with pytest.raises(QuotaExceeded) as caught:
        mesh.chat("fast", ASK)
    assert caught.value.retry_after == 10.0
    now[0] += 10_000_000
    mesh._engine.denials._refused.clear()  # the refusal is remembered on the wall clock, not on ours
    mesh.chat("fast", ASK)


def test_streams_and_embeds():
    mesh = MemoryMesh(answer="one two three")
    assert len(list(mesh.stream("fast", ASK))) == 4
    assert len(mesh.embed("fast", ["a", "b"]).data) == 2


def test_misbehaves_on_demand():
    error = ProviderError("down", provider="memory", model="m", status=400)
    mesh = MemoryMesh(answer=error)
    with pytest.raises(ProviderError):
        mesh.chat("fast", ASK)
    mesh.sender.answer = lambda call: f"asked for {call.target.model}"
    assert mesh.chat("fast", ASK).choices[0].message.content == "asked for fast-model"


async def test_both_colours():
    mesh = MemoryMesh(limits=["100 requests/min"])
    assert (await mesh.achat("fast", ASK)).usage.total_tokens > 0
    assert [chunk async for chunk in await mesh.astream("fast", ASK)]


def test_a_stream_collected_while_the_limiter_decides_settles_without_waiting_for_itself():
    streams = []

    def now():
        streams.clear()
        return 0

    mesh = MemoryMesh(limits=["100 requests/min"], now_us=now)
    streams.append(mesh.stream("fast", [{"role": "user", "content": "hi"}]))
    thread = threading.Thread(
        target=mesh.chat, args=("fast", [{"role": "user", "content": "hi"}]), daemon=True
    )
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert [fact.outcome for fact in mesh.facts] == ["abandoned", "ok"]

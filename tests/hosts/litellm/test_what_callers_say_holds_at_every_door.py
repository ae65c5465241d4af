"""The caller's callbacks, labels, key and ``drop_params``, at every door, colour and stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mesh_store.model.errors import ConfigError, InvalidKey

#: Where a door keeps the caller's own labels; ``metadata`` of these goes to the provider.
_THEIRS = ("responses", "anthropic")
_ASK = [{"role": "user", "content": "hello there"}]
CALLS = {
    "completion": lambda x, k: x.completion("mesh/fast", _ASK, **k),
    "completion stream": lambda x, k: list(x.completion("mesh/fast", _ASK, stream=True, **k)),
    "embedding": lambda x, k: x.embedding("mesh/fast", "hello", **k),
}
ACALLS = {
    "acompletion": lambda x, k: x.acompletion("mesh/fast", _ASK, **k),
    "acompletion stream": lambda x, k: _read(x.acompletion("mesh/fast", _ASK, stream=True, **k)),
    "aembedding": lambda x, k: x.aembedding("mesh/fast", "hello", **k),
}


async def _read(stream: Any) -> list[Any]:
    return [chunk async for chunk in await stream]


def _bucket(way: Any) -> str:
    return "litellm_metadata" if any(name in way.name for name in _THEIRS) else "metadata"


@dataclass
class Told:
    """What plain functions in litellm's lists were told, as (list, keywords)."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, kind: str, kwargs: dict[str, Any]) -> None:
        with self.changed:
            self.events.append((kind, dict(kwargs)))
            self.changed.notify_all()

    def answered(self, kwargs: dict[str, Any], *_: Any) -> None:
        """litellm tells sync calls to these; of a stream each chunk, and at last the whole."""
        whole = {"complete_streaming_response", "async_complete_streaming_response"}
        if not kwargs.get("stream") or whole & kwargs.keys():
            self.note("success", kwargs)

    async def aanswered(self, kwargs: dict[str, Any], *_: Any) -> None:
        """litellm tells async calls to these."""
        self.answered(kwargs)

    def wait_for(self, kind: str, count: int = 1) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.kinds().count(kind) >= count, timeout=60)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


@pytest.fixture
def told(litellm: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Functions of the caller's own, in litellm's lists."""
    ears = Told()
    monkeypatch.setattr(litellm, "input_callback", [lambda kwargs: ears.note("input", kwargs)])
    monkeypatch.setattr(litellm, "success_callback", [ears.answered, ears.aanswered])
    monkeypatch.setattr(litellm, "failure_callback", [lambda kwargs, *_: ears.note("failure", kwargs)])
    yield ears
    for name in ("_async_success_callback", "_async_failure_callback", "_async_input_callback"):
        getattr(litellm, name).clear()


@pytest.fixture
def priced(litellm: Any) -> Iterator[None]:
    """litellm knows the price of the stand-in's model, and that it streams."""
    price = {"input_cost_per_token": 3e-6, "output_cost_per_token": 7e-6}
    litellm.register_model({"small": {"litellm_provider": "openai", "mode": "chat", **price}})
    yield
    litellm.model_cost.pop("small", None)
    litellm.get_model_info.cache_clear() if hasattr(litellm.get_model_info, "cache_clear") else None


@pytest.mark.parametrize("name", [*CALLS, *ACALLS])
async def test_functions_are_told_once_with_the_true_model_usage_and_cost(
    name: str, litellm: Any, world: Any, told: Told, priced: None
) -> None:
    labels = {"metadata": {"label": "mine"}}
    if name in CALLS:
        CALLS[name](litellm, labels)
    else:
        await ACALLS[name](litellm, labels)
    assert await asyncio.to_thread(told.wait_for, "success")
    await litellm.acompletion("mesh/fast", _ASK)
    litellm.completion("mesh/fast", _ASK)
    # Whatever was queued behind the first has been told by then.
    assert await asyncio.to_thread(told.wait_for, "success", 3)

    mine = [
        (kind, event)
        for kind, event in told.events
        if (event["litellm_params"].get("metadata") or {}).get("label") == "mine"
    ]
    assert sorted(kind for kind, _ in mine) == ["input", "success"]
    [event] = [event for kind, event in mine if kind == "success"]
    fact = world.recorder.facts[0]
    assert (event["model"], event["custom_llm_provider"]) == ("small", "openai")
    cost = 3e-6 * fact.input_tokens + 7e-6 * fact.output_tokens
    assert event["response_cost"] == pytest.approx(cost)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_failure_is_told_to_functions_once(
    is_async: bool, litellm: Any, world: Any, told: Told, messages: Any
) -> None:
    world.provider.script("small", status=400)
    with pytest.raises(litellm.BadRequestError):
        if is_async:
            await litellm.acompletion("mesh/fast", messages)
        else:
            litellm.completion("mesh/fast", messages)

    assert await asyncio.to_thread(told.wait_for, "failure")
    assert sorted(told.kinds()) == ["failure", "input"]


async def test_labels_reach_the_fact_and_never_say_who_calls(way: Any, litellm: Any, world: Any) -> None:
    claims = {
        "user_api_key_team_id": "t2",
        "user_api_key_user_id": "boss",
        "user_api_key": "mk_x",
        "team": "t2",
    }
    labels = {"tags": ["nightly"], "session_id": "s-1", **claims}

    await way(litellm, "fast", **{_bucket(way): labels})

    fact = world.recorder.fact
    assert (fact.tags, fact.session) == ({"nightly": ""}, "s-1")
    assert (fact.team_id, fact.user_id, fact.key_id) == ("t1", None, "litellm1")


@pytest.mark.parametrize("place", ["api_key", "labels"])
async def test_the_key_a_call_brings_is_the_one_that_counts(
    place: str, way: Any, litellm: Any, world: Any, revoked_key: str
) -> None:
    brought = {"api_key": revoked_key} if place == "api_key" else {_bucket(way): {"mesh_key": revoked_key}}

    with pytest.raises(InvalidKey) as refused:
        await way(litellm, "fast", **brought)

    assert isinstance(refused.value, litellm.AuthenticationError)
    assert world.provider.count == 0


async def test_what_nobody_knows_is_refused_by_name_or_dropped_when_asked_for(
    way: Any, litellm: Any, world: Any
) -> None:
    with pytest.raises(ConfigError, match="frobnicate"):
        await way(litellm, "fast", frobnicate=1)
    assert world.provider.count == 0

    await way(litellm, "fast", frobnicate=1, drop_params=True)

    assert "frobnicate" not in world.sent.json

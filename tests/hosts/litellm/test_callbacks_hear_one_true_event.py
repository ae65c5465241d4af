from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def streaming_responses(litellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model it does not know, litellm makes streams up, of which litellm 1.83 tells no callback."""
    known = {"litellm_provider": "openai", "supports_native_streaming": True}
    monkeypatch.setitem(litellm.model_cost, "small", known)


#: Governed or not: a sync responses stream tells both halves of a callback (litellm's issue 14340), and
#: text_completion races with the completion it calls (223 events of 200 ungoverned calls).
_TOLD_TWICE_BY_LITELLM = {"responses stream", "text_completion", "text_completion positional"}


async def _only_event(litellm: Any, heard: Any, label: str, most: int = 1) -> tuple[str, dict[str, Any]]:
    """Return the one event of a call; whatever litellm had queued behind it has been told by then."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    assert await heard.until(label)
    await GLOBAL_LOGGING_WORKER.flush()
    marker = {"mock_response": "x", "metadata": {"label": "marker"}}
    litellm.completion("openai/x", [{"role": "user", "content": "x"}], **marker)
    assert await heard.until("marker")
    event, *again = heard.of(label)
    assert len(again) < most
    return event  # type: ignore[no-any-return]


async def test_one_event_with_the_true_model_provider_and_usage(
    way: Any, litellm: Any, world: Any, heard: Any
) -> None:
    bucket = "litellm_metadata" if "responses" in way.name or "anthropic" in way.name else "metadata"

    await way(litellm, "fast", **{bucket: {"label": way.name, "of": "the caller"}})

    most = 2 if way.name in _TOLD_TWICE_BY_LITELLM else 1
    kind, told = await _only_event(litellm, heard, way.name, most)
    payload = told["standard_logging_object"]
    assert kind == "success"
    assert told["model"] == "small"
    assert payload["custom_llm_provider"] in ("openai", "text-completion-openai")
    fact = world.recorder.fact
    assert payload["total_tokens"] == fact.input_tokens + fact.output_tokens


async def test_a_failure_is_told_once(litellm: Any, world: Any, heard: Any, messages: Any) -> None:
    world.provider.script("small", status=400)
    labelled = {"metadata": {"label": "failing"}}

    with pytest.raises(litellm.BadRequestError):
        litellm.completion("mesh/fast", messages, **labelled)

    kind, _ = await _only_event(litellm, heard, "failing")
    assert kind == "failure"


async def test_a_refusal_is_told_to_nobody(litellm: Any, world: Any, heard: Any, messages: Any) -> None:
    world.limiter.refuses = True

    with pytest.raises(litellm.RateLimitError):
        litellm.completion("mesh/fast", messages, metadata={"label": "refused"})
    with pytest.raises(litellm.RateLimitError):
        await litellm.acompletion("mesh/fast", messages, metadata={"label": "refused"})
    world.limiter.refuses = False
    litellm.completion("mesh/claude", messages, metadata={"label": "later"})

    await _only_event(litellm, heard, "later")
    assert heard.of("refused") == []


async def test_the_callers_metadata_is_not_changed(litellm: Any, world: Any, messages: Any, key: str) -> None:
    labels = {"mesh_key": key, "tags": ["a"]}

    await litellm.acompletion("mesh/fast", messages, metadata=labels)

    assert labels["mesh_key"] == key

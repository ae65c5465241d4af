"""The ways through the doors of litellm that Mesh governs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """One way through one door, as anything a test may call."""

    name: str
    call: Callable[[Any, str, dict[str, Any]], Any]

    async def __call__(self, litellm: Any, alias: str, **more: Any) -> Any:
        """Call it, and read a stream to its end."""
        answer = self.call(litellm, f"mesh/{alias}", more)
        answer = await answer if isinstance(answer, Awaitable) else answer
        if hasattr(answer, "__anext__") and not hasattr(answer, "__next__"):
            return [chunk async for chunk in answer]
        return list(answer) if hasattr(answer, "__next__") else answer


_MESSAGES = [{"role": "user", "content": "hello there"}]


_STREAM = {"stream": True}


WAYS = [
    Way("completion", lambda x, m, k: x.completion(model=m, messages=_MESSAGES, **k)),
    Way("completion positional", lambda x, m, k: x.completion(m, _MESSAGES, **k)),
    Way("completion stream", lambda x, m, k: x.completion(m, _MESSAGES, **_STREAM, **k)),
    Way("acompletion", lambda x, m, k: x.acompletion(model=m, messages=_MESSAGES, **k)),
    Way("acompletion positional", lambda x, m, k: x.acompletion(m, _MESSAGES, **k)),
    Way("acompletion stream", lambda x, m, k: x.acompletion(m, _MESSAGES, **_STREAM, **k)),
    Way("completion from main", lambda x, m, k: x.main.completion(m, _MESSAGES, **k)),
    Way("acompletion from main", lambda x, m, k: x.main.acompletion(m, _MESSAGES, **k)),
    Way(
        "completion with retries", lambda x, m, k: x.completion_with_retries(model=m, messages=_MESSAGES, **k)
    ),
    Way("embedding", lambda x, m, k: x.embedding(model=m, input=["hello", "there"], **k)),
    Way("embedding positional", lambda x, m, k: x.embedding(m, "hello", **k)),
    Way("aembedding", lambda x, m, k: x.aembedding(model=m, input=["hello"], **k)),
    Way("aembedding positional", lambda x, m, k: x.aembedding(m, ["hello"], **k)),
    Way("text_completion", lambda x, m, k: x.text_completion(prompt="hello", model=m, **k)),
    Way("text_completion positional", lambda x, m, k: x.text_completion("hello", m, **k)),
    Way("text_completion stream", lambda x, m, k: x.text_completion("hello", m, **_STREAM, **k)),
    Way("atext_completion", lambda x, m, k: x.atext_completion(prompt="hello", model=m, **k)),
    Way("atext_completion stream", lambda x, m, k: x.atext_completion("hello", m, **_STREAM, **k)),
    Way("responses", lambda x, m, k: x.responses(input="hello", model=m, **k)),
    Way("responses positional", lambda x, m, k: x.responses("hello", m, **k)),
    Way("responses stream", lambda x, m, k: x.responses("hello", m, **_STREAM, **k)),
    Way("aresponses", lambda x, m, k: x.aresponses(input="hello", model=m, **k)),
    Way("aresponses stream", lambda x, m, k: x.aresponses("hello", m, **_STREAM, **k)),
    Way(
        "anthropic_messages",
        lambda x, m, k: x.anthropic_messages(max_tokens=20, messages=_MESSAGES, model=m, **k),
    ),
]

"""OpenAI's chat completions, text completions, embeddings and models, as the stand-in answers them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec

from mesh_plugins.testing.standin import words
from mesh_plugins.testing.standin.script import Script

_encode = msgspec.json.encode
CREATED = 1_700_000_000


def with_script(truth: dict[str, Any], script: Script) -> dict[str, Any] | None:
    """Return the usage to tell: the truth, nothing, or a lie laid over it."""
    if script.usage is True:
        return truth
    return None if script.usage is None else {**truth, **script.usage}


def sse(value: Any) -> bytes:
    """Encode one event."""
    return b"data: %b\n\n" % _encode(value)


def chat(body: dict[str, Any], number: int, script: Script) -> bytes | list[bytes]:
    """Answer a chat completion."""
    messages = body.get("messages") or []
    text = words.last_user_text(messages)
    tool = _tool(body, messages, text)
    content, finish = _content(body, text, script)
    truth = {"prompt_tokens": words.count_messages(messages), "completion_tokens": words.count(content)}
    if tool:
        content, finish = "", "tool_calls"
        truth["completion_tokens"] = max(1, words.count(tool[1]))
    truth["completion_tokens"] *= body.get("n") or 1
    truth["total_tokens"] = truth["prompt_tokens"] + truth["completion_tokens"]
    usage = with_script(truth, script)
    head = {
        "id": f"chatcmpl-{number}",
        "created": CREATED,
        "model": body.get("model", ""),
        "system_fingerprint": "fp_stand_in",
    }
    if body.get("stream"):
        return _chat_events(body, head, content, finish, tool, usage, script)
    message: dict[str, Any] = {"role": "assistant", "content": content + " " * script.pad, "refusal": None}
    if tool:
        message |= {"content": None, "tool_calls": [_tool_call(tool, number)]}
    choice = {"index": 0, "message": message, "logprobs": _logprobs(body, content), "finish_reason": finish}
    if not script.finish:
        choice["finish_reason"] = None
    choices = [choice | {"index": index} for index in range(body.get("n") or 1)]
    reply = head | {"object": "chat.completion", "choices": choices}
    return _encode(reply if usage is None else reply | {"usage": usage})


def _chat_events(
    body: dict[str, Any],
    head: dict[str, Any],
    content: str,
    finish: str,
    tool: tuple[str, str] | None,
    usage: dict[str, Any] | None,
    script: Script,
) -> list[bytes]:
    head = head | {"object": "chat.completion.chunk"}
    count_asked = (body.get("stream_options") or {}).get("include_usage")
    if count_asked:
        head["usage"] = None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if tool else ""}]
    if tool:
        call = {"index": 0} | _tool_call((tool[0], ""), 0)
        deltas += [{"tool_calls": [call]}]
        half = len(tool[1]) // 2
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
            for part in (tool[1][:half], tool[1][half:])
        ]
    else:
        deltas += [{"content": piece} for piece in words.pieces(content)]
    steps: list[tuple[dict[str, Any], str | None]] = [(delta, None) for delta in deltas]
    steps += [({}, finish)] if script.finish else []
    indexes = range(body.get("n") or 1)
    events = [
        sse(head | {"choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": why}]})
        for delta, why in steps
        for index in indexes
    ]
    if count_asked and usage is not None:
        events.append(sse(head | {"choices": [], "usage": usage}))
    return [*events, b"data: [DONE]\n\n"] if script.finish else events


def completion(body: dict[str, Any], number: int, script: Script) -> bytes | list[bytes]:
    """Answer a text completion."""
    prompt = words.text_of(body.get("prompt"))
    text, finish = words.bounded(
        script.content or f"stand-in {body.get('model')}: {prompt}", body.get("max_tokens"), body.get("stop")
    )
    truth = {"prompt_tokens": max(1, words.count(prompt)), "completion_tokens": words.count(text)}
    truth["total_tokens"] = truth["prompt_tokens"] + truth["completion_tokens"]
    usage = with_script(truth, script)
    head = {
        "id": f"cmpl-{number}",
        "object": "text_completion",
        "created": CREATED,
        "model": body.get("model", ""),
    }
    if not body.get("stream"):
        reply = head | {"choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]}
        return _encode(reply if usage is None else reply | {"usage": usage})
    steps: list[tuple[str, str | None]] = [(piece, None) for piece in words.pieces(text)]
    steps += [("", finish)] if script.finish else []
    events = [
        sse(head | {"choices": [{"text": piece, "index": 0, "logprobs": None, "finish_reason": why}]})
        for piece, why in steps
    ]
    if (body.get("stream_options") or {}).get("include_usage") and usage is not None:
        events.append(sse(head | {"choices": [], "usage": usage}))
    return [*events, b"data: [DONE]\n\n"] if script.finish else events


def embeddings(body: dict[str, Any], script: Script) -> bytes:
    """Answer embeddings."""
    given = body.get("input", "")
    texts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    tokens = sum(words.count(text) if isinstance(text, str) else len(text) for text in texts)
    vectors = [words.vector(str(text), body.get("dimensions") or 8) for text in texts]
    data: list[Any] = vectors
    if body.get("encoding_format") == "base64":
        data = [base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() for row in vectors]
    items = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(data)]
    usage = with_script({"prompt_tokens": max(1, tokens), "total_tokens": max(1, tokens)}, script)
    reply = {"object": "list", "data": items, "model": body.get("model", "")}
    return _encode(reply if usage is None else reply | {"usage": usage})


def models() -> bytes:
    """List what can be asked for: anything can, these are the names."""
    names = ("stand-in", "stand-in-mini", "stand-in-embed")
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "stand-in"} for name in names]
    return _encode({"object": "list", "data": data})


def _content(body: dict[str, Any], text: str, script: Script) -> tuple[str, str]:
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return _encode(words.minimal(shape["json_schema"].get("schema", {}), text)).decode(), "stop"
    if shape.get("type") == "json_object":
        return _encode({"answer": text}).decode(), "stop"
    said = f"stand-in {body.get('model')}: {text}" if script.content is None else script.content
    return words.bounded(said, body.get("max_completion_tokens") or body.get("max_tokens"), body.get("stop"))


def _tool(body: dict[str, Any], messages: list[dict[str, Any]], text: str) -> tuple[str, str] | None:
    tools = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    if not tools or (messages and messages[-1].get("role") == "tool"):
        return None
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        choice = choice.get("function", {}).get("name")
    wanted = words.wanted_tool([(tool["name"], tool.get("parameters") or {}) for tool in tools], choice, text)
    return (wanted[0], _encode(wanted[1]).decode()) if wanted else None


def _tool_call(tool: tuple[str, str], number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": tool[0], "arguments": tool[1]}}


def _logprobs(body: dict[str, Any], content: str) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    tokens = [
        {"token": piece, "logprob": -0.1, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in words.pieces(content)
    ]
    return {"content": tokens, "refusal": None}

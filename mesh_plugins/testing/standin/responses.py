"""OpenAI's responses, as the stand-in answers them."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh_plugins.testing.standin import words
from mesh_plugins.testing.standin.openai import CREATED, with_script
from mesh_plugins.testing.standin.script import Script

_encode = msgspec.json.encode


def responses(body: dict[str, Any], number: int, script: Script) -> bytes | list[bytes]:
    """Answer a response."""
    given = body.get("input", "")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    text = words.last_user_text(messages)
    content, finish = _content(body, text, script)
    asked, said = words.count_messages(messages), words.count(content)
    truth = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + said,
    }
    status = "incomplete" if finish == "length" else "completed"
    item = _item(body, messages, text, content, number)
    reply = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if finish == "length" else None,
        "model": body.get("model", ""),
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "usage": with_script(truth, script),
    }
    return _events(reply, item, script) if body.get("stream") else _encode(reply)


def _content(body: dict[str, Any], text: str, script: Script) -> tuple[str, str]:
    shape = (body.get("text") or {}).get("format") or {}
    if shape.get("type") == "json_schema":
        return _encode(words.minimal(shape.get("schema", {}), text)).decode(), "stop"
    said = f"stand-in {body.get('model')}: {text}" if script.content is None else script.content
    return words.bounded(said, body.get("max_output_tokens"), None)


def _item(
    body: dict[str, Any], messages: list[dict[str, Any]], text: str, content: str, number: int
) -> dict[str, Any]:
    tools = [
        (tool["name"], tool.get("parameters") or {}) for tool in body.get("tools") or () if "name" in tool
    ]
    choice = body.get("tool_choice")
    choice = choice.get("name") if isinstance(choice, dict) else choice
    answered = bool(messages) and messages[-1].get("type") == "function_call_output"
    wanted = None if answered else words.wanted_tool(tools, choice, text)
    if wanted:
        arguments = _encode(wanted[1]).decode()
        return {
            "id": f"fc_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{number}",
            "name": wanted[0],
            "arguments": arguments,
        }
    part = {"type": "output_text", "text": content, "annotations": []}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _events(reply: dict[str, Any], item: dict[str, Any], script: Script) -> list[bytes]:
    running = reply | {"status": "in_progress", "output": [], "usage": None}
    at = {"item_id": item["id"], "output_index": 0}
    steps: list[dict[str, Any]] = [
        {"type": "response.created", "response": running},
        {"type": "response.in_progress", "response": running},
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"status": "in_progress"}},
    ]
    if item["type"] == "function_call":
        steps.append({"type": "response.function_call_arguments.delta", "delta": item["arguments"]} | at)
        steps.append({"type": "response.function_call_arguments.done", "arguments": item["arguments"]} | at)
    else:
        part = item["content"][0]
        at = at | {"content_index": 0}
        steps.append({"type": "response.content_part.added", "part": part | {"text": ""}} | at)
        steps += [
            {"type": "response.output_text.delta", "delta": piece} | at
            for piece in words.pieces(part["text"])
        ]
        steps.append({"type": "response.output_text.done", "text": part["text"]} | at)
        steps.append({"type": "response.content_part.done", "part": part} | at)
    steps.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    if script.finish:
        steps.append({"type": f"response.{reply['status']}", "response": reply})
    return [
        b"event: %b\ndata: %b\n\n" % (step["type"].encode(), _encode(step | {"sequence_number": index}))
        for index, step in enumerate(steps)
    ]

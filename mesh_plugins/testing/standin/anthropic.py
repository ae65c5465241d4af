"""Anthropic's messages, as the stand-in answers them."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh_plugins.testing.standin import words
from mesh_plugins.testing.standin.openai import with_script
from mesh_plugins.testing.standin.script import Script

_encode = msgspec.json.encode


def messages(body: dict[str, Any], number: int, script: Script, cached: set[str]) -> bytes | list[bytes]:
    """Answer messages; ``cached`` remembers texts that were marked with ``cache_control``."""
    asked = body.get("messages") or []
    text = words.last_user_text(asked)
    blocks, reason = _blocks(body, asked, text, number, script)
    reply: dict[str, Any] = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": blocks,
        "stop_reason": reason if script.finish else None,
        "stop_sequence": None,
    }
    usage = with_script(_usage(body, asked, blocks, cached), script)
    if usage is not None:
        reply["usage"] = usage
    return _events(reply, usage, script) if body.get("stream") else _encode(reply)


def count_tokens(body: dict[str, Any]) -> bytes:
    """Count what messages would take in."""
    return _encode({"input_tokens": words.count_messages(body.get("messages") or [])})


def _blocks(
    body: dict[str, Any], asked: list[dict[str, Any]], text: str, number: int, script: Script
) -> tuple[list[dict[str, Any]], str]:
    blocks: list[dict[str, Any]] = []
    if (body.get("thinking") or {}).get("type") == "enabled":
        blocks.append(
            {"type": "thinking", "thinking": f"thinking about: {text}", "signature": "c2lnbmF0dXJl"}
        )
    tools = [(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or ()]
    wanted = None if _is_tool_result(asked) else words.wanted_tool(tools, _choice(body), text)
    if wanted:
        blocks.append({"type": "tool_use", "id": f"toolu_{number}", "name": wanted[0], "input": wanted[1]})
        return blocks, "tool_use"
    said = f"stand-in {body.get('model')}: {text}" if script.content is None else script.content
    content, finish = words.bounded(said, body.get("max_tokens"), None)
    reason = "max_tokens" if finish == "length" else "end_turn"
    for mark in body.get("stop_sequences") or ():
        if mark in content:
            content, reason = content.partition(mark)[0], "stop_sequence"
    blocks.append({"type": "text", "text": content + " " * script.pad})
    return blocks, reason


def _choice(body: dict[str, Any]) -> str | None:
    choice = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    return {"any": "required", "tool": choice.get("name"), "none": "none"}.get(kind)


def _is_tool_result(asked: list[dict[str, Any]]) -> bool:
    content = asked[-1].get("content") if asked else None
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _usage(
    body: dict[str, Any], asked: list[dict[str, Any]], blocks: list[dict[str, Any]], cached: set[str]
) -> dict[str, int]:
    system = body.get("system") or ""
    parts = [part for part in system if isinstance(part, dict)] if isinstance(system, list) else []
    for message in asked:
        content = message.get("content")
        parts += [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    read = write = 0
    for part in parts:
        if "cache_control" in part:
            text = words.text_of([part])
            read, write = (
                (read + words.count(text), write) if text in cached else (read, write + words.count(text))
            )
            cached.add(text)
    total = words.count_messages(asked) + words.count(words.text_of(system))
    said = " ".join(str(block.get("text") or block.get("thinking") or block.get("input")) for block in blocks)
    return {
        "input_tokens": total - read - write,
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": max(1, words.count(said)),
    }


def _events(reply: dict[str, Any], usage: dict[str, Any] | None, script: Script) -> list[bytes]:
    start = reply | {"content": [], "stop_reason": None}
    if usage is not None:
        start["usage"] = usage | {"output_tokens": 1}
    steps: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(reply["content"]):
        empty, deltas = _block_deltas(block)
        steps.append({"type": "content_block_start", "index": index, "content_block": empty})
        steps += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        steps.append({"type": "content_block_stop", "index": index})
    if script.finish:
        end: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": reply["stop_reason"], "stop_sequence": None},
        }
        if usage is not None:
            end["usage"] = {"output_tokens": usage["output_tokens"]}
        steps += [end, {"type": "message_stop"}]
    return [b"event: %b\ndata: %b\n\n" % (step["type"].encode(), _encode(step)) for step in steps]


def _block_deltas(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return block | {"text": ""}, [
            {"type": "text_delta", "text": piece} for piece in words.pieces(block["text"])
        ]
    if block["type"] == "thinking":
        deltas: list[dict[str, Any]] = [
            {"type": "thinking_delta", "thinking": piece} for piece in words.pieces(block["thinking"])
        ]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return block | {"thinking": "", "signature": ""}, deltas
    whole = _encode(block["input"]).decode()
    half = len(whole) // 2
    parts = ("", whole[:half], whole[half:])
    return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]

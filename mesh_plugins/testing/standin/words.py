"""What the stand-in says: the same for the same request, on every machine."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import Any

import msgspec

_WORD = re.compile(r"\S+\s*|\s+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"|“([^”]+)”")


def text_of(content: Any) -> str:
    """Return the text of a message's content, whatever its form."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [
        part if isinstance(part, str) else part.get("text") or part.get("content") or "" for part in content
    ]
    return " ".join(text_of(part) for part in parts if part)


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """Return what the user said last, or ""."""
    for message in reversed(messages):
        if message.get("role") == "user" and (text := text_of(message.get("content"))):
            return text
    return ""


def count(text: str) -> int:
    """Count tokens: whitespace words."""
    return len(text.split())


def count_messages(messages: list[dict[str, Any]]) -> int:
    """Count the tokens of messages, at least 1."""
    return max(1, sum(count(text_of(message.get("content"))) for message in messages))


def pieces(text: str) -> list[str]:
    """Cut text into words with the space behind them; together they are the text."""
    return _WORD.findall(text)


def bounded(text: str, max_tokens: int | None, stop: Any) -> tuple[str, str]:
    """Cut text at a stop sequence or after so many words; also say why it ended."""
    reason = "stop"
    for mark in [stop] if isinstance(stop, str) else stop or ():
        text = text.partition(mark)[0]
    words = pieces(text)
    if max_tokens is not None and len(words) > max_tokens:
        text, reason = "".join(words[:max_tokens]).rstrip(), "length"
    return text, reason


def vector(text: str, dimensions: int) -> list[float]:
    """Return a vector of a text, every element in [-1, 1)."""
    block = hashlib.shake_128(text.encode()).digest(2 * dimensions)
    return [int.from_bytes(block[at : at + 2], "big") / 32768 - 1 for at in range(0, len(block), 2)]


def minimal(schema: dict[str, Any], text: str, root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """Return the least value a JSON schema admits, using numbers and quoted words of the text."""
    root = schema if root is None else root
    if depth > 8:
        return None
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        named = root.get("$defs", root.get("definitions", {}))
        return minimal(named.get(name, {}), text, root, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return minimal(schema[choice][0], text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: minimal(value, text, root, depth + 1) for name, value in properties.items()}
    if kind == "array":
        return [minimal(schema.get("items", {}), text, root, depth + 1)]
    return _scalar(kind, text)


def _scalar(kind: str, text: str) -> Any:
    if kind in ("integer", "number"):
        number = _NUMBER.search(text)
        value = float(number.group()) if number else 1.0
        return int(value) if kind == "integer" else value
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    quoted = _QUOTED.search(text)
    return next((group for group in quoted.groups() if group), "text") if quoted else "text"


def wanted_tool(
    tools: list[tuple[str, dict[str, Any]]], choice: str | None, text: str
) -> tuple[str, Any] | None:
    """Choose a tool and its arguments.

    Args:
        tools: name and parameters' schema of each.
        choice: ``none``, ``required``, a tool's name, or None to decide by the text.
        text: what the user said; ``name {…}`` or ``name(…)`` gives the arguments.
    """
    if choice == "none" or not tools:
        return None
    for name, schema in tools:
        if choice == name or (choice in (None, "auto") and _mentions(text, name)):
            return name, _arguments(name, schema, text)
    if choice == "required":
        return tools[0][0], _arguments(*tools[0], text)
    return None


def _mentions(text: str, name: str) -> bool:
    low = text.lower()
    return name.lower() in low or any(len(word) >= 5 and word in low for word in name.lower().split("_"))


def _arguments(name: str, schema: dict[str, Any], text: str) -> Any:
    _, found, rest = text.partition(name)
    if found and "{" in rest:
        with suppress(msgspec.DecodeError, ValueError):  # prose with a brace in it: the schema decides
            return msgspec.json.decode(rest[rest.index("{") : rest.rindex("}") + 1])
    return minimal(schema or {"type": "object"}, rest if found else text)

"""What a caller gets: OpenAI's shape, by attribute and by key, over the parsed JSON itself.

Nothing is copied or checked when a reply is made; objects inside are wrapped when they are asked
for. A reply is a value: it is read, not written.
"""

from __future__ import annotations

import copy
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, Self

import msgspec

#: Names OpenAI's own objects always have; where a provider leaves one out it is None, not an error.
OPTIONAL = frozenset({
    "annotations", "audio", "completion_tokens_details", "content", "error", "finish_reason",
    "function_call", "incomplete_details", "input_tokens_details", "instructions", "logprobs", "metadata",
    "output_tokens_details", "previous_response_id", "prompt_tokens_details", "reasoning",
    "reasoning_content", "refusal", "role", "service_tier", "system_fingerprint", "temperature",
    "thinking_blocks", "tool_calls", "top_logprobs", "usage", "user",
})  # fmt: skip
_SHOWN = 500


class Node:
    """An object inside a reply: ``node.name`` and ``node["name"]`` are the same."""

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._data[name]
        except KeyError:
            if name in OPTIONAL:
                return None
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}; it has {', '.join(self._data)}"
            ) from None
        return _wrapped(value) if type(value) in _CONTAINERS else value

    def __getitem__(self, name: str) -> Any:
        return _wrapped(self._data[name])

    def get(self, name: str, default: Any = None) -> Any:
        """Return what is under ``name``, or ``default``."""
        return _wrapped(self._data.get(name, default))

    def keys(self) -> KeysView[str]:
        """Names of what is in it."""
        return self._data.keys()

    def values(self) -> ValuesView[Any]:
        """What is in it, as plain dicts and lists."""
        return self._data.values()

    def items(self) -> ItemsView[str, Any]:
        """Names and what is under them, as plain dicts and lists."""
        return self._data.items()

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Node):
            return self._data == other._data
        return self._data == other if isinstance(other, dict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is a dict

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._data]

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._data.items())
        shown = inside if len(inside) <= _SHOWN else inside[:_SHOWN] + "…"
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._data,)

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain dicts and lists."""
        return copy.deepcopy(self._data)

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return a copy as plain dicts and lists, as pydantic objects do; maybe without None."""
        dumped: dict[str, Any] = _without_none(self._data) if exclude_none else self.to_dict()
        return dumped

    def model_dump_json(self) -> str:
        """Return JSON."""
        return msgspec.json.encode(self._data).decode()


class Reply(Node):
    """A whole reply, or one chunk of a stream.

    Attributes:
        mesh: what the call took (target, cost, attempts, revision); set by the core, None on chunks.
    """

    __slots__ = ("mesh",)

    def __init__(self, data: dict[str, Any], mesh: Any = None) -> None:
        self._data = data
        self.mesh = mesh

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._data, self.mesh)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(self._data, memo), self.mesh)

    @property
    def output_text(self) -> str:
        """All text of a response (OpenAI's ``responses``), joined."""
        parts = [part for item in self._data.get("output") or () for part in item.get("content") or ()]
        return "".join(part.get("text", "") for part in parts if part.get("type") == "output_text")


_CONTAINERS = (dict, list)


def _wrapped(value: Any) -> Any:
    if type(value) is dict:
        return Node(value)
    # A vector's thousand floats are handed out as they are.
    if type(value) is list and value and type(value[0]) in _CONTAINERS:
        return [_wrapped(item) for item in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: replies and pydantic objects become dicts, deeply.

    Raises:
        TypeError: it has no JSON form; names its type.
    """
    if isinstance(value, Node):
        return value._data
    if dump := getattr(value, "model_dump", None):
        return dump(exclude_none=True)
    if dump := getattr(value, "to_dict", None):
        return dump()
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")

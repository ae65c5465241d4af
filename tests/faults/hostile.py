"""Examples of what nobody should say: values out of place in JSON, and transports that bring them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from mesh_plugins.http.transport import HttpRequest, HttpResponse, TransportFailure

#: What stands in place of something sensible; NaN and infinity as Python writes them.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.0, 1e308]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.text(st.characters(codec=None), max_size=6),
    st.sampled_from(["", "7", "NaN", "\ud800", "a\x00b", "x" * 20_000, "stop", "error", "[DONE]"]),
    st.sampled_from([[], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}, [{}] * 3]),
)
#: What an answer says it is.
TYPES = st.sampled_from(
    [
        *("text/event-stream", "application/json", "text/html", "text/plain", ""),
        *("event-stream;;", "é/\x7f", "a" * 9_000),
    ]
)
STATUSES = st.sampled_from(
    [100, 199, 200, 201, 204, 299, 301, 307, 400, 401, 408, 429, 500, 503, 529, 599, 999]
)
WAITS = st.sampled_from(["0", "-1", "1e400", "nan", "soon", "", "99999999999999999999", "Thu, 32 Foo", "1.5"])


def twisted(data: st.DataObject, tree: Any) -> Any:
    """Return the tree with up to three of its parts replaced, taken out, or said twice."""
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(_places(tree, ()))
        way = data.draw(st.sampled_from(places))
        tree = _with(tree, way, data)
    return tree


def encoded(tree: Any) -> bytes:
    """Return JSON as a careless program writes it: NaN, infinity and lone surrogates included."""
    return json.dumps(tree, ensure_ascii=True).encode()


def cut(data: st.DataObject, whole: bytes) -> list[bytes]:
    """Return the bytes in pieces, some of them empty or of a single byte."""
    at = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]


def _places(tree: Any, way: tuple[Any, ...]) -> Any:
    yield way
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, part in inner:
        yield from _places(part, (*way, name))


def _with(tree: Any, way: tuple[Any, ...], data: st.DataObject) -> Any:
    if not way:
        return data.draw(VALUES)
    name, *rest = way
    made: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        made[name] = _with(made[name], tuple(rest), data)
        return made
    what = data.draw(st.sampled_from(["replace", "leave out", "twice"]))
    if what == "leave out":
        del made[name]
    elif what == "twice" and isinstance(made, list):
        made.insert(name, made[name])
    elif what == "twice":
        made[f"{name}s"] = made[name]
    else:
        made[name] = data.draw(VALUES)
    return made


@dataclass
class Pieces:
    """A body that arrives piece by piece, and may break off."""

    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    breaks: bool = False

    def read(self) -> bytes:
        while self.pieces:
            if piece := self.pieces.pop(0):
                return piece
        if self.breaks:
            raise TransportFailure("incomplete", "it broke off")
        return b""

    def close(self) -> None:
        self.pieces.clear()


@dataclass
class SaysThis:
    """A transport whose every answer is this one."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    breaks: bool = False
    asked: list[HttpRequest] = field(default_factory=list)

    def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        return HttpResponse(self.status, self.headers, b"".join(self.pieces))

    def stream(self, request: HttpRequest) -> Pieces:
        self.asked.append(request)
        return Pieces(self.status, self.headers, list(self.pieces), self.breaks)

    def close(self) -> None:
        return

"""Under hard limits a file counts as the most it can be, and one that nobody can bound is refused by name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.core.measure import measure
from mesh_store.model.errors import ConfigError
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import Alias, Target

HARD = Limit(amount=1_000_000, period_us=60_000_000, burst=500_000, hard=True)


def sending(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 10}


def inline(media_type: str, content: bytes) -> dict[str, Any]:
    data = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return {"type": "file", "file": {"filename": "a", "file_data": data}}


@pytest.fixture
def charged(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> Callable[..., int]:
    """What a hard token limit is charged for a payload."""

    def charge(payload: Any, *, window: int | None = None, enforce: bool = True) -> int:
        rule = make_rule("r1", "input_tokens", 1_000_000, limit=HARD, team="t1")
        target = Target(id="x1", provider="p1", model="small", context_window=window)
        world = make_world(
            limits=(msgspec.structs.replace(rule, enforce=enforce),),
            aliases=(Alias(id="a1", name="fast", targets=(target,)),),
        )
        world.call(payload=payload)
        [[taken]] = world.limiter.asked
        return taken.amount

    return charge


@given(st.binary(max_size=200))
def test_an_inline_text_counts_each_of_its_bytes(content: bytes) -> None:
    assert measure(sending(inline("text/plain", content))).text_bytes >= len(content)
    source = {"type": "base64", "media_type": "text/csv", "data": base64.b64encode(content).decode()}
    assert measure(sending({"type": "document", "source": source})).bound("") >= len(content)


def test_a_large_text_file_is_more_than_an_image(charged: Callable[..., int]) -> None:
    assert charged(sending(inline("text/plain", b"x" * 50_000))) >= 50_000


def test_sound_is_bounded_by_its_bytes(charged: Callable[..., int]) -> None:
    data = base64.b64encode(b"\x00" * 9_000).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    assert charged(sending(part)) >= 9_000


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (inline("application/pdf", b"%PDF-1.7"), "a PDF"),
        (inline("application/zip", b"PK"), "a packed document"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "a file by id"),
        ({"type": "input_file", "file_id": "file-1"}, "a file by id"),
        ({"type": "input_file", "file_url": "https://x.test/a.pdf"}, "a file by url"),
        ({"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}, "a document by url"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "a document by file"),
    ],
)
def test_what_its_size_does_not_bound_is_all_the_model_takes_or_refused_by_name(
    charged: Callable[..., int], part: Any, named: str
) -> None:
    assert charged(sending(part), window=200_000) == 200_000
    with pytest.raises(ConfigError, match=f"sends {named}") as refused:
        charged(sending(part))
    assert "context_window" in str(refused.value)
    assert charged(sending(part), enforce=False) >= 0


def test_a_tool_whose_property_is_of_a_type_called_file_is_no_file() -> None:
    tool = {"type": "function", "function": {"parameters": {"properties": {"a": {"type": "file"}}}}}
    assert measure({"tools": [tool]}).unbounded is None

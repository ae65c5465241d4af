"""Under hard limits an image counts as what its vendor makes of its size; of unknown size, as the most."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.core.image_tokens import HIGH_RESOLUTION, STANDARD, most_tokens
from mesh_plugins.core.images import Image, image_of, size_of
from mesh_plugins.core.measure import measure
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import Alias, Target


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\x00" * 9


def jpeg(width: int, height: int, *, before: int = 60_000) -> bytes:
    """With metadata, two tables and a marker that stands alone before the size."""
    segment = b"\xff\xe1" + (before + 2).to_bytes(2, "big") + b"\xff\xc0" * (before // 2)
    tables = b"\xff\xdb\x00\x04\x00\x00" + b"\xff\xc4\x00\x04\x00\x00" + b"\xff\x01" + b"\xff\xff"
    frame = b"\xc2\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03" * 9
    return b"\xff\xd8" + segment * 3 + tables + frame


def webp(kind: str, width: int, height: int) -> bytes:
    start = b"RIFF\x00\x00\x00\x00WEBP" + kind.encode() + b"\x00" * 4
    if kind == "VP8X":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return start + b"\x00" * 4 + sides
    if kind == "VP8L":
        return start + b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + b"\x00" * 9
    return start + b"\x00" * 3 + b"\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3000, 17), (1234, 2049)])
@pytest.mark.parametrize(
    "made",
    [png, gif, jpeg, *[lambda w, h, kind=kind: webp(kind, w, h) for kind in ("VP8X", "VP8L", "VP8 ")]],
    ids=["png", "gif", "jpeg", "webp", "webp lossless", "webp lossy"],
)
def test_the_size_is_read_from_the_header(made: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    encoded = text(made(*size))
    assert size_of(encoded) == size
    shapes = [
        {"type": "image_url", "image_url": {"url": f"data:image/x;base64,{encoded}", "detail": "high"}},
        {"type": "input_image", "image_url": f"data:image/x;base64,{encoded}", "detail": "high"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/x", "data": encoded}},
    ]
    assert [image_of(shape)[:2] for shape in shapes] == [size] * 3
    assert [image_of(shape).detail for shape in shapes[:2]] == ["high"] * 2


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(text), st.binary(max_size=60).map(text)))
def test_whatever_else_comes_has_no_size_and_raises_nothing(content: str) -> None:
    width, height = size_of(content)
    assert width >= 0
    assert height >= 0
    image_of({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}})


@pytest.mark.parametrize("start", [png, gif, jpeg, lambda w, h: webp("VP8X", w, h)])
def test_nor_does_one_that_is_cut_off_anywhere(start: Callable[[int, int], bytes]) -> None:
    whole = start(640, 480)
    for length in [*range(40), len(whole) // 2, len(whole) - 12]:
        size_of(text(whole[:length]))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": "https://x.test/a.png"},
        {"type": "image_url", "image_url": None},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "base64", "data": 7}},
        {"type": "image"},
    ],
)
def test_what_is_not_sent_along_has_none(part: Any) -> None:
    assert image_of(part)[:2] == (0, 0)


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        # The examples of the vendors' guides.
        ("gpt-4o", 1024, 1024, 765),
        ("gpt-4o", 2048, 4096, 1105),
        ("gpt-4o", 128, 64, 255),
        ("gpt-4.1-mini", 1024, 1024, 1659),
        ("gpt-4.1-nano", 8000, 8000, 3779),
        ("gpt-4o-mini", 512, 512, 8500),
        ("openai/gpt-5", 1024, 1024, 630),
        ("o3-2025-04-16", 512, 512, 225),
        ("claude-3-5-sonnet-20241022", 200, 200, 64),
        ("claude-sonnet-4-5", 1000, 1000, 1334),
        ("claude-sonnet-4-5", 8000, 8000, STANDARD),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", 8000, 8000, STANDARD),
        ("claude-opus-4-8", 2000, 1500, 4000),
        ("claude-opus-4-8", 8000, 8000, HIGH_RESOLUTION),
    ],
)
def test_vendors_formulas_hold(model: str, width: int, height: int, tokens: int) -> None:
    assert most_tokens(Image(width, height), model) == tokens


def test_details_count_where_a_model_knows_them() -> None:
    assert most_tokens(Image(2000, 2000, "low"), "gpt-4o") == 85
    assert most_tokens(Image(detail="low"), "gpt-4o-mini") == 2_833
    assert most_tokens(Image(2000, 2000, "low"), "gpt-5-mini") == most_tokens(Image(2000, 2000), "gpt-5-mini")
    assert most_tokens(Image(detail="original"), "gpt-5.4") == 12_000


@given(
    st.integers(1, 9_000),
    st.integers(1, 9_000),
    st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-nano", "o4-mini", "claude-opus-4-8", "my-own"]),
)
def test_no_size_is_more_than_an_unknown_one(width: int, height: int, model: str) -> None:
    known, turned = most_tokens(Image(width, height), model), most_tokens(Image(height, width), model)
    assert 0 < known <= most_tokens(Image(), model)
    assert known == turned


@given(st.integers(1, 9_000), st.integers(1, 9_000))
def test_a_model_nobody_knows_counts_as_whichever_is_more(width: int, height: int) -> None:
    image = Image(width, height)
    known = [most_tokens(image, name) for name in ("gpt-4o", "gpt-5", "gpt-5.4", "claude-opus-4-8")]
    assert most_tokens(image, "a-deployment") >= max(known)


HARD = Limit(amount=1_000_000, period_us=60_000_000, burst=500_000, hard=True)


@pytest.fixture
def charged(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> Callable[..., int]:
    """What a hard limit on input tokens is charged for one image, beyond the same message without it."""

    def charge(model: str, url: str) -> int:
        rule = make_rule("r1", "input_tokens", 1_000_000, limit=HARD, team="t1")
        alias = Alias(id="a1", name="fast", targets=(Target(id="x1", provider="p1", model=model),))
        world = make_world(limits=(msgspec.structs.replace(rule),), aliases=(alias,))
        part = {"type": "image_url", "image_url": {"url": url}}
        for parts in ([part], [{}]):
            world.call(payload={"messages": [{"role": "user", "content": parts}], "max_tokens": 10})
        [with_image], [without] = world.limiter.asked
        return int(with_image.amount - without.amount)

    return charge


def test_hard_limits_are_charged_by_it_and_by_the_target(charged: Callable[..., int]) -> None:
    small, large = (f"data:image/png;base64,{text(png(side, side))}" for side in (28, 4000))
    assert charged("claude-opus-4-8", small) == 2
    assert charged("claude-opus-4-8", large) == HIGH_RESOLUTION
    assert charged("claude-sonnet-4-5", large) == STANDARD
    assert charged("gpt-4o", small) == 255
    assert charged("gpt-4o-mini", large) == 2_833 + 4 * 5_667
    assert charged("gpt-4o-mini", "https://x.test/a.png") == 2_833 + 8 * 5_667


def test_soft_limits_estimate_by_it() -> None:
    def likely(*sides: int) -> int:
        parts = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text(png(side, side))}"}}
            for side in sides
        ]
        return measure({"messages": [{"role": "user", "content": parts}]}).estimate(0.3)

    assert likely(1000) < likely(2000) == likely(8000)
    assert likely(1000, 1000) > likely(1000) + 1_300

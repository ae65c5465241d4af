"""What is kept of a call holds no secret, no attachment and no more than its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.core.content import texts
from mesh_store.model.ids import new_id
from mesh_store.model.keys import mint
from mesh_store.model.redaction import MASK, redact
from mesh_store.model.samples import KEPT, LOOKED_AT, Content, bounded, request_text

CANARY = "sk-proj-c4n4ryc4n4ryc4n4ryc4n4ry"


ASK = [{"role": "user", "content": f"the key is {CANARY} and my cat is called Silvester"}]


SECRETS = [
    mint().text,
    CANARY,
    "sk-ant-api03-abcdefghijklmnop",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-123456789012-abcdef",
    "ada.lovelace@example.co.uk",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:3])
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    shown = redact(f"before {secret} after")
    assert shown == f"before {MASK} after"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123456", f"Authorization: Bearer {MASK}"),
        ('{"password": "hunter2hunter2"}', f'{{"password": "{MASK}"}}'),
        ("postgresql://mesh:geheim@db/x", f"postgresql://{MASK}@db/x"),
        ("API_KEY=0123456789abcdef", f"API_KEY={MASK}"),
    ],
)
def test_what_is_said_to_be_a_secret_is_masked(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "call 555-0100",
        "revision 1234567890123",
        "a sketchy sk-word",
        "3.14159265358979",
    ],
)
def test_what_only_resembles_one_stays(text: str) -> None:
    assert redact(text) == text


@given(st.integers(0, 40), st.sampled_from([CANARY, SECRETS[5], SECRETS[-1]]))
def test_a_secret_that_is_cut_in_two_is_not_kept_in_half(shift: int, secret: str) -> None:
    filler = SECRETS[7] + " "  # masks shrink what stands before, so that the end of what is looked at is kept
    text = (filler * (LOOKED_AT // len(filler) + 1))[: LOOKED_AT - shift] + secret + "x" * 100
    found, cut = bounded(text)
    assert cut
    assert len(found) <= KEPT
    assert secret[:12] not in found


def test_a_request_is_bounded_and_holds_no_attachment() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}}
    text, cut = request_text({"messages": [{"role": "user", "content": [picture, sound, {"text": "hello"}]}]})
    assert "hello" in text
    assert "AAAA" not in text
    assert not cut
    long, cut = request_text({"messages": [{"content": "word " * 100_000}] * 50})
    assert cut
    assert len(long) <= 2 * KEPT


def test_the_share_is_the_same_for_everyone_and_about_as_large_as_it_says() -> None:
    calls = [new_id() for _ in range(4000)]
    quarter = Content(0.25)
    assert 800 < sum(quarter.takes(call) for call in calls) < 1200
    assert all(Content(1.0).takes(call) for call in calls)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"choices": [{"message": {"content": "a"}}, {"text": "b"}]}, "ab"),
        ({"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]}, "f{}"),
        ({"type": "response.output_text.delta", "delta": "c"}, "c"),
        ({"output": [{"content": [{"type": "output_text", "text": "d"}]}]}, "d"),
        ({"type": "message", "content": [{"type": "text", "text": "e"}]}, "e"),
        ({"type": "content_block_delta", "delta": {"text": "f"}}, "f"),
        ("g", "g"),
        (object(), ""),
        ({"choices": [{"delta": None}]}, ""),
    ],
)
def test_the_text_of_every_shape_of_answer_is_heard(said: Any, text: str) -> None:
    assert "".join(texts(said)) == text

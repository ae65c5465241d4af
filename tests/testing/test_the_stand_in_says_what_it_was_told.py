"""The stand-in answers as scripted, else as the vendor would; what no vendor takes it refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mesh_plugins.testing.provider import StandInProvider

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ({}, 200, "choices"),
        ({"status": 503, "error": "it is full"}, 503, "it is full"),
        ({"status": 429, "error": "later", "retry_after": "7"}, 429, "later"),
        ({"redirect": "http://127.0.0.1:1/elsewhere"}, 307, ""),
        ({"raw": "this is no JSON"}, 200, "this is no JSON"),
    ],
)
def test_what_is_scripted_is_said(
    stand_in: StandInProvider, script: dict[str, Any], status: int, said: str
) -> None:
    stand_in.script(**script)
    try:
        answer = httpx.post(f"{stand_in.base_url}/chat/completions", json=ASK, timeout=60)
    finally:
        stand_in.clear()
    assert answer.status_code == status
    assert said in answer.text
    assert answer.headers.get("retry-after") == script.get("retry_after")
    assert answer.headers.get("location") == script.get("redirect")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/nowhere", ASK, 404, "nothing lives at"),
        ("/chat/completions", {"model": "m", "messages": 7}, 400, "malformed request"),
        ("/chat/completions", [1], 400, "not a JSON object"),
    ],
)
def test_what_no_vendor_takes_is_refused(
    stand_in: StandInProvider, path: str, body: Any, status: int, said: str
) -> None:
    answer = httpx.post(f"{stand_in.base_url}{path}", json=body, timeout=60)
    assert answer.status_code == status
    assert said in answer.text

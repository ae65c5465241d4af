"""httpx posting ready bytes, as most SDKs do underneath."""

from __future__ import annotations

import json
from typing import Any

import httpx
from worker import BODY, JSON_HEADERS, ACall, serve


async def prepare(settings: dict[str, Any]) -> ACall:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    client, url = httpx.AsyncClient(limits=limits), settings["url"] + "/chat/completions"

    async def call() -> Any:
        response = await client.post(url, content=BODY, headers=JSON_HEADERS)
        return json.loads(response.raise_for_status().content)

    return call


serve(prepare)

"""OpenAI's SDK, with its own client or with aiohttp underneath."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI
from worker import ASK, MODEL, MOST_TOKENS, ACall, serve


async def prepare(settings: dict[str, Any]) -> ACall:
    more: dict[str, Any] = {}
    if settings.get("aiohttp"):
        from openai import DefaultAioHttpClient

        more["http_client"] = DefaultAioHttpClient()
    client = AsyncOpenAI(base_url=settings["url"], api_key="none", max_retries=0, **more)
    return lambda: client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=MOST_TOKENS)


serve(prepare)

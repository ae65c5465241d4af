"""litellm by itself: its function, or its Router over one deployment."""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"

import litellm
from worker import ASK, MODEL, MOST_TOKENS, ACall, serve


async def prepare(settings: dict[str, Any]) -> ACall:
    there = {"model": f"openai/{MODEL}", "api_base": settings["url"], "api_key": "none"}
    if settings.get("router"):
        router = litellm.Router(model_list=[{"model_name": "fast", "litellm_params": there}], num_retries=0)
        return lambda: router.acompletion(model="fast", messages=ASK, max_tokens=MOST_TOKENS)
    return lambda: litellm.acompletion(messages=ASK, max_tokens=MOST_TOKENS, num_retries=0, **there)


serve(prepare)

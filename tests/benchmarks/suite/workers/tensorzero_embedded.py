"""TensorZero inside this process, with four limits counted in Valkey."""

from __future__ import annotations

import os
import tempfile
from typing import Any

os.environ["TENSORZERO_BENCH_KEY"] = "none"

from tensorzero import AsyncTensorZeroGateway
from worker import ASK, MODEL, MOST_TOKENS, ACall, serve

_LIMIT = """
[[rate_limiting.rules]]
priority = {priority}
scope = [{{ tag_key = "{tag}", tag_value = "tensorzero::total" }}]
model_inferences_per_hour = 900000000
tokens_per_hour = 9000000000
"""


def _config(url: str, limits: int) -> str:
    rules = "".join(_LIMIT.format(priority=1, tag=f"t{number}") for number in range(limits // 2))
    return f"""
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true

[models.{MODEL}]
routing = ["there"]

[models.{MODEL}.providers.there]
type = "openai"
model_name = "{MODEL}"
api_base = "{url}/"
api_key_location = "env::TENSORZERO_BENCH_KEY"
{rules}"""


async def prepare(settings: dict[str, Any]) -> ACall:
    limits = settings.get("limits", 4)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(_config(settings["url"], limits))
        file.flush()
        gateway: Any = await AsyncTensorZeroGateway.build_embedded(  # type: ignore[misc]
            config_file=file.name, valkey_url=settings["redis_url"], timeout=30
        )
    tags = {f"t{number}": "bench" for number in range(limits // 2)}
    params = {"chat_completion": {"max_tokens": MOST_TOKENS}}
    return lambda: gateway.inference(model_name=MODEL, input={"messages": ASK}, params=params, tags=tags)


serve(prepare)

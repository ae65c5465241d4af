"""Who takes part, what each needs, and how its calls are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import services
from .environments import Environments

_OTEL = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp")
PROXY = ("litellm[proxy]", "redis", *_OTEL)  # without OpenTelemetry it retries a failing import per call


@dataclass(frozen=True)
class Ground:
    """What every contender stands on.

    Attributes:
        url: OpenAI base URL of the one upstream.
        redis_url: a Valkey for those that count in one.
        environments: where contenders are installed.
    """

    url: str
    redis_url: str
    environments: Environments


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        name: what it is called.
        worker: the file under ``workers/`` that makes its calls.
        requirements: what its environment holds; nothing means ours.
        packages: whose versions are told.
        settings: what its worker is told.
        variables: what its worker's environment says beside ours.
        hop: starts what stands between, and returns the URL to call instead of the upstream's.
        group: what it is compared within.
    """

    name: str
    worker: str
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    hop: Callable[[Ground, ExitStack], str] | None = None
    group: str = "calls"

    def python(self, ground: Ground) -> Path:
        """Return the interpreter of its environment."""
        return ground.environments.python(self.requirements)

    def told(self, ground: Ground, stack: ExitStack) -> dict[str, Any]:
        """Start what stands between, and return what its worker is told."""
        url = self.hop(ground, stack) if self.hop else ground.url
        return {"url": url, "redis_url": ground.redis_url, **self.settings}

    def environment(self) -> dict[str, str]:
        """Return the environment of its worker; ours are callers of the mesh this process is one of."""
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **self.variables}


def _nginx(ground: Ground, stack: ExitStack) -> str:
    return stack.enter_context(services.nginx(ground.url))


def _litellm_proxy(ground: Ground, stack: ExitStack) -> str:
    python = ground.environments.python(PROXY)
    return stack.enter_context(services.litellm_proxy(ground.url, python, None))


def _limited_proxy(ground: Ground, stack: ExitStack) -> str:
    python = ground.environments.python(PROXY)
    return stack.enter_context(services.litellm_proxy(ground.url, python, ground.redis_url))


def _portkey(ground: Ground, stack: ExitStack) -> str:
    return stack.enter_context(services.portkey(ground.environments.node("@portkey-ai/gateway")))


def contenders(ground: Ground) -> list[Contender]:
    """Return everybody, floor first."""
    key = {"authorization": f"Bearer {services.PROXY_KEY}"}
    through_portkey = {"x-portkey-provider": "openai", "x-portkey-custom-host": ground.url}
    return [
        Contender("floor: aiohttp", "bare_aiohttp", packages=("aiohttp",)),
        Contender("mesh.achat, 4 limits", "mesh_callers", packages=("mesh-plugins",)),
        Contender("httpx", "bare_httpx", packages=("httpx",)),
        Contender("nginx hop", "bare_aiohttp", hop=_nginx),
        Contender("TensorZero embedded, 4 limits", "tensorzero_embedded", ("tensorzero",), ("tensorzero",)),
        Contender("Portkey gateway", "bare_aiohttp", settings={"headers": through_portkey}, hop=_portkey),
        Contender("openai SDK", "openai_sdk", ("openai[aiohttp]",), ("openai",)),
        Contender("openai SDK, aiohttp", "openai_sdk", ("openai[aiohttp]",), settings={"aiohttp": True}),
        Contender("litellm SDK", "litellm_sdk", ("litellm", "mcp"), ("litellm",)),
        Contender("litellm Router", "litellm_sdk", ("litellm", "mcp"), settings={"router": True}),
        Contender("LiteLLM proxy", "bare_aiohttp", settings={"headers": key}, hop=_litellm_proxy),
        Contender(
            "LiteLLM proxy, 4 limits in Redis",
            "bare_aiohttp",
            settings={"headers": key},
            hop=_limited_proxy,
        ),
        Contender("litellm through mesh", "mesh_callers", settings={"litellm": "usual"}, group="litellm"),
        Contender(
            "litellm through mesh, fast", "mesh_callers", settings={"litellm": "fast"}, group="litellm"
        ),
        Contender(
            "langchain ChatOpenAI", "langchain_models", packages=("langchain-openai",), group="langchain"
        ),
        Contender("ChatMesh, 4 limits", "langchain_models", settings={"governed": True}, group="langchain"),
    ]

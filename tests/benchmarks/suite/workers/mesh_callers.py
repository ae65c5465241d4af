"""Mesh: the direct caller, and litellm governed by it; settings come from the environment."""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"

from worker import ASK, MOST_TOKENS, ACall, serve

from mesh_plugins import Mesh


async def prepare(settings: dict[str, Any]) -> ACall:
    mesh = Mesh.from_env(decision_s=1.0)
    alias = settings.get("alias", "fast")
    if settings.get("litellm"):
        import litellm

        from mesh_plugins.hosts.litellm import install

        install(mesh, fast=settings["litellm"] == "fast")
        return lambda: litellm.acompletion(model=f"mesh/{alias}", messages=ASK, max_tokens=MOST_TOKENS)
    return lambda: mesh.achat(alias, ASK, max_tokens=MOST_TOKENS)


serve(prepare)

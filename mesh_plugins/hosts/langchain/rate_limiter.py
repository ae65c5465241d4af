"""`MeshRateLimiter`: the request limits of an alias, as LangChain's rate limiter.

LangChain gives a rate limiter neither the model nor the messages, and ignores what it returns, so this
one counts requests only and refuses by raising. One instance per alias and key.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from langchain_core.rate_limiters import BaseRateLimiter

from mesh_plugins.core.call import Plan
from mesh_plugins.core.plan import plan_call
from mesh_plugins.core.reserve import refusal
from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh
from mesh_store.model.limits import Decision


class MeshRateLimiter(BaseRateLimiter):
    """Takes one request from every request limit that binds the alias for this key.

    Args:
        alias: the alias whose limits apply.
        mesh: the mesh to count in; None uses the process's own, from the environment.
        key: the caller's key; None uses the mesh's (``MESH_KEY``).
        max_wait_s: how long a blocking acquire may wait for room, seconds.
    """

    def __init__(
        self, alias: str, *, mesh: Mesh | None = None, key: str | None = None, max_wait_s: float = 60.0
    ) -> None:
        self._alias, self._mesh, self._key, self._max_wait_s = alias, mesh, key, max_wait_s

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take one request; waits for room when ``blocking``.

        Raises:
            QuotaExceeded: there is no room (in time).
        """
        mesh = self._mesh or shared_mesh()
        plan = self._plan(mesh, mesh.request("chat", self._alias, {}, **self._options()))
        if plan.charges:
            decision = mesh.limiter.reserve(
                plan.charges, max_wait_us=self._wait_us(blocking), ttl_us=1_000_000
            )
            time.sleep(_granted(plan, decision))
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Like `acquire`, on the caller's event loop."""
        mesh = self._mesh or shared_mesh()
        plan = self._plan(mesh, await mesh.arequest("chat", self._alias, {}, **self._options()))
        if plan.charges:
            decision = await mesh.async_limiter.reserve(
                plan.charges, max_wait_us=self._wait_us(blocking), ttl_us=1_000_000
            )
            await asyncio.sleep(_granted(plan, decision))
        return True

    def _options(self) -> dict[str, Any]:
        return {"key": self._key, "host": "langchain"}

    def _wait_us(self, blocking: bool) -> int:
        return int(self._max_wait_s * 1e6) if blocking else 0

    def _plan(self, mesh: Mesh, request: Any) -> Plan:
        plan = plan_call(request, mesh.config.snapshot(), mesh.hooks)
        kept = [(r, c) for r, c in zip(plan.rules, plan.charges, strict=True) if r.dimension == "requests"]
        plan.rules, plan.charges = tuple(r for r, _ in kept), tuple(c for _, c in kept)
        return plan


def _granted(plan: Plan, decision: Decision) -> float:
    if not decision.admitted:
        raise refusal(plan, decision)
    return decision.wait_us / 1e6

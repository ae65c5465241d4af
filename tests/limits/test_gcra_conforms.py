"""The published numbers of five other implementations hold on the real script, in virtual time."""

from collections.abc import Callable
from typing import Any

from mesh_store.model import Charge, Limit

#: Virtual time starts here; 0 would mean the server's clock.
ORIGIN_US = 1_000_000_000


def micros(nanos: int) -> int:
    """Round up, as a decision in whole microseconds must."""
    return -(-nanos // 1000)


async def test_every_vector_holds(vector: dict[str, Any], decide: Callable[..., Any], tag: str) -> None:
    limit = Limit(amount=vector["count"], period_us=vector["period_ns"] // 1000, burst=vector["limit"])
    for number, step in enumerate(vector["steps"]):
        charge = Charge(f"{{{tag}}}:q:key:k1:requests", limit, step["cost"])
        now_us = ORIGIN_US + micros(step["t_ns"])
        if step["op"] == "at_most":
            decision = await decide("at_most", charge, now_us=now_us)
            assert decision.granted == step["granted"] if not step["limited"] else not decision.granted
        else:
            decision = await decide("reserve", [charge], now_us=now_us)
        where = f"{vector['id']} step {number}"
        assert decision.admitted is not step["limited"], where
        if "remaining" in step:
            assert decision.remaining == (step["remaining"],), where
        if "retry_after_ns" in step:
            expected = step["retry_after_ns"]
            never = None if step["limited"] else 0
            assert decision.retry_after_us == (never if expected == -1 else micros(expected)), where
        if "reset_after_ns" in step:
            assert decision.reset_after_us == (micros(step["reset_after_ns"]),), where

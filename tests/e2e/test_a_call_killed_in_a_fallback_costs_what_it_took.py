"""A process dies while its call is at the second target: what was reserved on top is settled, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

from mesh_store.telemetry.draining import drain
from tests.faults.books import money_is_exact

# The first answer cannot be read and was billed all the same: the second needs more than was reserved.
CALLS = """
import sys
from mesh_plugins.mesh import Mesh
Mesh.from_env().chat(sys.argv[1], [{"role": "user", "content": "hi"}], max_tokens=8)
"""


def test_the_books_balance_after_kill_9(make_world: Any, stand_in: Any) -> None:
    world = make_world(limits=("600 requests/min", "1M tokens/min", "20 concurrent", "$500/day"))
    alias = world.alias(models=("small", "large"))
    for model in ("small", "large"):
        world.run(
            lambda admin, model=model: admin.set_price(
                provider=world.name("local"), model=model, input=Decimal("0.25"), output=Decimal(2)
            )
        )
    stand_in.clear()
    stand_in.script("small", raw="no JSON")
    stand_in.script("large", latency_s=60)
    child = subprocess.Popen([sys.executable, "-c", CALLS, alias], env={**os.environ, **world.environ})
    try:
        assert stand_in.wait_for(lambda provider: provider.count >= 2, 60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        stand_in.clear()
    assert drain(world.home, world.engines.redis_url).lost == 1
    world.collect()
    rows = world.rows("e.outcome, e.request_model, e.cost_pico_usd")
    assert [(row["outcome"], row["request_model"]) for row in rows] == [("error", "small"), ("lost", "large")]
    assert all(row["cost_pico_usd"] > 0 for row in rows)
    money_is_exact(world)

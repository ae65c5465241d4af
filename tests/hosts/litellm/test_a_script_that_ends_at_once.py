"""The promise of the host, on real engines: a script makes fifty calls and ends, and fifty facts arrive."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

_SCRIPT = """
import asyncio, sys
import litellm
from mesh_plugins import QuotaExceeded
from mesh_plugins.hosts.litellm import install

install()
ask = [{"role": "user", "content": "hello there"}]
fast, scarce = ("mesh/" + alias for alias in sys.argv[1:])
try:
    for _ in range(10):
        litellm.completion(scarce, ask)
except litellm.RateLimitError as error:
    assert isinstance(error, QuotaExceeded)
    assert error.retry_after > 0
else:
    sys.exit("nothing was refused")

async def main():
    await asyncio.gather(*[litellm.acompletion(model=fast, messages=ask) for _ in range(50)])

asyncio.run(main())
"""


def test_fifty_concurrent_calls_leave_fifty_facts_and_a_limit_stops_others_before_the_provider(
    litellm: Any, make_world: Any, tmp_path: Any
) -> None:
    world = make_world(limits=("1000 requests/min", "10000k tokens/min"))
    fast, scarce = world.alias("fast"), world.alias("scarce")
    world.limit("30 requests/hour, burst 3", team=world.team, alias=scarce)
    before = world.provider.count

    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, fast, scarce],
        env=os.environ | world.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    sent = world.provider.count - before
    world.collect()

    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Unclosed" not in done.stderr
    rows = world.rows("e.outcome, e.host, e.input_tokens, e.output_tokens, e.alias")
    of_fast = [tuple(row)[:-1] for row in rows if row["alias"] == fast]
    assert of_fast == [("ok", "litellm", 2, 4)] * 50
    outcomes = [row["outcome"] for row in rows if row["alias"] == scarce]
    assert sent - 50 == outcomes.count("ok") == 3
    assert "denied" in outcomes

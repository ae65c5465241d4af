"""The promise of the host, on real engines: a script makes fifty calls and ends, and fifty facts arrive."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

_FIFTY_AT_ONCE = """
import asyncio, sys
import litellm
from mesh_plugins.hosts.litellm import install

install()

async def main():
    ask = [{"role": "user", "content": "hello there"}]
    await asyncio.gather(*[litellm.acompletion(model="mesh/" + sys.argv[1], messages=ask) for _ in range(50)])

asyncio.run(main())
"""

_UNTIL_REFUSED = """
import sys
import litellm
from mesh_plugins import QuotaExceeded
from mesh_plugins.hosts.litellm import install

install()
ask = [{"role": "user", "content": "hello there"}]
try:
    for _ in range(10):
        litellm.completion("mesh/" + sys.argv[1], ask)
except litellm.RateLimitError as error:
    assert isinstance(error, QuotaExceeded)
    assert error.retry_after > 0
else:
    sys.exit("nothing was refused")
"""


@pytest.fixture
def run(make_world: Any, tmp_path: Any) -> Any:
    """Run a script as a process of a new team's own; return its world."""

    def run_script(script: str, **fields: Any) -> Any:
        world = make_world(**fields)
        alias = world.alias()
        before = world.provider.count
        environment = os.environ | world.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(
            [sys.executable, "-c", script, alias],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        assert "Unclosed" not in done.stderr
        return world, world.provider.count - before

    return run_script


def test_fifty_concurrent_calls_leave_fifty_facts(litellm: Any, run: Any) -> None:
    world, sent = run(_FIFTY_AT_ONCE, limits=("1000 requests/min", "10000k tokens/min"))

    world.collect()

    rows = world.rows("e.outcome, e.host, e.input_tokens, e.output_tokens")
    assert sent == len(rows) == 50
    assert {tuple(row) for row in rows} == {("ok", "litellm", 2, 4)}


def test_a_limit_in_redis_stops_calls_before_the_provider(litellm: Any, run: Any) -> None:
    world, sent = run(_UNTIL_REFUSED, limits=("30 requests/hour, burst 3",))

    world.collect()

    outcomes = [row["outcome"] for row in world.rows("e.outcome")]
    assert sent == outcomes.count("ok") == 3
    assert "denied" in outcomes

"""A process forks while its threads and a loop call: no child hangs, and each call is one fact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh_store.telemetry import drain
from tests.faults.conftest import LIMITS, Priced

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

#: Seconds a child may take for a few calls, on a busy machine.
PATIENCE_S = 90


@pytest.mark.parametrize("leases", ["on", "off"])
@pytest.mark.parametrize("children", [15, pytest.param(600, marks=pytest.mark.full)])
@pytest.mark.timeout(1200)
def test_no_child_hangs_and_each_call_is_one_fact(
    make_priced: Callable[..., Priced], children: int, leases: str
) -> None:
    priced = make_priced(("10M requests/min", LIMITS[1], LIMITS[3]))
    world, storming = priced.world, Path(__file__).with_name("fork_storm.py")
    own = {"MESH_LEASES": leases, "PYTHONPATH": str(Path(__file__).parents[2])}
    storm = subprocess.run(
        [sys.executable, str(storming), priced.alias, str(children), str(PATIENCE_S)],
        env={**os.environ, **world.environ, **own},
        capture_output=True,
        text=True,
        timeout=1100,
    )
    assert storm.returncode == 0, storm.stderr[-6000:]
    told = [int(line) for line in storm.stdout.split()]
    assert len(told) == children + 1
    drain(world.home, world.engines.redis_url)
    ended = priced.check()
    assert ended == Counter(ok=sum(told))

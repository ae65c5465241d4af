"""The suites that talk to Redis, against Debian's Redis 7.0 where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REDIS = shutil.which("redis-server")
ROOT = Path(__file__).parents[2]

#: What talks to Redis most closely: vectors, fractions, scripts, the stream.
CLOSELY = (
    "tests/limits/test_gcra_conforms.py",
    "tests/limits/test_the_script_obeys_the_fractions.py",
    "tests/limits/test_the_script_refuses_hostile_arguments.py",
    "tests/telemetry/test_delivery.py",
)
#: Laws that are checked by volume.
COUNTED = (
    "tests/limits/test_the_script_obeys_the_fractions.py",
    "tests/limits/test_slots_and_budgets_obey_their_model.py",
    "tests/limits/test_processes_never_exceed_the_bound.py",
    "tests/limits/test_processes_with_leases_keep_the_bound.py",
    "tests/limits/test_concurrent_checks_share_a_call.py",
)
WHOLE = ("tests/limits", "tests/sync", "tests/telemetry", "tests/topologies")


def run(*what: str) -> str:
    # Its options are for the run that asks, and would be contradicted or overwritten here.
    chosen = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    chosen["MESH_TEST_REDIS_SERVER"] = str(REDIS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *what]
    ended = subprocess.run(command, cwd=ROOT, env=chosen, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
    return ended.stdout


@pytest.mark.timeout(900)
@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
@pytest.mark.skipif("MESH_TEST_REDIS_SERVER" in os.environ, reason="runs that server already")
def test_what_talks_to_redis_most_closely_works_with_redis_seven() -> None:
    assert " passed" in run(*CLOSELY)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
@pytest.mark.skipif("MESH_TEST_REDIS_SERVER" in os.environ, reason="runs that server already")
def test_everything_that_talks_to_redis_works_with_redis_seven() -> None:
    assert " passed" in run(*WHOLE)


@pytest.mark.full
@pytest.mark.timeout(3_600)
@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
@pytest.mark.skipif("MESH_TEST_REDIS_SERVER" in os.environ, reason="runs that server already")
def test_the_full_counts_hold_on_redis_seven() -> None:
    assert " passed" in run("-m", "full", *COUNTED)

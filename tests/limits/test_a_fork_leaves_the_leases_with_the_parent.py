"""A process with live leases forks: the slices stay the parent's, and are spent and given back once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mesh_store.redis import Limiter, connect
from tests.limits.lease_holder import PATIENCE, tuple_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

TOP = Path(__file__).parent.parent.parent


def check(url: str, tag: str, how: str, *, units: int, children: int) -> None:
    arguments = [url, tag, str(units), how, str(children)]
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.limits.lease_forks"]
    ran = subprocess.run(
        [*program, *arguments], cwd=TOP, timeout=120, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    told: list[list[int]] = json.loads(ran.stdout)
    assert len(told) == 1 + children
    granted = sum(leased + direct for leased, direct in told)
    assert told[0][0] > 0
    charges = tuple_of(units, tag)
    with connect(url, deadline=PATIENCE) as client:
        left = Limiter(client).peek(charges).remaining
    # Not one above, and none is kept by anybody: what was not spent is there again, and every slot is free.
    assert [granted + left[0], granted + left[1], left[2]] == [units, units, 900]


@pytest.mark.parametrize("how", ["os", "multiprocessing"])
def test_no_unit_is_spent_twice_and_none_is_lost(server: Any, tag: str, how: str) -> None:
    check(server.url, tag, how, units=3_000, children=2)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", ["os", "multiprocessing"])
def test_in_many_children(server: Any, tag: str, how: str, seed: int) -> None:
    check(server.url, f"{tag}{seed}", how, units=20_000, children=6)

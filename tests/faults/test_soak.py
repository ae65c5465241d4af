"""A soak, in short; ``python -m tests.faults.soak`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import Soak

SEED = 202


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [0, pytest.param(600, marks=pytest.mark.full)])
def test_the_books_balance_whatever_died(seconds: float, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with Soak(tmp_path, SEED) as soak:
        soak.run(seconds)
        summary = soak.check(soak.end())
    print(summary)
    assert len(summary["faults"]) >= 7
    assert summary["ended"]["ok"] > 10

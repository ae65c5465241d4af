"""Handlers of signals that raise while a thread waits for a decision: nothing is mixed up, nothing hangs:
through sentinels and on a cluster, where redis-py keeps the connections."""

from __future__ import annotations

import pytest

from tests.limits.ringing import storm

#: The clock of the tests' own timeout is the one that rings. A socket that is left while it is made is
#: closed by whoever collects it, which warns.
pytestmark = [
    pytest.mark.timeout(300, method="thread"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("others", [0, 3], ids=["by itself", "among others"])
def test_whenever_it_rings_every_unit_has_an_owner_and_every_answer_its_asker(
    url: str, tag: str, others: int
) -> None:
    storm(url, tag, others=others)

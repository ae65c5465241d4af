"""What is promised for when something fails, and the tests that break it on purpose.

By the part of the product: live configuration, limits, telemetry, and who may be away. Each promise names
its tests as ``folder/file::test``, without ``test_`` and ``.py``; `test_promises_are_kept` looks them up.
Add a promise with its test; a test here without a promise is a promise nobody wrote down.
"""

from __future__ import annotations

from tests.faults.promised.away import AWAY, TOGETHER
from tests.faults.promised.callers import CALLERS
from tests.faults.promised.configuration import CONFIGURATION
from tests.faults.promised.facts import FACTS
from tests.faults.promised.kind import Promises
from tests.faults.promised.leases import LEASES
from tests.faults.promised.limits import LIMITS
from tests.faults.promised.money import MONEY
from tests.faults.promised.telemetry import TELEMETRY

PARTS: tuple[Promises, ...] = (
    *(CONFIGURATION, LIMITS, LEASES, MONEY, CALLERS),
    *(TELEMETRY, FACTS, AWAY, TOGETHER),
)
PROMISES: Promises = {promise: tests for part in PARTS for promise, tests in part.items()}

"""What a caller pays for telemetry does not depend on which server can be reached."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from mesh_store.telemetry import Recorder

#: As in the promise: the slowest hundredth of records, with everything away, in medians with it there.
MOST = 10
#: What a busy machine may take from anybody, seconds; a wait for a server takes at least its deadline, 1 s.
SCHEDULING_S = 0.5


def taken(kit: Any, recorder: Recorder, count: int) -> list[float]:
    """Return the seconds of each record at a steady rate, the shipper at work beside it."""
    found = []
    for _ in range(count):
        done = kit.call()[1]
        started = time.perf_counter()
        recorder.done(done)
        found.append(time.perf_counter() - started)
        time.sleep(0.001)
    return found


def test_a_record_costs_the_same_while_the_server_is_away(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    there = taken(kit, make_recorder(), 300)
    valkey.kill()
    recorder = make_recorder()
    away = taken(kit, recorder, 300)
    kit.eventually(lambda: recorder.health().send_errors > 0, "the shipper noticed")
    away += taken(kit, recorder, 300)
    slow = statistics.quantiles(away, n=100)[98]
    assert slow <= MOST * statistics.median(there) + SCHEDULING_S
    assert recorder.health().dropped == 0

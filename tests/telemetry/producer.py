"""A process that makes calls until it is killed; run by the tests, never imported by them.

Usage: producer.py HOME REDIS_URL LOG COUNT [PAUSE_S]. Writes the id of each fact to LOG once `done`
has returned, which is the moment the promise begins. COUNT 0 means until killed.
"""

from __future__ import annotations

import os
import sys
import time

from mesh_store.model.facts import FACT_VERSION, Done, Fact, Intent, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.telemetry import Recorder

LIMIT = Limit(amount=1_000_000, period_us=60_000_000)


def fact(call: str, outcome: str) -> Fact:
    return Fact(
        version=FACT_VERSION,
        id=new_id(),
        call_id=call,
        attempt=1,
        started_at_us=now_us(),
        duration_us=1000,
        ttft_us=None,
        outcome=outcome,  # type: ignore[arg-type]
        operation="chat",
        host="direct",
        stream=False,
        team_id="t1",
        user_id=None,
        key_id="abcdefgh",
        alias="fast",
        alias_id=None,
        revision=1,
        input_tokens=10,
        cost_pico_usd=1_000,
    )


def main(home: str, url: str, log: str, count: str, pause: str = "0") -> None:
    recorder = Recorder(home, url, ring_bytes=4 * 1024 * 1024)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    left = int(count) or sys.maxsize
    while left:
        left -= 1
        call = new_id()
        reservation = Reservation(
            new_id(), (Charge("{t1}:q:team:t1:tokens", LIMIT, 5),), now_us(), now_us() + 60_000_000
        )
        lost = fact(call, "lost")
        recorder.intent(Intent(lost, reservation, now_us() + 60_000_000))
        ended = fact(call, "ok")
        recorder.done(Done(ended, Settlement(reservation, (3,)), lost.id))
        os.write(written, ended.id.encode() + b"\n")
        time.sleep(float(pause))


if __name__ == "__main__":
    main(*sys.argv[1:])

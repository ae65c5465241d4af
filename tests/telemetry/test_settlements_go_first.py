"""What limits hold is freed whatever becomes of the facts, and thousands of settlements take a few calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.facts import Intent
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.telemetry import Recorder

#: Attempts to ship after which the shipper pauses for a second and more between two of them.
PAUSING = 5
#: What is waited for one after the other; were it done between pauses only, an attempt would come with each.
TIMES = 20


@pytest.fixture
def recorder(kit: Any, make_recorder: Callable[..., Recorder], valkey: Any) -> Recorder:
    """A recorder whose facts cannot be shipped, and have not been for a while."""
    valkey.kill()
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    kit.eventually(lambda: recorder.health().send_errors >= PAUSING, "the shipper pauses")
    return recorder


def test_they_do_not_wait_for_the_server_that_takes_the_facts(
    kit: Any, recorder: Recorder, settled: Any
) -> None:
    before = recorder.health().send_errors
    for _ in range(TIMES):
        done = kit.call()[1]
        recorder.done(done)
        expected = (done.settlement.reservation.id, done.settlement.deltas)
        kit.eventually(lambda expected=expected: settled.settled[-1:] == [expected], "it is settled")
    assert recorder.health().send_errors - before < TIMES / 2


def test_slots_of_running_calls_are_renewed_meanwhile(kit: Any, recorder: Recorder, settled: Any) -> None:
    slots = Limit(amount=3, period_us=300_000, kind="slots")
    held = Reservation(new_id(), (Charge("{t1}:q:team:t1:concurrency", slots, 1),), now_us(), now_us())
    before = recorder.health().send_errors
    recorder.intent(Intent(kit.fact(outcome="lost", estimated=True), held, now_us() + 60_000_000))
    kit.eventually(lambda: len(settled.renewed) >= TIMES, "its slot is renewed")
    assert recorder.health().send_errors - before < TIMES / 2


def test_who_waits_for_them_does_not_wait_for_the_facts(kit: Any, recorder: Recorder, settled: Any) -> None:
    recorder.done(kit.call()[1])
    assert recorder.flush_settlements(60)
    assert len(settled.settled) == 2
    assert not recorder.flush(0.05)


class Gated:
    """A settler that is away until it is let go, and refuses one settlement for good.

    Attributes:
        calls: how many settlements each call carried since.
        made: ids of those that were made.
    """

    def __init__(self, refused: str = "") -> None:
        self.calls: list[int] = []
        self.made: list[str] = []
        self.away = True
        self._refused = refused

    def settle_all(self, settlements: Any) -> None:
        if self.away:
            raise ConnectionRefusedError("away")
        self.calls.append(len(settlements))
        ids = [reservation.id for reservation, _ in settlements]
        if self._refused in ids:
            raise ValueError("the id was used for other charges")
        self.made += ids


def test_those_of_two_thousand_calls_take_a_few_round_trips(
    kit: Any, make_recorder: Callable[..., Recorder]
) -> None:
    """Where all threads of a process compute, each round trip waits until every one had its turn."""
    settler = Gated()
    recorder = make_recorder(settler=settler, ring_bytes=16 * 1024 * 1024)
    for _ in range(2_000):
        recorder.done(kit.call()[1])
    settler.away = False
    assert recorder.flush_settlements(60)
    assert len(set(settler.made)) == len(settler.made) == 2_000
    assert len(settler.calls) <= 6


def test_one_that_is_refused_is_found_by_halves(kit: Any, make_recorder: Callable[..., Recorder]) -> None:
    ended = [kit.call()[1] for _ in range(500)]
    ids = {done.settlement.reservation.id for done in ended}
    wrong = ended[123].settlement.reservation.id
    settler = Gated(wrong)
    recorder = make_recorder(settler=settler, ring_bytes=16 * 1024 * 1024)
    for done in ended:
        recorder.done(done)
    settler.away = False
    assert recorder.flush_settlements(60)
    assert sorted(settler.made) == sorted(ids - {wrong})
    assert recorder.health().settlements_refused == 1
    # All together, then two halves nine times over: 500 is below 2^9.
    assert len(settler.calls) <= 20

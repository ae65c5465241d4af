"""Questions about budgets in the ring: found by a drain until they are answered, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_store.model.facts import Asked, Cancel, Done, Intent
from mesh_store.telemetry import records
from mesh_store.telemetry.orphan import _open_intents
from tests.telemetry.test_intents import CAPACITY, Bench, Quiet

STEPS = ["ask", "again", "grant", "refuse", "cancel", "end", "ship", "commit"]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=150))
@settings(max_examples=150, deadline=None)
def test_a_drain_finds_at_every_moment_what_is_unanswered_and_what_runs(
    kit: Any, steps: list[tuple[str, int]]
) -> None:
    bench, running = Bench(Quiet()), {}
    asked: dict[str, tuple[Intent, Done]] = {}
    for step, number in steps:
        mine = list(asked)[number % len(asked)] if asked else None
        if step == "ask" or (step == "again" and mine):
            intent, done = kit.call()
            reservation = intent.reservation
            bench.write(Asked(reservation.id, reservation.charges, (mine or "") if step == "again" else ""))
            asked[reservation.id] = intent, done
            if step == "again":
                del asked[mine]
            bench.write(*[kit.call()[1] for _ in range(number)])
        elif step == "grant" and mine:
            intent, done = asked.pop(mine)
            bench.write(intent)
            running[intent.lost.id] = done
        elif step == "refuse" and mine:
            bench.write(Done(kit.fact(outcome="denied"), closes=mine))
            del asked[mine]
        elif step == "cancel" and mine:
            bench.write(Cancel(mine, asked.pop(mine)[0].reservation.charges))
        elif step == "end" and running:
            bench.write(running.pop(list(running)[number % len(running)]))
        elif step == "ship":
            bench.ship()
        else:
            bench.ship()
            bench.acknowledge(number)
        assert bench.found_open() == {*asked, *running}
        bench.ship()
        bench.acknowledge(99 if bench.ring.head - bench.ring.tail > CAPACITY // 2 else 0)
    for intent, _ in asked.values():
        bench.write(Cancel(intent.reservation.id, intent.reservation.charges))
    bench.write(*running.values())
    bench.ship()
    bench.acknowledge(999)
    assert bench.delivery.open_intents == 0
    assert bench.ring.tail == bench.ring.head


def test_an_intent_that_found_no_room_still_ends_its_question(kit: Any, settled: Any) -> None:
    bench = Bench(settled)
    intent, _ = kit.call()
    bench.write(Asked(intent.reservation.id, intent.reservation.charges))
    filler = kit.call()[1]
    while bench.writer.write(records.encode(filler), filler, filler):
        pass
    assert not bench.writer.write(records.encode(intent), intent, intent)
    assert intent.reservation.id not in bench.found_open(), "what was sent would be given back"


def test_a_drain_cancels_what_is_unanswered_and_nothing_else(
    kit: Any, settled: Any, make_recorder: Any, tmp_path: Path
) -> None:
    from mesh_store.telemetry.draining import drain

    recorder = make_recorder()
    killed, (intent, done), refused = kit.reservation(), kit.call(), kit.reservation()
    for each in (killed, intent.reservation, refused):
        recorder.asked(Asked(each.id, each.charges))
    recorder.intent(intent)
    recorder.done(Done(kit.fact(outcome="denied"), closes=refused.id))
    recorder.done(done)
    recorder.close(5.0)
    assert settled.cancelled == []
    found = drain(tmp_path, recorder._redis_url, settler=settled, timeout_s=30)
    assert settled.cancelled == [killed.id]
    assert found.lost == 0
    assert settled.settled == [(intent.reservation.id, (4 - 10,))]


class Drawn:
    """Leases under which every call was drawn."""

    ledger: Any = None

    def cancel(self, cancel: Cancel) -> bool:
        return True

    def end_all(self) -> None:
        pass


def test_what_was_drawn_from_a_lease_and_given_back_there_is_answered(
    kit: Any, settled: Any, make_recorder: Any
) -> None:
    recorder = make_recorder(leases=Drawn())
    reservation = kit.reservation()
    recorder.asked(Asked(reservation.id, reservation.charges))
    ring = recorder._pipeline.file.ring
    assert set(_open_intents(ring)) == {reservation.id}
    recorder.cancel(Cancel(reservation.id, reservation.charges))
    assert set(_open_intents(ring)) == set()

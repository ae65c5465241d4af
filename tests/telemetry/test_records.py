"""What the ring stores comes back as what was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_store.model.facts import Asked, Cancel, Done, Fact, Intent, Settlement
from mesh_store.model.limits import Charge, Reservation
from mesh_store.telemetry import records
from mesh_store.telemetry.records import (
    Closed,
    StoredCharge,
    StoredClosed,
    StoredDone,
    StoredIntent,
    StoredReservation,
    StoredSettlement,
)


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        (StoredCharge, Charge),
        (StoredReservation, Reservation),
        (StoredSettlement, Settlement),
        (StoredIntent, Intent),
        (StoredDone, Done),
        (StoredClosed, Closed),
    ],
)
def test_a_field_that_is_appended_to_the_model_is_appended_here(stored: Any, written: Any) -> None:
    assert stored.__struct_fields__ == written.__struct_fields__


def test_settlements_and_facts_survive_the_ring(kit: Any) -> None:
    intent, done = kit.call(tags={"a": "b"}, flags=("x",))
    found = records.decode(records.encode(done))
    assert isinstance(found, StoredDone)
    assert found.settlement is not None
    assert found.settlement.revive() == done.settlement
    assert records.decode_fact(found.fact) == done.fact
    begun = records.decode(records.encode(intent))
    assert isinstance(begun, StoredIntent)
    assert begun.reservation is not None
    assert begun.reservation.revive() == intent.reservation
    assert records.facts_within(records.encode(done))[0] == records.encode(done.fact)
    assert records.facts_within(records.encode(intent))[1] == records.encode(intent.lost)


def test_an_intent_is_paired_with_what_ends_it(kit: Any) -> None:
    intent, done = kit.call()
    pair = intent.lost.id
    held, more = intent.reservation, kit.reservation()
    extended = Intent(intent.lost, held, intent.deadline_us, (more,))
    unlimited = Intent(intent.lost, None, intent.deadline_us)
    assert paired(intent) == (pair, [held.id])
    assert paired(extended) == (pair, [held.id, more.id])
    assert paired(unlimited) == (pair, [])
    assert paired(done) == (None, [pair])
    assert paired(Closed(done.settlement, pair)) == (None, [pair])
    assert paired(Done(kit.fact())) == (None, [])
    assert paired(Cancel("r", held.charges)) == (None, ["r"])
    assert paired(Asked("r", held.charges)) == ("r", [])
    assert paired(Asked("r", held.charges, "earlier")) == ("r", ["earlier"])
    assert records.begins_or_ends(b"\xc1") == (None, ())


def paired(record: Any) -> tuple[str | None, list[str]]:
    begun, ended = records.begins_or_ends(records.encode(record))
    return begun, list(ended)


def test_a_question_survives_the_ring(kit: Any) -> None:
    asked = Asked("r", kit.reservation().charges, "earlier")
    found = records.decode(records.encode(asked))
    assert isinstance(found, records.StoredAsked)
    assert (found.reservation_id, found.instead) == ("r", "earlier")
    assert found.cancel() == Cancel("r", asked.charges)


def test_a_cancel_survives_the_ring(kit: Any) -> None:
    reservation = kit.reservation()
    cancel = Cancel(reservation.id, reservation.charges)
    assert records.decode(records.encode(cancel)) == cancel


@pytest.mark.parametrize("count", [0, 1, 15, 16, 512])
def test_joined_facts_are_one_array(kit: Any, count: int) -> None:
    facts = [kit.fact() for _ in range(count)]
    joined = records.join([records.encode(fact) for fact in facts])
    assert msgspec.msgpack.decode(joined, type=list[Fact]) == facts


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\xa1z\x01\x02", b"\x81\xa1a\x01"])
def test_what_is_no_record_is_none_and_raises_nothing(payload: bytes) -> None:
    assert records.decode(payload) is None
    assert records.facts_within(payload) == (None, None)

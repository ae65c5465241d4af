"""Calls whose ring has no room: what is lost is counted, and budgets and facts agree on all the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import redis

from mesh_plugins import connections
from mesh_store.telemetry import Recorder
from tests.faults import books
from tests.faults.conftest import Priced

CALLS = 150


def never_in_a_file(home: object, *args: object, **options: object) -> Recorder:
    return Recorder(None, *args, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("leases", ["on", "off"])
@pytest.mark.parametrize("kept", ["file", "memory"])
def test_what_a_ring_loses_is_counted_in_money_and_the_books_agree_on_the_rest(
    make_priced: Callable[..., Priced], monkeypatch: pytest.MonkeyPatch, kept: str, leases: str
) -> None:
    priced = make_priced()
    make = Recorder if kept == "file" else never_in_a_file
    monkeypatch.setattr(connections, "Recorder", partial(make, ring_bytes=64 * 1024))
    # Nothing leaves the ring while the calls are made, as if nobody could reach the stream.
    monkeypatch.setattr("mesh_store.telemetry.delivery.Delivery.ship", lambda *_, **__: False)
    mesh = priced.world.mesh(leases=leases == "on")
    for _ in range(CALLS):
        mesh.chat(**priced.asked(priced.world.name("someone")))
    monkeypatch.undo()
    assert mesh.flush(60)
    health = mesh.telemetry_health()
    assert 0 < health.dropped_facts < CALLS
    mesh.close(60)
    priced.world.collect()

    rows = priced.world.rows("e.cost_pico_usd, e.reservation_id")
    told = sum(row["cost_pico_usd"] for row in rows)
    assert len(rows) + health.dropped_facts == CALLS
    assert told + health.dropped_pico_usd == CALLS * rows[0]["cost_pico_usd"]
    books.sums_are_those_of_the_rows(priced.world)

    [ledger] = priced.world.query(
        "SELECT w.key, w.spent_pico_usd, w.untold_pico_usd FROM budget_windows w JOIN teams t "
        "ON w.key LIKE '{' || t.id || '}%' WHERE t.name = $1",
        priced.world.team,
    )
    assert ledger["spent_pico_usd"] - ledger["untold_pico_usd"] == told
    assert 0 < ledger["untold_pico_usd"] <= health.dropped_pico_usd
    with redis.Redis.from_url(priced.world.engines.redis_url, decode_responses=True) as client:
        [window] = client.keys(f"{ledger['key']}:w:*".replace("{", "[{]"))
        found = client.hgetall(window)
    assert books._pico(found["committed"]) == ledger["spent_pico_usd"]
    held = {name.removeprefix("r:") for name in found if name.startswith("r:")}
    assert not held & {row["reservation_id"] for row in rows}, "told, and open"
    assert len(held) <= health.dropped_settlements, "more stays taken than is counted"

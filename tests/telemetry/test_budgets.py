"""Money: the ledger in Postgres is the truth, Redis follows it, and no fault makes spending free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.exceptions

from mesh_plugins.defaults.charging import charge_key
from mesh_store.model.facts import Done, Intent, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit
from mesh_store.model.snapshot import LimitRule, Subject
from mesh_store.model.windows import window_of
from mesh_store.postgres import usage_budgets
from mesh_store.redis import Limiter, connect
from mesh_store.redis.stream import Batch
from mesh_store.telemetry import Recorder, drain, fact_store, records, spending
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.records import Closed
from mesh_store.telemetry.spending import Spending

USD = 10**12
DAY_US = 86_400_000_000
TEAM = "018f0000-0000-7000-8000-000000000001"
BUDGET = "018f0000-0000-7000-8000-00000000000b"
DAY = Limit(amount=10 * USD, period_us=86_400_000_000, kind="window", on_outage="closed")
KEY = f"{{{TEAM}}}:q:{BUDGET}"


class Shop:
    """A team with ten dollars a day."""

    def __init__(self, url: str, redis_url: str, postgres: Any) -> None:
        self.limiter = Limiter(connect(redis_url, deadline=2.0))
        self.url, self.redis_url, self.postgres = url, redis_url, postgres

    async def set_up(self) -> None:
        await self.postgres.execute("SET session_replication_role = replica")  # no triggers, no references
        await self.postgres.execute(
            "INSERT INTO limits (id, team_id, dimension, amount, period_us, kind, on_outage)"
            " VALUES ($1, $2, 'usd', 10, $3, 'window', 'closed')",
            BUDGET,
            TEAM,
            DAY.period_us,
        )

    def remaining(self) -> int:
        (left,) = self.limiter.peek([Charge(KEY, DAY, 0)]).remaining
        return left

    def buy(self, dollars: int) -> Any:
        return self.limiter.reserve([Charge(KEY, DAY, dollars * USD)])

    async def collect(self) -> Any:
        collector = Collector(self.url, self.redis_url, claim_s=0)
        done = await collector.collect_once()
        await collector.close()
        return done

    async def untold(self) -> int:
        return int(
            await self.postgres.fetchval("SELECT untold_pico_usd FROM budget_windows WHERE key = $1", KEY)
        )

    async def ledger(self) -> tuple[int, int] | None:
        row = await self.postgres.fetchrow(
            "SELECT spent_pico_usd, version FROM budget_windows WHERE key = $1", KEY
        )
        return None if row is None else (int(row[0]), row[1])


@pytest.fixture
async def shop(fresh_url: str, fresh: Any, valkey: Any) -> Shop:
    made = Shop(fresh_url, valkey.url, fresh)
    await made.set_up()
    return made


def ended(kit: Any, reservation: Any, dollars: int) -> Done:
    return Done(kit.fact(reservation_id=reservation.id), Settlement(reservation, (dollars * USD,)))


async def test_a_budget_nobody_seeded_refuses_until_a_collector_ran(shop: Shop) -> None:
    assert not shop.buy(1).admitted
    await shop.collect()
    assert shop.buy(1).admitted


async def test_what_a_call_took_goes_from_open_to_the_ledger(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder]
) -> None:
    await shop.collect()
    reservation = shop.buy(5).reservation
    assert shop.remaining() == 5 * USD
    recorder = make_recorder(settler=shop.limiter)
    recorder.done(ended(kit, reservation, 3))
    assert recorder.flush(5)
    assert shop.remaining() == 7 * USD
    assert await shop.ledger() is None
    await shop.collect()
    assert await shop.ledger() == (3 * USD, 1)
    assert shop.remaining() == 7 * USD
    assert not shop.buy(8).admitted
    assert shop.buy(7).admitted


async def test_a_repeated_entry_changes_no_sum_and_still_closes_what_was_open(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    recorder.done(ended(kit, shop.buy(5).reservation, 3))
    assert recorder.flush(5)
    ((_, fields),) = valkey.client.xrange("mesh:facts:0")
    valkey.client.xadd("mesh:facts:0", fields)
    assert (await shop.collect()).repeated == 1  # both in one transaction
    valkey.client.xadd("mesh:facts:0", fields)
    assert (await shop.collect()).repeated == 1
    assert await shop.ledger() == (3 * USD, 1)
    assert shop.remaining() == 7 * USD


async def test_a_collector_that_dies_before_it_told_redis_leaves_no_money_free_and_none_counted_twice(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    recorder.done(ended(kit, shop.buy(5).reservation, 3))
    assert recorder.flush(5)
    dying = Collector(shop.url, shop.redis_url)

    async def die(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("gone")

    dying._budgets.tell = die  # type: ignore[method-assign]
    with pytest.raises(Exception, match="gone"):
        await dying.collect_once()
    assert (await shop.ledger(), shop.remaining()) == ((3 * USD, 1), 7 * USD)
    assert valkey.client.xlen("mesh:facts:0") == 1  # not acknowledged: somebody will tell Redis
    await shop.collect()
    assert (await shop.ledger(), shop.remaining()) == ((3 * USD, 1), 7 * USD)
    assert valkey.client.xlen("mesh:facts:0") == 0
    await dying.close()


async def test_a_redis_that_forgot_everything_refuses_until_the_ledger_seeded_it(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    recorder.done(ended(kit, shop.buy(5).reservation, 3))
    assert recorder.flush(5)
    await shop.collect()
    valkey.client.flushall()
    assert not shop.buy(1).admitted
    await shop.collect()
    assert shop.remaining() == 7 * USD


async def test_a_call_lost_with_its_process_counts_what_was_reserved(
    kit: Any, shop: Shop, tmp_path: Path
) -> None:
    await shop.collect()
    reservation = shop.buy(4).reservation
    dead = Recorder(tmp_path, "unix:///nowhere", settler=shop.limiter, ring_bytes=65536)
    dead.intent(Intent(kit.fact(outcome="lost"), reservation, now_us()))
    dead.close(0.05)
    for _ in range(2):
        drain(tmp_path, shop.redis_url)
        await shop.collect()
    assert (await shop.ledger(), shop.remaining()) == ((4 * USD, 1), 6 * USD)


async def test_money_whose_fact_was_dropped_counts_once_all_the_same(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    bare = Closed(Settlement(shop.buy(5).reservation, (2 * USD,)), None)
    assert recorder._pipeline is not None
    recorder._pipeline.writer.write(records.encode(bare))
    assert recorder.flush(5)
    ((_, fields),) = valkey.client.xrange("mesh:facts:0")
    valkey.client.xadd("mesh:facts:0", fields)
    await shop.collect()
    valkey.client.xadd("mesh:facts:0", fields)
    await shop.collect()
    assert (await shop.ledger(), shop.remaining()) == ((2 * USD, 1), 8 * USD)
    assert await shop.untold() == 2 * USD


async def test_money_of_a_fact_that_is_buried_counts_once_by_its_reservation(
    kit: Any,
    shop: Shop,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller whose clock is a day ahead; its fact comes again, at last when it is no longer ahead."""
    await shop.collect()
    recorder, reservation = make_recorder(settler=shop.limiter), shop.buy(5).reservation
    fact = kit.fact(reservation_id=reservation.id, started_at_us=now_us() + DAY_US)
    recorder.done(Done(fact, Settlement(reservation, (3 * USD,))))
    assert recorder.flush(5)
    ((_, fields),) = valkey.client.xrange("mesh:facts:0")
    valkey.client.xadd("mesh:facts:0", fields)
    for _ in range(2):
        assert (await shop.collect()).facts == 0
        assert (await shop.ledger(), shop.remaining()) == ((3 * USD, 1), 7 * USD)
        assert await shop.untold() == 3 * USD
        valkey.client.xadd("mesh:facts:0", fields)
    monkeypatch.setattr(fact_store, "FUTURE_US", 2 * DAY_US)
    assert (await shop.collect()).facts == 1
    assert (await shop.ledger(), shop.remaining()) == ((3 * USD, 2), 7 * USD)
    assert await shop.untold() == 0


async def test_money_of_a_fact_that_postgres_refuses_counts_once_and_is_closed(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    refused = shop.buy(5).reservation
    fact = kit.fact(reservation_id=refused.id, alias="null\0byte")
    recorder.done(Done(fact, Settlement(refused, (3 * USD,))))
    recorder.done(ended(kit, shop.buy(1).reservation, 1))
    assert recorder.flush(5)
    entries = [fields for _, fields in valkey.client.xrange("mesh:facts:0")]
    for fields in entries:
        valkey.client.xadd("mesh:facts:0", fields)
    done = await shop.collect()
    assert (done.facts, done.dead) == (1, 2)
    for fields in entries:
        valkey.client.xadd("mesh:facts:0", fields)
    await shop.collect()
    spent, _ = await shop.ledger() or (0, 0)
    assert (spent, await shop.untold()) == (4 * USD, 3 * USD)
    assert shop.remaining() == 6 * USD
    (window,) = valkey.client.keys("*:w:*")
    assert not [name for name in valkey.client.hkeys(window) if name.startswith(b"r:")], "it is closed"


async def test_money_of_a_fact_that_has_no_id_counts_once_and_holds_nothing_up(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder]
) -> None:
    """What a plugin may have done to it."""
    await shop.collect()
    recorder = make_recorder(settler=shop.limiter)
    bought = shop.buy(5).reservation
    recorder.done(Done(kit.fact(id=5, reservation_id=bought.id), Settlement(bought, (3 * USD,))))
    recorder.done(ended(kit, shop.buy(1).reservation, 1))
    assert recorder.flush(5)
    assert (await shop.collect()).facts == 1
    spent, _ = await shop.ledger() or (0, 0)
    assert (spent, await shop.untold()) == (4 * USD, 3 * USD)


async def test_money_that_postgres_would_refuse_is_kept_aside_and_holds_nothing_up(
    kit: Any, shop: Shop, valkey: Any
) -> None:
    odd = kit.fact(id=kit.fact().id[:-4] + "zzzz")
    spent = [
        Spending(odd.id, "r1", now_us(), (Charge(KEY, DAY, USD),)),
        Spending(None, "r2", now_us(), (Charge(KEY + "\0", DAY, USD),)),
    ]
    body = msgspec.msgpack.encode([odd, kit.fact()])
    valkey.client.xadd("mesh:facts:0", Batch("r", 1, 0, 8, 2, body, spending.encode(spent)).fields())
    done = await shop.collect()
    assert (done.facts, done.dead) == (1, 2)
    rows = await shop.postgres.fetch("SELECT reason FROM telemetry_dead ORDER BY 1")
    assert [row["reason"] for row in rows] == ["bad_id", "bad_money"]
    assert (await shop.ledger(), await shop.untold()) == ((USD, 1), USD)


async def test_money_of_a_day_that_is_gone_may_have_been_counted_with_its_fact_and_is_not_again(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder]
) -> None:
    await shop.collect()
    recorder, recent = make_recorder(settler=shop.limiter), shop.buy(5).reservation
    old = msgspec.structs.replace(recent, reserved_at_us=now_us() - 60 * DAY_US)
    fact = kit.fact(reservation_id=old.id, started_at_us=old.reserved_at_us)
    recorder.done(Done(fact, Settlement(old, (3 * USD,))))
    assert recorder.flush(5)
    assert (await shop.collect()).dead == 1
    assert await shop.ledger() is None


async def test_a_call_belongs_to_the_window_of_its_reservation(
    kit: Any, shop: Shop, make_recorder: Callable[..., Recorder]
) -> None:
    await shop.collect()
    reservation = shop.buy(5).reservation
    recorder = make_recorder(settler=shop.limiter)
    recorder.done(ended(kit, reservation, 3))
    assert recorder.flush(5)
    await shop.collect()
    row = await shop.postgres.fetchrow("SELECT starts_at, ends_at FROM budget_windows")
    window = window_of(DAY, reservation.reserved_at_us)
    assert (row["starts_at"].timestamp() * 1e6, row["ends_at"].timestamp() * 1e6) == window


async def test_damaged_money_is_kept_aside_and_its_facts_are_stored(
    kit: Any, shop: Shop, valkey: Any
) -> None:
    body = msgspec.msgpack.encode([kit.fact()])
    valkey.client.xadd("mesh:facts:0", Batch("r", 1, 0, 8, 1, body, b"\xc1").fields())
    done = await shop.collect()
    assert (done.facts, done.dead) == (1, 1)
    assert await shop.postgres.fetchval("SELECT reason FROM telemetry_dead") == "bad_money"


async def test_collectors_name_a_budget_as_callers_charge_it(fresh: Any) -> None:
    await fresh.execute("SET session_replication_role = replica")
    ids = {name: new_id() for name in ("team", "user", "alias", "provider", "target")}
    await fresh.execute("INSERT INTO keys (id, team_id) VALUES ('keyOfTm1', $1)", ids["team"])
    shapes: list[dict[str, str]] = [
        {},
        *[{name: identifier} for name, identifier in ids.items() if name != "target"],
        {"key": "keyOfTm1"},
        {"team": ids["team"], "alias": ids["alias"]},
        {"user": ids["user"], "alias": ids["alias"]},
        {"alias": ids["alias"], "target": ids["target"]},
        {"provider": ids["provider"], "alias": ids["alias"], "target": ids["target"]},
        {"key": "keyOfTm1", "user": ids["user"]},
    ]
    expected = set()
    for shape in shapes:
        rule = new_id()
        columns = ["id", *[f"{name}_id" for name in shape]]
        places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        await fresh.execute(
            f"INSERT INTO limits ({', '.join(columns)}, dimension, amount, period_us, kind, on_outage)"
            f" VALUES ({places}, 'usd', 10, 86400000000, 'window', 'closed')",
            rule,
            *shape.values(),
        )
        entry = LimitRule(id=rule, subject=Subject(**shape), dimension="usd", limit=DAY, text="", label="")
        expected.add(charge_key(entry, ids["team"]))
    assert {budget.key for budget in await usage_budgets.budgets(fresh)} == expected

"""Re-pricing: adjustments make up the difference, once, and reports add them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from mesh_store.model.ids import new_id
from mesh_store.postgres import Database, usage_partitions
from mesh_store.postgres.price_book import record_price
from mesh_store.postgres.repository import Repository
from mesh_store.postgres.usage import unpriced_models, usage_report
from mesh_store.postgres.usage_adjust import reprice
from mesh_store.postgres.usage_retention import prune

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=3)


async def set_price(repo: Repository, **given: Any) -> None:
    usual = {"provider": "local", "model": "small", "input": "1", "output": "10", "valid_from": SINCE}
    await record_price(repo, **usual | given)


async def test_a_model_without_a_price_is_listed_then_priced(
    repo: Repository, database: Database, facts: Any
) -> None:
    for _ in range(3):
        await facts.write()
    await facts.write(request_model="other", cost_pico_usd=5)
    (row,) = await unpriced_models(database)
    assert (row["provider"], row["model"], row["unpriced"]) == ("local", "small", 3)
    await set_price(repo)
    done = await reprice(database, SINCE, actor="ops")
    assert (done.looked_at, done.adjusted, done.newly_priced, done.unpriced) == (4, 3, 3, 0)
    assert done.difference_usd == Decimal("0.006")
    assert await unpriced_models(database) == []
    for by in ((), ("model",), ("day",), ("minute", "team")):
        rows = await usage_report(database, by)
        assert sum(row["cost_usd"] for row in rows) == Decimal("0.006000000005"), by
        assert sum(row["calls"] for row in rows) == 4
        assert sum(row["unpriced"] for row in rows) == 0


async def test_a_second_time_changes_nothing(repo: Repository, database: Database, facts: Any) -> None:
    await facts.write(cost_pico_usd=7)
    await set_price(repo)
    assert (await reprice(database, SINCE, actor="ops")).adjusted == 1
    again = await reprice(database, SINCE, actor="ops")
    assert (again.adjusted, again.pico_usd, len(await facts.adjustments())) == (0, 0, 1)


async def test_a_lower_price_gives_back_and_the_row_stays_as_it_was(
    repo: Repository, database: Database, facts: Any
) -> None:
    fact = await facts.write(cost_pico_usd=3_000_000_000)
    await set_price(repo)
    done = await reprice(database, SINCE, actor="ops", reason="wrong invoice")
    assert done.pico_usd == -1_000_000_000
    row = await facts.connection.fetchrow("SELECT cost_pico_usd FROM usage_events WHERE id = $1", fact)
    assert row["cost_pico_usd"] == 3_000_000_000
    (kept,) = await facts.adjustments()
    assert (str(kept["fact_id"]), kept["reason"], kept["actor"]) == (fact, "wrong invoice", "ops")


async def test_the_price_of_the_calls_time_counts(repo: Repository, database: Database, facts: Any) -> None:
    early = await facts.write(at=NOW - timedelta(hours=30))
    late = await facts.write(at=NOW - timedelta(hours=1))
    await set_price(repo)
    await set_price(repo, input="2", valid_from=NOW - timedelta(hours=2))
    await reprice(database, SINCE, actor="ops")
    found = {str(row["fact_id"]): int(row["cost_pico_usd"]) for row in await facts.adjustments()}
    assert found == {early: 2_000_000_000, late: 3_000_000_000}


async def test_a_price_of_zero_is_a_price(repo: Repository, database: Database, facts: Any) -> None:
    await facts.write()
    await set_price(repo, input="0", output="0")
    assert (await reprice(database, SINCE, actor="ops")).newly_priced == 1
    assert (await reprice(database, SINCE, actor="ops")).adjusted == 0
    assert await unpriced_models(database) == []


async def test_only_what_is_asked_for_is_touched(repo: Repository, database: Database, facts: Any) -> None:
    await facts.write()
    await facts.write(outcome="denied", attempt=0, provider_id=None)
    await facts.write(request_model="unknown")
    await set_price(repo)
    assert (await reprice(database, SINCE, actor="ops", model="other")).looked_at == 0
    assert (await reprice(database, SINCE, SINCE + timedelta(hours=1), actor="ops")).looked_at == 0
    dry = await reprice(database, SINCE, actor="ops", dry_run=True)
    assert (dry.looked_at, dry.adjusted, dry.unpriced) == (2, 1, 1)
    assert await facts.adjustments() == []


async def test_the_first_moment_counts_and_the_last_does_not(
    repo: Repository, database: Database, facts: Any
) -> None:
    ends = NOW - timedelta(hours=1)
    before = await facts.write(at=ends - timedelta(microseconds=1))
    await facts.write(at=ends)
    await set_price(repo)
    assert (await reprice(database, ends - timedelta(microseconds=1), ends, actor="ops")).looked_at == 1
    assert [str(row["fact_id"]) for row in await facts.adjustments()] == [before]


async def test_services_and_hours_of_cache_are_priced_from_the_row(
    repo: Repository, database: Database, facts: Any
) -> None:
    fact = await facts.write(input_tokens=1_000, output_tokens=0, cache_write_tokens=1_000)
    await facts.connection.execute("UPDATE usage_events SET cache_write_1h_tokens = 600, service = 'batch'")
    await set_price(repo)
    await set_price(repo, service="batch", input="0.5", cache_write="0.6", cache_write_1h="1")
    await reprice(database, SINCE, actor="ops")
    (row,) = await facts.adjustments()
    assert (str(row["fact_id"]), int(row["cost_pico_usd"])) == (fact, 400 * 600_000 + 600 * 1_000_000)


async def test_what_re_pricing_changed_goes_with_its_calls_and_stays_in_the_sums(
    repo: Repository, database: Database, facts: Any
) -> None:
    today = datetime.now(UTC).date()
    for ago in (0, 2, 2):
        day = today - timedelta(days=ago)
        minted = usage_partitions.first_id(day)[:14] + new_id()[14:]
        await facts.write(datetime(day.year, day.month, day.day, tzinfo=UTC), id=minted)
    await set_price(repo)
    assert (await reprice(database, SINCE, actor="ops")).adjusted == 3
    before = [await usage_report(database, by) for by in ((), ("day", "model"))]
    assert before[0][0]["cost_usd"] == Decimal("0.006")
    kept = today - timedelta(days=1)
    dry = await prune(database, kept, kept, kept, dry_run=True)
    gone = await prune(database, kept, kept, kept)
    assert dry == gone
    # Both calls began in one minute: one sum of them and one of what re-pricing changed; of hours the team
    # has its own besides.
    assert (gone.adjustments, gone.minute_rows, gone.hour_rows) == (2, 2, 4)
    assert len(await facts.adjustments()) == 1
    assert [await usage_report(database, by) for by in ((), ("day", "model"))] == before
    assert (await reprice(database, SINCE, actor="ops")).adjusted == 0

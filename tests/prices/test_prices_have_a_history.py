"""Prices through time: what was recorded last and is valid then decides, ahead and backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from mesh_store.model.errors import NotFound, Rejected
from mesh_store.model.snapshot import decode, encode
from mesh_store.model.usage import Rates, Usage
from mesh_store.postgres import Database
from mesh_store.postgres.compile import compile_snapshot
from mesh_store.postgres.price_book import price_history, prices_of, record_price
from mesh_store.postgres.repository import Repository

NOW = datetime.now(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE = Usage(1, 0)


def us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


async def cost(database: Database, moment: datetime, usage: Usage = ONE, model: str = "small") -> int | None:
    prices = await prices_of(database)
    async with database.connect() as connection:
        provider = (await connection.execute(text("SELECT id::text FROM providers LIMIT 1"))).scalar_one()
    rates = prices.of(provider, model).at(us(moment))
    return None if rates is None else rates.cost(usage, us(moment))


async def record(repo: Repository, input_usd: str, **given: object) -> None:
    await record_price(repo, provider="local", model="small", input=input_usd, output="0", **given)


async def test_a_price_holds_from_when_it_is_set_until_it_is_set_anew(
    repo: Repository, database: Database
) -> None:
    for rate in ("1", "2"):
        await repo.set_price(provider="local", model="small", input=rate, output="0")
    first, second = await price_history(database, "local", "small")
    assert await cost(database, first["valid_from"] - HOUR) is None
    assert await cost(database, first["valid_from"]) == 1_000_000
    assert await cost(database, second["valid_from"]) == 2_000_000
    await repo.archive_price("local", "small")
    assert await cost(database, datetime.now(UTC) + HOUR) is None
    assert await cost(database, second["valid_from"]) == 2_000_000


async def test_a_planned_price_begins_by_itself_and_survives_a_change_of_the_present_one(
    repo: Repository, database: Database
) -> None:
    await record(repo, "1")
    await record(repo, "5", valid_from=NOW + DAY)
    await repo.set_price(provider="local", model="small", input="2", output="0")
    assert await cost(database, datetime.now(UTC) + HOUR) == 2_000_000
    assert await cost(database, NOW + 2 * DAY) == 5_000_000


async def test_a_correction_of_the_past_is_the_present_price_too(
    repo: Repository, database: Database
) -> None:
    await record(repo, "1")
    await record(repo, "3", valid_from=NOW - 10 * DAY)
    assert await cost(database, NOW - DAY) == await cost(database, NOW + DAY) == 3_000_000
    assert (await repo.get_price("local", "small")).input == 3


async def test_a_span_ends_and_what_was_before_holds_again(repo: Repository, database: Database) -> None:
    await record(repo, "4", valid_from=NOW - 10 * DAY)
    await record(repo, "1", valid_from=NOW - 5 * DAY, valid_to=NOW - 3 * DAY)
    costs = [await cost(database, NOW - timedelta(days=days)) for days in (6, 5, 4, 3)]
    assert costs == [4_000_000, 1_000_000, 1_000_000, 4_000_000]


async def test_callers_hold_the_present_price_and_what_is_planned(
    repo: Repository, database: Database
) -> None:
    alias = await repo.create_alias(name="fast", targets=[{"provider": "local", "model": "small"}])
    (target,) = alias.targets
    await record(repo, "1", valid_from=NOW - 10 * DAY)
    await record(repo, "5", valid_from=NOW + DAY, valid_to=NOW + 2 * DAY)
    held = decode(encode(await compile_snapshot(database))).rates[target.id]
    at = [held.cost(ONE, us(NOW + moment)) for moment in (HOUR, DAY - HOUR, DAY, 2 * DAY - HOUR, 2 * DAY)]
    assert at == [1_000_000, 1_000_000, 5_000_000, 5_000_000, 1_000_000]
    assert held.cost(ONE) == 1_000_000


async def test_a_price_that_only_begins_later_is_no_price_until_then(
    repo: Repository, database: Database
) -> None:
    alias = await repo.create_alias(name="fast", targets=[{"provider": "local", "model": "small"}])
    await record(repo, "5", valid_from=NOW + DAY)
    held = decode(encode(await compile_snapshot(database))).rates[alias.targets[0].id]
    assert held.cost(ONE) is None
    assert held.cost(ONE, us(NOW + DAY)) == 5_000_000


async def test_tiers_and_services_stand_beside_the_standard_price(
    repo: Repository, database: Database
) -> None:
    await record(repo, "1")
    await record(repo, "2", above=200_000)
    await record(repo, "0.5", service="batch")
    await record(repo, "0.75", service="batch", above=200_000)
    later = datetime.now(UTC) + HOUR
    found = [
        await cost(database, later, Usage(tokens, 0, service=service))
        for service in (None, "default", "batch")
        for tokens in (200_000, 200_001)
    ]
    assert found == [
        *[200_000_000_000, 400_002_000_000] * 2,
        100_000_000_000,
        150_000_750_000,
    ]


async def test_a_tier_without_the_price_it_stands_beside_is_refused(repo: Repository) -> None:
    with pytest.raises(Rejected, match="set the price of smaller calls first"):
        await record(repo, "2", above=200_000)
    with pytest.raises(Rejected, match="set the standard price first"):
        await record(repo, "2", service="batch")


async def test_what_cannot_be_is_refused(repo: Repository) -> None:
    with pytest.raises(Rejected, match="valid_to"):
        await record(repo, "1", valid_from=NOW, valid_to=NOW - HOUR)
    with pytest.raises(Rejected, match="input"):
        await record(repo, "-1")
    with pytest.raises(NotFound):
        await record_price(repo, provider="nobody", model="small", input="1", output="1", valid_to=NOW + DAY)


async def test_recording_is_audited_and_numbered_like_any_change(
    repo: Repository, database: Database
) -> None:
    before = (await database.head()).revision
    await record(repo, "2", valid_from=NOW + DAY)
    assert (await database.head()).revision == before + 1
    async with database.connect() as connection:
        query = text("SELECT actor, entity_name FROM audit_log WHERE action = 'price.record'")
        assert (await connection.execute(query)).all() == [("ops@example.com", "local/small")]


async def test_the_history_cannot_be_edited(repo: Repository, database: Database) -> None:
    await record(repo, "1")
    connection = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(False))
    try:
        for statement in ("UPDATE price_versions SET input = 0", "DELETE FROM price_versions"):
            with pytest.raises(asyncpg.PostgresError, match="only ever appended to"):
                await connection.execute(statement)
    finally:
        await connection.close()


def test_a_document_of_an_older_version_still_reads() -> None:
    import msgspec

    old = msgspec.msgpack.encode({"input": 5, "output": 7, "cache_read": 1})
    assert msgspec.msgpack.decode(old, type=Rates).cost(Usage(10, 1, 4)) == 6 * 5 + 4 + 7


async def test_a_price_of_your_own_goes_over_the_lists_for_as_long_as_it_holds(
    repo: Repository, database: Database
) -> None:
    provider = await repo.create_provider(name="openai", kind="openai")
    span = {"valid_from": NOW - 5 * DAY, "valid_to": NOW - 3 * DAY}
    await record_price(repo, provider="openai", model="gpt-4o", input="1", output="0", **span)
    timeline = (await prices_of(database)).of(provider.id, "gpt-4o")
    found = [timeline.at(us(NOW - timedelta(days=days))) for days in (6, 4, 2)]
    assert [rates and rates.cost(ONE) for rates in found] == [2_500_000, 1_000_000, 2_500_000]


async def test_a_teams_own_account_is_priced_as_the_one_whose_place_it_takes(
    repo: Repository, database: Database
) -> None:
    await record(repo, "4", valid_from=NOW - DAY)
    team = await repo.create_team(name="research")
    account = "018f0000-0000-7000-8000-0000000000aa"
    async with database.begin() as session:
        query = text("INSERT INTO providers (id, name, kind, team_id) VALUES (:id, 'local', 'openai', :team)")
        await session.execute(query, {"id": account, "team": team.id})
    rates = (await prices_of(database)).of(account, "small").at(us(NOW))
    assert rates is not None
    assert rates.cost(ONE) == 4_000_000

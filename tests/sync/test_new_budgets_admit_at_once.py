"""A budget that was just made admits from its first call on, without a collector; a lost one never does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio

from mesh_store.admin import Admin
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis import AsyncLimiter, acl, connect_async
from mesh_store.redis.keys import tracked_key
from mesh_store.telemetry.budget_keeper import BudgetKeeper
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.fact_store import FactStore
from tests.conftest import SIGNER

DAY = Limit(amount=50 * 10**12, period_us=86_400_000_000, kind="window", on_outage="closed")
USD = 10**12

_names = (f"opening{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def engines(new_engines: Callable[[], Any]) -> Any:
    """Engines whose Redis these tests may empty."""
    return new_engines()


@pytest.fixture
async def admin(engines: Any) -> AsyncIterator[Admin]:
    urls = (engines.database_url, engines.redis_url)
    async with Admin.open(*urls, actor="tests", signer=SIGNER) as opened:
        yield opened


@pytest.fixture
async def client(engines: Any) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_async(engines.redis_url, deadline=10, connect_deadline=10) as made:
        yield made


async def budget(admin: Admin, team: Any, limit: str = "$50/day", **subject: Any) -> str:
    """Make a budget of a team; return its key."""
    made = await admin.create_limit(limit=limit, team=team.name, **subject)
    assert admin.unpublished is None
    return f"{{{team.id}}}:q:{made.id}"


async def admits(client: redis.asyncio.Redis, key: str, dollars: int = 1) -> bool:
    return bool((await AsyncLimiter(client).reserve([Charge(key, DAY, dollars * USD)])).admitted)


async def collect(engines: Any) -> None:
    collector = Collector(engines.database_url, engines.redis_url)
    await collector.collect_once()
    await collector.close()


@pytest.mark.parametrize("emptied", [False, True], ids=["", "after Redis was emptied"])
async def test_the_first_call_of_a_team_nobody_counted_is_admitted(
    admin: Admin, client: redis.asyncio.Redis, emptied: bool
) -> None:
    team = await admin.create_team(name=next(_names))
    if emptied:
        await client.flushall()
    key = await budget(admin, team)
    assert await admits(client, key, 49)
    assert not await admits(client, key, 2)


async def test_so_is_that_of_each_end_user(admin: Admin, client: redis.asyncio.Redis) -> None:
    team = await admin.create_team(name=next(_names))
    key = await budget(admin, team, end_user="*")
    assert await admits(client, f"{key}:0123456789abcdef")


async def test_so_is_that_of_a_key(admin: Admin, client: redis.asyncio.Redis) -> None:
    team = await admin.create_team(name=next(_names))
    _, minted = await admin.create_key(team=team.name)
    made = await admin.create_limit(limit="$50/day", key=minted.id)
    assert admin.unpublished is None
    assert await admits(client, f"{{{team.id}}}:q:{made.id}")


async def test_a_budget_that_redis_lost_is_not_taken_for_a_new_one(
    admin: Admin, client: redis.asyncio.Redis, engines: Any
) -> None:
    team = await admin.create_team(name=next(_names))
    lost = await budget(admin, team)
    assert await admits(client, lost, 40)
    await client.flushall()
    await admin.publish()
    assert not await admits(client, lost)
    # Nor does a new one of the same team open it.
    new = await budget(admin, team, "$50/month")
    assert not await admits(client, lost)
    month = Limit(amount=50 * USD, period_us=31 * 86_400_000_000, kind="window", on_outage="closed")
    assert (await AsyncLimiter(client).reserve([Charge(new, month, USD)])).admitted
    await collect(engines)
    assert await admits(client, lost)


async def test_what_was_spent_before_the_first_collector_ran_stays_spent(
    admin: Admin, client: redis.asyncio.Redis, engines: Any
) -> None:
    team = await admin.create_team(name=next(_names))
    key = await budget(admin, team)
    assert await admits(client, key, 40)
    await collect(engines)
    await admin.publish()
    assert not await admits(client, key, 11)
    assert await admits(client, key, 10)


async def test_a_publisher_that_may_not_touch_limits_publishes_all_the_same(
    admin: Admin, client: redis.asyncio.Redis, engines: Any
) -> None:
    rules = [rule for rule in acl.publisher_rules() if not rule.startswith("~{*}")]
    await client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">pw", *rules)
    url = f"{engines.redis_url.partition('?')[0]}?username=narrow&password=pw"
    team = await admin.create_team(name=next(_names))
    async with Admin.open(engines.database_url, url, actor="tests", signer=SIGNER) as narrow:
        key = await budget(narrow, team)
    assert not await admits(client, key)
    # From now on it is the collector's, whoever publishes.
    await budget(admin, team, "1000 requests/min")
    assert not await admits(client, key)
    await collect(engines)
    assert await admits(client, key)


async def test_a_redis_that_is_emptied_in_the_middle_of_healing_is_not_taken_for_healed(
    admin: Admin, client: redis.asyncio.Redis, engines: Any
) -> None:
    team = await admin.create_team(name=next(_names))
    key = await budget(admin, team)
    assert await admits(client, key, 40)
    await client.flushall()
    keeper, store = BudgetKeeper(client), await FactStore.open(engines.database_url)
    told = keeper._commit

    async def emptied(*arguments: Any) -> bool:
        done = await told(*arguments)
        await client.flushall()
        return done

    keeper._commit = emptied  # type: ignore[method-assign]
    await keeper.seed(store, now_us())
    assert await client.get(tracked_key(team.id)) is None
    assert not await admits(client, key)
    keeper._commit = told  # type: ignore[method-assign]
    await keeper.seed(store, now_us())
    assert await admits(client, key)
    await store.close()


async def test_end_users_windows_open_also_where_tomorrows_were_promised_only(
    admin: Admin, client: redis.asyncio.Redis, engines: Any
) -> None:
    team = await admin.create_team(name=next(_names))
    key = await budget(admin, team, end_user="*")
    await client.flushall()
    # Another budget says that from now on nothing is lost: today's windows may have been.
    await budget(admin, team)
    someone = f"{key}:{new_id()[:16].replace('-', '0')}"
    assert not await admits(client, someone)
    await collect(engines)
    assert await admits(client, someone)

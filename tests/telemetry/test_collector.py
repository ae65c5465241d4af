"""Collectors: each fact counts once, whoever dies and whatever comes along."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import redis.exceptions

from mesh_store.model.errors import DatabaseUnavailable
from mesh_store.model.facts import Fact
from mesh_store.model.ids import now_us
from mesh_store.postgres import usage_partitions
from mesh_store.redis.stream import Batch, done_key
from mesh_store.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
COLLECTING = Path(__file__).parent / "collecting.py"
STREAM = "mesh:facts:0"
DAY_US = 24 * 3600 * 1_000_000

#: Sums of the raw rows the way the rollups count them, beside the rollups: the difference must be empty.
SAME = """
WITH raw AS (
    SELECT CASE WHEN apart THEN grain ELSE 'team ' || grain END AS grain,
        date_trunc(grain, started_at, 'UTC') AS starts_at, team_id,
        CASE WHEN apart THEN coalesce(user_id, '') ELSE '' END AS user_id,
        CASE WHEN apart THEN key_id ELSE '' END AS key_id, alias, coalesce(provider, '') AS provider,
        coalesce(request_model, '') AS model,
        count(*) FILTER (WHERE outcome <> 'denied') AS attempts, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, coalesce(sum(cost_pico_usd), 0) AS cost_pico_usd,
        sum(duration_us) AS duration_us
    FROM usage_events CROSS JOIN (
        VALUES ('minute', true), ('hour', true), ('day', true), ('hour', false), ('day', false)
    ) AS g (grain, apart)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), rolled AS (
    SELECT grain, starts_at, team_id, user_id, key_id, alias, provider, model, attempts, input_tokens,
        output_tokens, cost_pico_usd, duration_us FROM usage_rollups
)
SELECT count(*) FROM ((TABLE raw EXCEPT ALL TABLE rolled) UNION ALL (TABLE rolled EXCEPT ALL TABLE raw)) AS d
"""


class Producer:
    """Puts entries into the stream as a shipper would, or as none ever should."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.position = 0

    def send(self, facts: list[Fact], ring: str = "ring1") -> Batch:
        return self.send_body(msgspec.msgpack.encode(facts), len(facts), ring)

    def send_body(self, body: bytes, count: int = 1, ring: str = "ring1") -> Batch:
        batch = Batch(ring, 1, self.position, self.position + 8, count, body)
        self.position += 8
        self.client.xadd(STREAM, batch.fields())
        return batch

    def acknowledged(self, ring: str = "ring1") -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self.client.hgetall(done_key(ring))
        return found


@pytest.fixture
def producer(valkey: Any) -> Producer:
    return Producer(valkey.client)


@pytest.fixture
async def collector(database_url: str, valkey: Any) -> Any:
    made = Collector(database_url, valkey.url, claim_s=0)
    yield made
    await made.close()


async def count(postgres: Any) -> int:
    found: int = await postgres.fetchval("SELECT count(*) FROM usage_events")
    return found


def start_collecting(database_url: str, redis_url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(COLLECTING), database_url, redis_url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def until(true: Any, what: str) -> None:
    for _ in range(2000):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it never came to pass that {what}")


async def test_an_entry_that_comes_twice_counts_once_and_is_acknowledged_twice(
    kit: Any, producer: Producer, collector: Collector, postgres: Any, valkey: Any
) -> None:
    facts = [kit.fact() for _ in range(5)]
    producer.send(facts)
    producer.send(facts)
    done = await collector.collect_once()
    assert (done.facts, done.repeated) == (5, 5)
    assert await count(postgres) == 5
    assert await postgres.fetchval(SAME) == 0
    assert producer.acknowledged() == {b"1:0": b"8", b"1:8": b"16"}
    assert valkey.client.ttl(done_key("ring1")) > 6 * 24 * 3600
    assert valkey.client.xlen(STREAM) == 0


async def test_a_repeat_in_a_later_transaction_changes_no_sum(
    kit: Any, producer: Producer, collector: Collector, postgres: Any
) -> None:
    facts = [kit.fact() for _ in range(5)]
    producer.send(facts)
    await collector.collect_once()
    producer.send([*facts, kit.fact()])
    assert (await collector.collect_once()).facts == 1
    assert await count(postgres) == 6
    assert await postgres.fetchval(SAME) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1 not msgpack", "undecodable"),
        (msgspec.msgpack.encode([["only", "nonsense"]]), "undecodable"),
        (msgspec.msgpack.encode({"a": 1}), "undecodable"),
    ],
)
async def test_a_body_nobody_can_read_is_kept_aside_and_acknowledged(
    kit: Any, producer: Producer, collector: Collector, postgres: Any, valkey: Any, body: bytes, reason: str
) -> None:
    producer.send_body(body)
    producer.send([kit.fact()])
    done = await collector.collect_once()
    assert (done.facts, done.dead) == (1, 1)
    assert await postgres.fetchval("SELECT reason FROM telemetry_dead") == reason
    assert len(producer.acknowledged()) == 2
    assert valkey.client.xlen(STREAM) == 0


async def test_one_bad_fact_does_not_cost_its_batch(
    kit: Any, producer: Producer, collector: Collector, postgres: Any
) -> None:
    good = [kit.fact() for _ in range(9)]
    bad = [
        kit.fact(alias="null\0byte"),
        kit.fact(input_tokens=2**63),
        kit.fact(call_id="no uuid"),
        kit.fact(id="01890000-0000-4000-8000-000000000000"),
    ]
    producer.send([good[0], bad[0], *good[1:4], bad[1], bad[2], *good[4:], bad[3]])
    done = await collector.collect_once()
    assert (done.facts, done.dead) == (9, 4)
    reasons = [row["reason"] for row in await postgres.fetch("SELECT reason FROM telemetry_dead ORDER BY 1")]
    assert reasons == ["bad_id", "refused", "refused", "refused"]
    assert await postgres.fetchval(SAME) == 0


async def test_an_entry_that_is_no_batch_is_kept_aside(
    producer: Producer, collector: Collector, postgres: Any, valkey: Any
) -> None:
    valkey.client.xadd(STREAM, {"hello": "world"})
    assert (await collector.collect_once()).dead == 1
    assert valkey.client.xlen(STREAM) == 0
    assert await postgres.fetchval("SELECT reason FROM telemetry_dead") == "not_a_batch"


async def test_a_newer_writers_further_fields_are_ignored(
    kit: Any, producer: Producer, collector: Collector
) -> None:
    longer = [*msgspec.to_builtins(kit.fact()), "a field of tomorrow"]
    producer.send_body(msgspec.msgpack.encode([longer]))
    assert (await collector.collect_once()).facts == 1


async def test_facts_out_of_time_are_dead_and_never_in_the_rollups(
    kit: Any, producer: Producer, collector: Collector, postgres: Any
) -> None:
    producer.send(
        [
            kit.fact(id="01800000-0000-7000-8000-000000000000"),
            kit.fact(id="02ffffff-0000-7000-8000-000000000000"),
            kit.fact(started_at_us=now_us() - 60 * DAY_US),
            kit.fact(started_at_us=now_us() + DAY_US),
            kit.fact(started_at_us=now_us() - 2 * DAY_US),
        ]
    )
    done = await collector.collect_once()
    assert (done.facts, done.dead) == (1, 4)
    reasons = [row["reason"] for row in await postgres.fetch("SELECT reason FROM telemetry_dead ORDER BY 1")]
    assert reasons == ["too_new", "too_new", "too_old", "too_old"]
    assert await postgres.fetchval("SELECT count(*) FROM usage_rollups") == 5


async def test_a_fact_of_a_dropped_day_cannot_count_again(
    kit: Any, producer: Producer, fresh_url: str, fresh: Any, valkey: Any
) -> None:
    fact, sums = kit.fact(), "SELECT sum(attempts) FROM usage_rollups"
    for expected in ((1, 0), (0, 1)):
        producer.send([fact])
        collector = Collector(fresh_url, valkey.url)
        done = await collector.collect_once()
        await collector.close()
        assert (done.facts, done.dead) == expected
        assert await fresh.fetchval(sums) == 5
        tomorrow = usage_partitions.day_of(now_us() + DAY_US)
        await usage_partitions.prune(fresh, tomorrow)


async def test_a_collector_killed_before_its_commit_loses_nothing(
    kit: Any, producer: Producer, collector: Collector, database_url: str, postgres: Any, valkey: Any
) -> None:
    producer.send([kit.fact() for _ in range(100)])
    async with postgres.transaction():
        # Its statement has inserted the rows and waits for the rollups: the middle of a batch.
        await postgres.execute("LOCK TABLE usage_rollups IN EXCLUSIVE MODE")
        process = start_collecting(database_url, valkey.url)
        watcher = await asyncpg.connect(database_url)

        async def waits() -> bool:
            return bool(
                await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND application_name = 'mesh collector' AND datname = current_database()"
                )
            )

        await until(waits, "the collector is in the middle")
        process.kill()
        await asyncio.to_thread(process.wait)
        await watcher.close()
    assert valkey.client.xpending(STREAM, "collectors")["pending"] == 1

    assert (await collector.collect_once()).facts == 100
    assert await count(postgres) == 100
    assert await postgres.fetchval(SAME) == 0
    assert valkey.client.xlen(STREAM) == 0


async def test_a_collector_that_dies_between_commit_and_acknowledgement_doubles_nothing(
    kit: Any, producer: Producer, collector: Collector, database_url: str, postgres: Any, valkey: Any
) -> None:
    producer.send([kit.fact() for _ in range(100)])
    dying = Collector(database_url, valkey.url)

    async def die(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("gone")

    dying._reader.finish = die  # type: ignore[method-assign]
    with pytest.raises(Exception, match="gone"):
        await dying.collect_once()
    assert (await count(postgres), producer.acknowledged()) == (100, {})

    done = await collector.collect_once()
    assert (done.facts, done.repeated) == (0, 100)
    assert producer.acknowledged() == {b"1:0": b"8"}
    assert await postgres.fetchval(SAME) == 0
    await dying.close()


async def test_several_collectors_share_the_work_and_never_double_it(
    kit: Any, producer: Producer, database_url: str, postgres: Any, valkey: Any
) -> None:
    for _ in range(150):
        producer.send([kit.fact(alias=f"a{n}") for n in range(20)])
    collectors = [Collector(database_url, valkey.url, claim_s=0) for _ in range(3)]
    done = await asyncio.gather(*[each.collect_once() for each in collectors])
    await asyncio.gather(*[each.close() for each in collectors])
    assert sum(each.facts for each in done) == await count(postgres) == 3000
    assert await postgres.fetchval(SAME) == 0
    assert valkey.client.xlen(STREAM) == 0


async def test_what_is_there_now_is_in_a_stream_begun_since_too(
    kit: Any, producer: Producer, collector: Collector
) -> None:
    assert (await collector.collect_once()).facts == 0
    batch = Batch("ring2", 1, 0, 8, 2, msgspec.msgpack.encode([kit.fact(), kit.fact()]))
    producer.client.xadd("mesh:facts:5", batch.fields())
    assert (await collector.collect_once()).facts == 2


async def test_while_postgres_is_away_entries_wait_in_the_stream(
    kit: Any, producer: Producer, valkey: Any, collector: Collector, postgres: Any
) -> None:
    producer.send([kit.fact()])
    away = Collector("postgresql://mesh@/mesh?host=/nowhere", valkey.url)
    with pytest.raises(DatabaseUnavailable):
        await away.collect_once()
    await away.close()
    assert valkey.client.xlen(STREAM) == 1
    assert (await collector.collect_once()).facts == 1


async def test_a_running_collector_survives_the_loss_of_its_connection_and_of_the_stream(
    kit: Any, producer: Producer, database_url: str, postgres: Any, valkey: Any
) -> None:
    collector, stop = Collector(database_url, valkey.url), asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    producer.send([kit.fact()])
    await until(lambda: _stored(postgres, 1), "the first fact is there")
    await postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'mesh collector' AND datname = current_database()"
    )
    producer.send([kit.fact()])
    await until(lambda: _stored(postgres, 2), "the second fact is there")
    valkey.client.flushall()
    producer.send([kit.fact()])
    await until(lambda: _stored(postgres, 3), "the third fact is there")
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_running_collector_can_be_seen_and_leaves_no_trace_when_it_stops(
    database_url: str, valkey: Any
) -> None:
    collector, stop = Collector(database_url, valkey.url, consumer="c1"), asyncio.Event()
    running = asyncio.create_task(collector.run(stop))

    async def seen() -> bool:
        return bool(valkey.client.hget("mesh:collector", "c1"))

    await until(seen, "the collector shows itself")
    report = msgspec.json.decode(valkey.client.hget("mesh:collector", "c1"))
    assert report["at_us"] > now_us() - 60_000_000
    stop.set()
    await asyncio.wait_for(running, 10)
    assert not valkey.client.hexists("mesh:collector", "c1")
    assert valkey.client.xinfo_consumers(STREAM, "collectors") == []


async def test_a_fact_whose_key_is_another_teams_is_flagged(
    kit: Any, producer: Producer, fresh_url: str, fresh: Any, valkey: Any
) -> None:
    ours, theirs = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"
    await fresh.execute("SET session_replication_role = replica")  # no triggers: only these rows matter
    for team, name in ((ours, "ours"), (theirs, "theirs")):
        await fresh.execute("INSERT INTO teams (id, name) VALUES ($1, $2)", team, name)
    await fresh.execute("INSERT INTO keys (id, team_id) VALUES ('keyOurs1', $1)", ours)
    producer.send(
        [
            kit.fact(alias="a", team_id=ours, key_id="keyOurs1"),
            kit.fact(alias="b", team_id=theirs, key_id="keyOurs1"),
            kit.fact(alias="c", team_id=ours, key_id="keyNone1"),
        ]
    )
    collector = Collector(fresh_url, valkey.url)
    await collector.collect_once()
    await collector.close()
    flags = {row["alias"]: row["flags"] for row in await fresh.fetch("SELECT alias, flags FROM usage_events")}
    assert flags == {"a": [], "b": ["foreign_key"], "c": ["unknown_key"]}


async def _stored(postgres: Any, wanted: int) -> bool:
    return await count(postgres) == wanted

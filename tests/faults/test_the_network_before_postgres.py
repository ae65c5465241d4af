"""Between the control plane and Postgres anything may go wrong: all is told, nothing lost or doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from mesh_plugins.mesh import Mesh
from mesh_store.model.errors import DatabaseUnavailable
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.postgres.repository import Repository
from mesh_store.redis.client import connect_async
from mesh_store.sync.publisher import watch_and_publish
from mesh_store.telemetry.collector import Collector
from tests.cli.conftest import Cli
from tests.conftest import SIGNER
from tests.faults.conftest import Priced
from tests.faults.relay import Relay, Toxics

SEED = 13
CALLS = 12
#: Seconds whatever is asked again and again may need, on a busy machine.
PATIENCE_S = 90

FAULTS = {
    "late": Toxics(latency_s=0.02, jitter_s=0.05),
    "in slices": Toxics(slice_bytes=13),
    "narrow": Toxics(bytes_per_s=100_000),
    "unheard": Toxics(black_hole_down=True),
    "swallowed": Toxics(black_hole_up=True),
    "refused": Toxics(refuse=True),
}


@pytest.fixture
def relay(priced: Priced) -> Iterator[Relay]:
    with Relay.to_postgres(priced.world.engines.database_url, seed=SEED) as relay:
        yield relay


@asynccontextmanager
async def control_plane(priced: Priced, relay: Relay) -> AsyncIterator[Collector]:
    """Collect and publish as ``mesh collect`` does, through the relay."""
    engines, stop = priced.world.engines, asyncio.Event()
    through = relay.postgres_url(engines.database_url)
    collector = Collector(through, engines.redis_url, claim_s=1)
    redis = connect_async(engines.redis_url, deadline=5.0)
    async with Database(through) as database:
        publishing = watch_and_publish(PostgresSource(database), redis, stop, signer=SIGNER, poll_s=0.1)
        work = [asyncio.create_task(collector.run(stop)), asyncio.create_task(publishing)]
        try:
            yield collector
        finally:
            stop.set()
            await asyncio.gather(*work)
            await redis.aclose()


async def change(priced: Priced, name: str) -> int:
    """Make an alias over a way that is sound, and leave publishing to others; returns the revision."""
    async with Database(priced.world.engines.database_url) as database:
        targets = [{"provider": priced.world.name("local"), "model": "small"}]
        await Repository(database, actor="tests").create_alias(name=name, targets=targets)
        return (await database.head()).revision


def calls(mesh: Mesh, priced: Priced, stem: str) -> None:
    for number in range(CALLS):
        mesh.chat(**priced.asked(f"{priced.world.team}-{stem}-{number}"))


async def until_stored(priced: Priced, count: int) -> None:
    """Wait until so many calls of the team are in Postgres."""
    connection = await asyncpg.connect(priced.world.engines.dsn)
    ask = "SELECT count(*) FROM usage_events e JOIN teams t ON t.id::text = e.team_id::text WHERE t.name = $1"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await connection.fetchval(ask, priced.world.team) < count:  # noqa: ASYNC110 - stored by others
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_callers_do_not_notice_and_everything_arrives_once(
    priced: Priced, relay: Relay, fault: str
) -> None:
    world, mesh = priced.world, priced.world.mesh()
    async with control_plane(priced, relay):
        await asyncio.to_thread(calls, mesh, priced, "before")
        await until_stored(priced, CALLS)
        relay.toxics = FAULTS[fault]
        if relay.toxics.refuse:
            relay.reset()
        await asyncio.to_thread(calls, mesh, priced, "during")
        revision = await change(priced, f"{priced.alias}-2")
        relay.toxics = Toxics()
        if fault in ("unheard", "swallowed"):
            relay.reset()  # a half-open connection is given up after a statement's deadline: a minute
        await until_stored(priced, 2 * CALLS)
        await asyncio.to_thread(mesh._held.subscriber.wait, revision, PATIENCE_S)
        mesh.chat(**priced.asked(f"{world.team}-after") | {"alias": f"{priced.alias}-2"})
        mesh.close()
        await until_stored(priced, 2 * CALLS + 1)
    assert (await asyncio.to_thread(priced.check))["ok"] == 2 * CALLS + 1


async def test_connections_that_break_again_and_again_store_every_fact_once(
    priced: Priced, relay: Relay
) -> None:
    print(f"seed {SEED}")
    chance, mesh = random.Random(SEED), priced.world.mesh()
    relay.toxics = Toxics(latency_s=0.002, jitter_s=0.01)  # so that they break in the middle, at commit too
    async with control_plane(priced, relay) as collector:
        calling = asyncio.create_task(asyncio.to_thread(calls, mesh, priced, "broken"))
        async with asyncio.timeout(PATIENCE_S):
            while not calling.done() or collector.failures < 5:
                await asyncio.sleep(chance.uniform(0.05, 0.4))
                await asyncio.to_thread(relay.reset)
        relay.toxics = Toxics()
        await calling
        mesh.close()
        await until_stored(priced, CALLS)
    assert (await asyncio.to_thread(priced.check))["ok"] == CALLS


@pytest.mark.parametrize("fault", ["refused", "swallowed", pytest.param("unheard", marks=pytest.mark.full)])
def test_commands_end_in_our_words(priced: Priced, relay: Relay, fault: str, tmp_path: Path) -> None:
    world = priced.world
    relay.toxics = FAULTS[fault]
    database_url = relay.postgres_url(world.engines.database_url)
    cli = Cli(world.home, world.environ | {"MESH_DATABASE_URL": database_url}, here=True)
    commands: list[tuple[str, ...]] = [("team", "list")]
    if fault == "refused":
        commands += [
            ("usage",),
            ("team", "create", "another"),
            ("quota", "show", world.team),
        ]
    for command in commands:
        done = cli.run(*command)
        assert done.returncode == 1, done
        assert "Postgres at" in done.stderr, done
        assert "Traceback" not in done.stdout + done.stderr


async def test_leaving_a_connection_that_broke_is_told_by_us(priced: Priced, relay: Relay) -> None:
    """Leaving rolls back, which a lost connection cannot."""
    through = relay.postgres_url(priced.world.engines.database_url)
    async with Database(through) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.connect() as connection:
                await connection.execute(text("SELECT 1"))
                await asyncio.to_thread(relay.reset)
        with pytest.raises((DatabaseUnavailable, LookupError)):
            async with database.begin() as session:
                await session.execute(text("SELECT 1"))
                await asyncio.to_thread(relay.reset)
                raise LookupError


@pytest.mark.parametrize("step", [40, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.timeout(600)
def test_a_command_whose_server_is_gone_at_any_moment_ends_in_our_words(
    priced: Priced, relay: Relay, step: int
) -> None:
    """While it connects, asks, or commits; each moment is a piece of what is said further on."""
    world = priced.world
    database_url = relay.postgres_url(world.engines.database_url)
    cli = Cli(world.home, world.environ | {"MESH_DATABASE_URL": database_url}, here=True)
    for pieces in range(1, 1_000, step):
        relay.toxics = Toxics(pieces_left=pieces)
        done = cli.run("alias", "set", priced.alias, "--target", f"{world.name('local')}/model-{pieces}")
        if not relay.toxics.refuse:
            break
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode in (0, 1), done
        assert done.returncode == 0 or "Postgres at" in done.stderr, done
    assert done.returncode == 0, done
    assert pieces > 10, "it spoke to Postgres"

"""A pair of engines that comes when asked for, and answers in every client's language."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import asyncpg
import redis
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from mesh_store.embedded import attach, status


async def test_one_call_gives_a_postgres_and_a_valkey_that_answer(home):
    with attach(home) as engines:
        assert engines.started
        assert engines.home == home
        connection = await asyncpg.connect(engines.dsn)
        assert await connection.fetchval("SELECT current_user || '@' || current_database()") == "mesh@mesh"
        await connection.close()
        orm = create_async_engine(engines.database_url)
        async with orm.connect() as session:
            assert (await session.execute(sa.text("SELECT 1"))).scalar() == 1
        await orm.dispose()
        with redis.Redis.from_url(engines.redis_url) as client:
            assert client.ping()
            assert client.eval("return redis.call('TIME')[1]", 0)
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_second_process_attaches_to_the_pair_that_runs(home, users, state):
    with attach(home) as engines:
        before = state(home)
        other = users(home, "engines = attach(home); print(engines.started, engines.redis_url)")
        assert other.line() == f"False {engines.redis_url}"
        assert state(home) == before


def test_attaching_to_a_running_pair_takes_milliseconds(home):
    with attach(home):
        took = []
        for _ in range(10):
            began = time.perf_counter()
            attach(home).close()
            took.append(time.perf_counter() - began)
        assert min(took) < 0.05


def test_a_warm_start_is_quick(home, gone):
    attach(home, linger=0).close()
    gone(home)
    began = time.perf_counter()
    with attach(home) as engines:
        assert engines.started
    assert time.perf_counter() - began < 30  # 0.2 s on an idle machine


async def test_data_of_both_survives_a_restart(home, gone):
    with attach(home, linger=0) as engines:
        connection = await asyncpg.connect(engines.dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        await connection.close()
        with redis.Redis.from_url(engines.redis_url) as client:
            client.set("kept", 7)
    gone(home)
    with attach(home) as engines:
        assert engines.started
        connection = await asyncpg.connect(engines.dsn)
        assert await connection.fetchval("SELECT n FROM kept") == 7
        await connection.close()
        with redis.Redis.from_url(engines.redis_url) as client:
            assert client.get("kept") == b"7"


def test_closing_twice_gives_back_one_lease_only(home, servers, gone):
    first, second = attach(home), attach(home)
    first.close()
    first.close()
    assert status(home).users == (os.getpid(),)
    second.close()
    gone(home)
    assert not servers(home)


def test_everything_that_holds_data_or_sockets_is_private(home):
    with attach(home):
        found = status(home)
        private = [home / "postgres", home / "valkey", home / "logs", home / "engines"]
        for server in (found.postgres, found.valkey):
            assert stat.S_ISSOCK(server.socket.stat().st_mode)
            private += [server.socket, server.socket.parent, server.socket.parent.parent]
        assert {path: oct(stat.S_IMODE(path.stat().st_mode)) for path in private} == dict.fromkeys(
            private, "0o700"
        )


def test_importing_the_package_loads_neither_locks_nor_subprocesses():
    loaded = (
        "import sys; before = set(sys.modules); import mesh_store.embedded; "
        "print(sorted((set(sys.modules) - before) & {'subprocess', 'ctypes', 'fcntl', 'asyncpg', 'msgspec'}))"
    )
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"

"""Unix sockets and nothing else, on a short path, whatever the home is called."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
from pathlib import Path

import asyncpg
import pytest
import redis

from mesh_store.embedded import attach, status

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


async def both_answer(engines) -> bool:
    connection = await asyncpg.connect(engines.dsn)
    one = await connection.fetchval("SELECT 1")
    await connection.close()
    with redis.Redis.from_url(engines.redis_url) as client:
        return bool(one == 1 and client.ping())


@linux
def test_no_tcp_or_udp_port_is_opened(home, state, servers):
    with attach(home):
        inodes = set()
        for pid in {*servers(home), state(home).supervisor}:
            with contextlib.suppress(FileNotFoundError):  # Postgres' workers come and go
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(FileNotFoundError):  # and so do their files
                        target = os.readlink(entry)
                        if target.startswith("socket:["):
                            inodes.add(target[8:-1])
        assert inodes  # the unix sockets were found, so a port would have been
        open_ports = [
            line.split()
            for table in ("tcp", "tcp6", "udp", "udp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        ]
        assert not [row[1] for row in open_ports if row[9] in inodes]


@pytest.mark.parametrize("name", ["x" * 180, "with a space, a comma and 'quotes'", "ünïcode %41 ?x=1#y"])
async def test_any_home_gets_sockets_on_a_short_plain_path(bare_home, cluster, name, clean):
    home = clean(bare_home / name)
    shutil.copytree(cluster, home / "postgres")
    with attach(home) as engines:
        for server in (status(home).postgres, status(home).valkey):
            assert len(os.fsencode(server.socket)) < 100
            assert stat.S_IMODE(server.socket.parent.parent.stat().st_mode) == 0o700
        assert await both_answer(engines)
        run = status(home).valkey.socket.parent.parent
    clean.stop()
    assert not run.exists()


async def test_two_homes_are_two_pairs(home, bare_home, cluster, clean):
    other = clean(bare_home / "other")
    shutil.copytree(cluster, other / "postgres")
    with attach(home) as one, attach(other) as two:
        assert one.started
        assert two.started
        assert one.redis_url != two.redis_url
        with redis.Redis.from_url(one.redis_url) as client:
            client.set("whose", "one")
        with redis.Redis.from_url(two.redis_url) as client:
            assert client.get("whose") is None


async def test_a_runtime_directory_that_somebody_else_prepared_is_not_used(bare_home, cluster, clean):
    home = clean(bare_home / ("x" * 180))
    shutil.copytree(cluster, home / "postgres")
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    squatted = Path("/tmp") / f"mesh-{os.geteuid()}-{digest}"
    elsewhere = bare_home / "elsewhere"
    elsewhere.mkdir()
    squatted.symlink_to(elsewhere)
    try:
        with attach(home) as engines:
            assert await both_answer(engines)
            assert not status(home).valkey.socket.is_relative_to(squatted)
        assert not list(elsewhere.iterdir())
    finally:
        squatted.unlink()


def test_two_spellings_of_one_home_are_one_pair(home, tmp_path):
    (tmp_path / "link").symlink_to(home)
    with attach(home) as engines, attach(tmp_path / "link") as again:
        assert not again.started
        assert again.redis_url == engines.redis_url


def test_the_home_comes_from_the_environment(home, users):
    user = users(home, "engines = attach(); print(engines.home)", MESH_HOME=str(home))
    assert user.line() == str(home)


def test_the_environment_of_a_user_with_other_servers_does_not_mislead_the_addresses(home, users):
    body = (
        "engines = attach(home)\n"
        "import asyncio, asyncpg\n"
        "async def ask():\n"
        "    c = await asyncpg.connect(engines.dsn); print(await c.fetchval('select 1')); await c.close()\n"
        "asyncio.run(ask())"
    )
    user = users(home, body, PGPORT="6000", PGHOST="nowhere.invalid", PGUSER="else", PGDATABASE="else")
    assert user.line() == "1"


def test_a_socket_path_with_a_percent_sign_is_quoted_once():
    from mesh_store.embedded.addresses import dsn, redis_url

    assert redis_url("/run/a%20b c/s") == "unix:///run/a%2520b%20c/s?db=0"
    assert dsn("/run/a b/.s.PGSQL.5432").endswith("?host=/run/a%20b&port=5432")


def test_servers_do_not_inherit_the_secrets_of_whoever_started_them(home, users, state):
    user = users(home, OPENAI_API_KEY="sk-not-for-servers", MESH_SECRET_KEY="not-for-servers")
    assert user.line() == "ready"
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    for pid in (state(home).postgres.pid, state(home).valkey.pid):
        assert b"not-for-servers" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_supervisor_is_found_from_any_directory(home, users, tmp_path):
    user = users(home, f"os.chdir({str(tmp_path)!r}); engines = attach(home)")
    assert user.line() == "ready"

"""A real pgbouncer in transaction mode: connections are anybody's between two transactions."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from mesh_plugins.cli.control import Place
from mesh_plugins.settings import Settings
from mesh_store.embedded.identity import Namespace
from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Signer
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.postgres.database import is_pooled
from mesh_store.postgres.history_retention import Kept, prune_history
from mesh_store.postgres.migrate import differences
from mesh_store.postgres.repository import Repository
from tests.ports import free_port

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")

CONFIGURATION = """
[databases]
* = user={user} host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
ignore_startup_parameters =
logfile = {folder}/log
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def pooled(engines, tmp_path_factory):
    """Turn a database's URL into the one through the pooler."""
    folder, listen = tmp_path_factory.mktemp("bouncer"), free_port()
    direct = make_url(engines.database_url)
    place = {"host": direct.query["host"], "port": direct.query.get("port", 5432)}
    configured = CONFIGURATION.format(**place, user=direct.username, listen=listen, folder=folder)
    (folder / "ini").write_text(configured)
    become = anybody_but_root()
    server = subprocess.Popen([PGBOUNCER, "-q", str(folder / "ini")], preexec_fn=become)  # noqa: PLW1509
    deadline = time.monotonic() + 20
    while not answers(listen):
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)

    def through(url: str) -> str:
        name = make_url(url).database
        return f"postgresql://{direct.username}@127.0.0.1:{listen}/{name}?pooler=transaction"

    yield through
    server.terminate()
    server.wait()


def anybody_but_root():
    """pgbouncer refuses to be root, and the engines' sockets are their owner's alone."""
    if os.geteuid() != 0:
        return None
    try:
        subprocess.run(["true"], preexec_fn=Namespace().enter, check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("pgbouncer does not run as root, and user namespaces are forbidden here")
    return Namespace().enter


@pytest.fixture
async def through(pooled, own_url):
    async with Database(pooled(own_url)) as database:
        yield database


async def test_migrations_run_through_it_from_many_at_once(pooled, empty_url):
    async def start() -> None:
        async with Database(pooled(empty_url)) as database:
            await database.migrate()

    await asyncio.gather(*[start() for _ in range(4)])
    async with Database(pooled(empty_url)) as database:
        assert await differences(database) == []


async def test_operators_and_publishers_work_through_it_side_by_side(through):
    repo = Repository(through, actor="ops", master=Signer(b"s" * 32).master)
    source = PostgresSource(through)

    async def furnish(number: int) -> None:
        name = f"team{number}"
        async with repo.batch() as batch:
            await batch.create_team(name=name)
            await batch.create_provider(name=name, kind="openai", base_url="http://127.0.0.1:9/v1", team=name)
            await batch.set_secret(name, "sk-x", team=name)
            await batch.create_alias(name=name, team=name, targets=[{"provider": name, "model": "m"}])
            await batch.create_key(team=name)
        await source.prepare(Signer(b"s" * 32).master)
        await source.compile_snapshot()
        await source.keys_since(0, 100)

    await asyncio.gather(*[furnish(number) for number in range(24)])
    document = await source.compile_snapshot()
    assert len(document.teams) == len(document.aliases) == 24
    assert (await through.head()).revision >= 24
    await prune_history(through, Kept(audit_days=90, changes_days=30, dead_days=30), actor="ops")


async def test_settings_are_those_of_each_transaction_and_no_others(through):
    async def look() -> tuple[str, str]:
        async with through.begin() as session:
            path = (await session.execute(text("SHOW search_path"))).scalar()
            return path, (await session.execute(text("SHOW statement_timeout"))).scalar()

    assert set(await asyncio.gather(*[look() for _ in range(16)])) == {("public", "30s")}


def test_the_url_says_so_and_what_needs_a_session_asks_for_one():
    url = "postgresql://mesh@pooler:6432/mesh"
    assert [is_pooled(url), is_pooled(f"{url}?pooler=transaction")] == [False, True]
    assert "pooler=" not in str(Database(f"{url}?pooler=transaction").url)
    with pytest.raises(ConfigError, match="pooler=transaction"):
        is_pooled(f"{url}?pooler=statement")

    def place(**more: str) -> Place:
        settings = Settings(database_url=f"{url}?pooler=transaction", redis_url="redis://x", **more)
        return Place(settings, settings.database_url, "redis://x", "redis://x", own=False)

    with pytest.raises(ConfigError, match="MESH_DATABASE_SESSION_URL"):
        _ = place().session_url
    assert place().session_url_if_any is None
    assert place(database_session_url="postgresql://mesh@server/mesh").session_url.endswith("@server/mesh")

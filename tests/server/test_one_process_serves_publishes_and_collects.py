"""`mesh serve`: sockets, readiness, several at once, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from mesh_plugins.server import running
from mesh_plugins.server.control import Control
from mesh_plugins.server.health import Readying
from mesh_plugins.server.running import Serving, serve
from mesh_plugins.server.sockets import is_loopback, listening
from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Place
from mesh_store.postgres import Database
from mesh_store.redis import config_channel, connect_async
from mesh_store.redis.stream import COLLECTORS
from tests.conftest import SECRET_KEY, SIGNER

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def served(
    engines, path: Path, *, stop: asyncio.Event | None = None, **options
) -> AsyncIterator[httpx.AsyncClient]:
    """A whole control plane on a unix socket, in this process."""
    stop, ready = stop or asyncio.Event(), asyncio.Event()
    urls = {"redis_url": engines.redis_url, "telemetry_redis_url": engines.redis_url}
    async with Database(engines.database_url) as database:
        serving = Serving(**urls, unix=path, signer=SIGNER, **options)
        running = asyncio.create_task(serve(serving, database, stop, lambda _: ready.set()))
        starting = asyncio.create_task(ready.wait())
        await asyncio.wait((running, starting), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        try:
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as client:
                yield client
        finally:
            starting.cancel()
            stop.set()
            await running


@pytest.fixture
def sockets(tmp_path_factory) -> Path:
    """A directory whose paths are short enough for a unix socket."""
    return tmp_path_factory.mktemp("s")


async def published(engines) -> Place | None:
    redis = connect_async(engines.redis_url, deadline=5.0)
    try:
        return (await config_channel.aread_heads(redis)).snapshot
    finally:
        await redis.aclose()


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_changed_over_http_reaches_redis_at_once(
    mesh_engines, house, sockets, control, monkeypatch
):
    # Heard of, not polled for: the poll would take longer than anybody waits here.
    unpolled = partial(running.watch_and_publish, poll_s=600)
    monkeypatch.setattr(running, "watch_and_publish", unpolled)
    async with served(mesh_engines, sockets / "a", collect=False) as api:
        head = {"Authorization": f"Bearer {house.admin}"}
        for said in ("live", "and again"):  # the first may be what is published at the start
            body = {"description": said}
            assert (await api.patch(f"/v1/teams/{house.team}", json=body, headers=head)).status_code == 200
            want = await control.database.head()
            await eventually(partial(_arrived, mesh_engines, want.revision))
        ready = await api.get("/readyz")
        assert ready.json() == {"ready": True, "database": "fine", "redis": "fine", "publisher": "fine"}


async def test_several_serve_at_once_and_each_collects(mesh_engines, house, sockets):
    redis = connect_async(mesh_engines.redis_url, deadline=5.0)
    before = await redis.hlen(COLLECTORS)
    head = {"Authorization": f"Bearer {house.admin}"}
    async with (
        served(mesh_engines, sockets / "a") as one,
        served(mesh_engines, sockets / "b") as other,
    ):
        made = await one.post("/v1/teams", json={"name": f"{house.team}-two"}, headers=head)
        assert made.status_code == 201
        read = await other.get(f"/v1/teams/{house.team}-two", headers=head)
        assert read.json() == made.json()

        async def both_report() -> bool:
            return await redis.hlen(COLLECTORS) == before + 2

        await eventually(both_report)
    assert await redis.hlen(COLLECTORS) == before, "they leave when they end"
    await redis.aclose()


async def test_with_both_switched_off_nothing_is_published_or_collected(
    mesh_engines, house, sockets, control
):
    redis = connect_async(mesh_engines.redis_url, deadline=5.0)
    await redis.delete(config_channel.HEAD, config_channel.SNAPSHOT)
    async with served(mesh_engines, sockets / "a", publish=False, collect=False) as api:
        body, head = {"description": "waits"}, {"Authorization": f"Bearer {house.admin}"}
        await api.patch(f"/v1/teams/{house.team}", json=body, headers=head)
        assert (await api.get("/readyz")).json()["publisher"] == "fine", "another has its five seconds"
    assert await published(mesh_engines) is None
    await redis.aclose()


async def test_a_running_request_is_finished_and_what_it_committed_published(
    mesh_engines, house, sockets, control
):
    """SIGTERM comes while a request waits for a row lock; it is answered, and callers learn of it."""
    from mesh_store.postgres.people_tables import TeamRow

    stop, head = asyncio.Event(), {"Authorization": f"Bearer {house.admin}"}
    async with served(mesh_engines, sockets / "a", stop=stop, collect=False) as api:
        async with control.database.begin() as session:
            team = (await house.repo.get_team(house.team)).id
            await session.get(TeamRow, team, with_for_update=True)
            call = api.patch(f"/v1/teams/{house.team}", json={"description": "late"}, headers=head)
            waiting = asyncio.create_task(call)
            await _blocked(control)
            stop.set()
            await eventually(partial(_refused, sockets / "a"))
            assert not waiting.done()
        answer = await waiting
    assert answer.status_code == 200
    want, there = await control.database.head(), await published(mesh_engines)
    assert there is not None
    assert there.revision == want.revision


async def _refused(path: Path) -> bool:
    """Nobody is let in any more."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return True
    writer.close()
    return False


async def _blocked(control) -> None:
    """Wait until somebody waits for a lock."""
    from sqlalchemy import text

    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    async def somebody_waits() -> bool:
        async with control.database.connect() as connection:
            return bool((await connection.execute(query)).scalar_one())

    await eventually(somebody_waits)


async def _arrived(engines, revision: int) -> bool:
    there = await published(engines)
    return there is not None and there.revision >= revision


def test_the_command_serves_on_loopback_until_sigterm(mesh_engines, tmp_path):
    ours = {
        "MESH_DATABASE_URL": mesh_engines.database_url,
        "MESH_REDIS_URL": mesh_engines.redis_url,
        "MESH_HOME": str(tmp_path),
        "MESH_SECRET_KEY": SECRET_KEY,
        "PYTHONPATH": str(ROOT),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    mesh = [sys.executable, "-m", "mesh_plugins.cli"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*mesh, "serve", "--port", "0"], stdout=pipe, stderr=pipe, text=True, env=inherited | ours
    ) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("serving on http://127.0.0.1:"), process.stderr.read()
            address = said.split()[-1]
            assert httpx.get(f"{address}/healthz").json() == {"status": "fine"}
            assert httpx.get(f"{address}/v1/teams").status_code == 401
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, process.stderr.read()
        finally:
            process.kill()


async def test_readiness_names_what_is_missing(mesh_engines, control):
    nowhere = connect_async("redis://127.0.0.1:1/0", connect_deadline=0.2)
    found = await Readying(Control(control.database, nowhere, publishes=True)).look(0)
    assert (found.ready, found.database, found.redis, found.publisher) == (False, "fine", "away", "unknown")
    await nowhere.aclose()
    async with Database("postgresql://nobody@127.0.0.1:1/none") as away:
        found = await Readying(Control(away, control.redis, publishes=True)).look(0)
    assert (found.ready, found.database, found.redis) == (False, "away", "fine")


async def test_a_publisher_is_behind_only_after_a_while_and_ahead_at_once(control, monkeypatch):
    head = await control.database.head()

    async def at(place: Place | None) -> None:
        async def heads(_: object) -> config_channel.Heads:
            return config_channel.Heads(place, None, None)

        monkeypatch.setattr("mesh_plugins.server.health.aread_heads", heads)

    ours = Readying(Control(control.database, control.redis, publishes=True))
    others = Readying(Control(control.database, control.redis, publishes=False))
    await at(None)
    assert [(await ours.look(now)).publisher for now in (0, 4, 6)] == ["fine", "fine", "behind"]
    assert [(await others.look(now)).publisher for now in (0, 6)] == ["fine", "off"]
    await at(Place(head.epoch, head.revision))
    assert (await ours.look(7)).ready
    await at(None)
    assert (await ours.look(8)).ready, "counted from anew"
    await at(Place(head.epoch, head.revision + 1))
    found = await ours.look(9)
    assert (found.ready, found.publisher) == (False, "ahead")


def test_a_unix_socket_is_its_owners_alone_and_taken_over_only_when_stale(sockets):
    path = sockets / "a"
    with listening("", 0, path) as (_, address):
        assert address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(ConfigError, match="another process serves"), listening("", 0, path):
            pass
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening("", 0, path):
        pass
    path.write_text("precious")
    with pytest.raises(ConfigError, match="no socket"), listening("", 0, path):
        pass
    assert path.read_text() == "precious"


def test_a_port_that_is_taken_is_said_so():
    with listening("127.0.0.1", 0, None) as (bound, address):
        assert address == f"http://127.0.0.1:{bound.getsockname()[1]}"
        taken = bound.getsockname()[1]
        with pytest.raises(ConfigError, match=str(taken)), listening("127.0.0.1", taken, None):
            pass


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_only_loopback_is_loopback(host, expected):
    assert is_loopback(host) is expected

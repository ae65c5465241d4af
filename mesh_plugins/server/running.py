"""One process: the API, the publisher and the collector, and the order in which they end.

First the API stops taking requests and finishes those it has; then the publisher and the collector stop;
then what the last request committed is published once more, and exporters say their last words. Any
number of such processes may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from mesh_plugins.outputs import Outputs
from mesh_plugins.server.app import NO_OUTPUTS, build
from mesh_plugins.server.control import Control
from mesh_plugins.server.sockets import listening
from mesh_store.admin.admin import PUBLISH_DEADLINE
from mesh_store.model.errors import ConfigError, MeshError
from mesh_store.postgres.compile import PostgresSource
from mesh_store.redis.client import connect_async
from mesh_store.redis.failures import FAILURES
from mesh_store.sync.listening import listen_to
from mesh_store.sync.publisher import Listen, publish, watch_and_publish
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters.apart import exporting

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.model.signing import Signer
    from mesh_store.postgres import Database, Head

log = logging.getLogger(__name__)

#: Seconds running requests may take to end.
GRACE_S = 10
#: Requests answered at the same time; one more is told to come back (503).
CONCURRENCY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What one process serves.

    Attributes:
        redis_url: where callers read, and limits are.
        telemetry_redis_url: where facts arrive.
        telemetry_shards: over how many streams, those of orphaned rings included.
        home: where orphaned rings are looked for, or None.
        host, port: where to listen; port 0 lets the system choose.
        unix: a unix socket to listen on instead.
        publish: bring configuration to Redis.
        collect: bring facts to Postgres; needs a session.
        session_url: the database past a pooler, or None where there is no pooler.
        signer: signs what is published and seals secrets, or None where nothing is signed or sealed.
        outputs: what others are told of facts.
    """

    redis_url: str
    telemetry_redis_url: str
    telemetry_shards: int = 1
    home: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8420
    unix: Path | None = None
    publish: bool = True
    collect: bool = True
    session_url: str | None = None
    signer: Signer | None = None
    outputs: Outputs = NO_OUTPUTS


class Nudge:
    """Lets the publisher hear of commits made in this process, also where LISTEN hears nothing."""

    def __init__(self, listen: Listen | None) -> None:
        self._listen = listen
        self._heard: Callable[[], None] | None = None

    @asynccontextmanager
    async def listening(self, heard: Callable[[], None]) -> AsyncIterator[None]:
        """Listen, and remember whom to tell."""
        self._heard = heard
        if self._listen is None:
            yield
            return
        async with self._listen(heard):
            yield

    async def committed(self, _: Head) -> None:
        """Tell the publisher."""
        if self._heard is not None:
            self._heard()


async def serve(
    serving: Serving, database: Database, stop: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """Serve until ``stop`` is set.

    Args:
        serving: what and where.
        database: the truth, of this version's schema.
        stop: ends it gracefully.
        ready: told the address once requests are answered.

    Raises:
        ConfigError: cannot listen there.
    """
    async with AsyncExitStack() as held:
        bound, address = held.enter_context(listening(serving.host, serving.port, serving.unix))
        redis = connect_async(serving.redis_url, deadline=PUBLISH_DEADLINE, connect_deadline=2.0)
        held.push_async_callback(redis.aclose)
        session_url = _session_url(serving, database)
        # Behind a pooler nothing is ever heard; what others commit is found by the poll, within a second.
        nudge = Nudge(None if session_url is None else listen_to(session_url.replace("+asyncpg", "", 1)))
        after_commit = nudge.committed if serving.publish else None
        master = None if serving.signer is None else serving.signer.master
        control = Control(database, redis, after_commit, master, publishes=serving.publish)
        server = _Server(build(control, serving.outputs))
        await held.enter_async_context(exporting(serving.outputs.exporters))
        ended = asyncio.Event()
        work = [asyncio.create_task(each) for each in _background(serving, database, redis, nudge, ended)]
        answering = asyncio.create_task(server.serve(sockets=[bound]))
        telling = asyncio.create_task(_tell(server, ready, address))
        stopping = asyncio.create_task(stop.wait())
        try:
            # Whatever ends first ends the others: half a control plane is worse than a restart.
            await asyncio.wait((answering, stopping, *work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            stopping.cancel()
            server.should_exit = True
            await answering
            ended.set()
            await asyncio.gather(*work)
            if serving.publish:
                await _publish_last(database, redis, serving.signer)


class _Server(uvicorn.Server):
    """uvicorn, without hands on signals: the process has more to end than the API."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONCURRENCY,
            h11_max_incomplete_event_size=32 * 1024,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Capture none."""
        yield


def _session_url(serving: Serving, database: Database) -> str | None:
    if serving.session_url is not None or database.pooled:
        return serving.session_url
    return database.url.render_as_string(hide_password=False)


def _background(
    serving: Serving, database: Database, redis: Redis, nudge: Nudge, ended: asyncio.Event
) -> list[Coroutine[Any, Any, None]]:
    work: list[Coroutine[Any, Any, None]] = []
    if serving.publish:
        source = PostgresSource(database)
        work.append(watch_and_publish(source, redis, ended, signer=serving.signer, listen=nudge.listening))
    if serving.collect:
        session_url = _session_url(serving, database)
        if session_url is None:
            raise ConfigError("collecting needs a session with Postgres, and there is only a pooler")
        collector = Collector(
            session_url,
            serving.telemetry_redis_url,
            serving.home,
            settle_redis_url=serving.redis_url,
            shards=serving.telemetry_shards,
        )
        work.append(collector.run(ended))
    return work


async def _tell(server: uvicorn.Server, ready: Callable[[str], None], address: str) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    ready(address)


async def _publish_last(database: Database, redis: Redis, signer: Signer | None) -> None:
    try:
        async with asyncio.timeout(GRACE_S):
            await publish(PostgresSource(database), redis, signer=signer)
    except (MeshError, *FAILURES, TimeoutError) as error:
        log.warning("what was committed last is left for another publisher: %s", error)

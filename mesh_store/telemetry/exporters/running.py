"""An exporter: takes committed facts and gives them to every sink, beside collectors or in the server.

A sink is any object with one or more of these methods; ``mesh_sinks`` returns them::

    fact(fact)              a committed fact
    flush()                 those given since the last time are all there was
    budget_alert(alert)     an `Alert` of mesh_store.telemetry.exporters.alerts
    health(backlog, lost)   how the stream does
    close()                 the last words
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg

from mesh_store.model.ids import now_us
from mesh_store.redis.client import connect_async
from mesh_store.redis.failures import FAILURES
from mesh_store.redis.stream import LOST
from mesh_store.redis.stream_reader import streams_of
from mesh_store.telemetry.exporters.alerts import Alerts, to_sink, webhook
from mesh_store.telemetry.exporters.feed import GROUP, Feed

log = logging.getLogger(__name__)

#: Seconds between two reports of the stream's health, and two looks at budgets.
BEAT_S, BUDGETS_S = 5.0, 5.0
#: Seconds between two warnings that something is away.
WARN_S = 60.0
_BLOCK_MS = 500
_AWAY = (*FAILURES, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Exporter:
    """Gives committed facts to sinks.

    Args:
        redis_url: the server that takes the facts.
        sinks: see the module.
        database_url: Postgres, for budget alerts; None sends none.
        webhooks: URLs that alerts are posted to.
        group: exporters of one group share the facts; another group hears all of them again.

    Attributes:
        failures: how often a sink raised.
    """

    def __init__(
        self,
        redis_url: str,
        sinks: Sequence[Any],
        *,
        database_url: str | None = None,
        webhooks: Sequence[str] = (),
        group: str = GROUP,
    ) -> None:
        self.failures = 0
        self._sinks = list(sinks)
        self._client: Any = connect_async(redis_url, deadline=10.0, connect_deadline=2.0)
        consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._feed = Feed(self._client, consumer, group=group)
        self._dsn = database_url and database_url.replace("postgresql+asyncpg://", "postgresql://", 1)
        tell = [*map(webhook, webhooks), *(to_sink(sink) for sink in sinks if hasattr(sink, "budget_alert"))]
        self._alerts = Alerts(tell) if tell and self._dsn else None
        self._joined = False
        self._beat_at = self._budgets_at = self._warned_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Export until ``stop`` is set; what is away is waited for."""
        try:
            while not stop.is_set():
                try:
                    await self.once(_BLOCK_MS)
                    if self._alerts is not None and time.monotonic() - self._budgets_at >= BUDGETS_S:
                        self._budgets_at = time.monotonic()
                        await self.check_budgets()
                except _AWAY as error:
                    await self._wait(error, stop)
            with contextlib.suppress(*_AWAY):
                await self.once()
        finally:
            await self.close()

    async def once(self, block_ms: int | None = None) -> int:
        """Take what there is and give it on; return how many facts."""
        if not self._joined:
            await self._feed.join()
            self._joined = True
        if time.monotonic() - self._beat_at >= BEAT_S:
            self._beat_at = time.monotonic()
            await self._feed.beat()
            await self._tell_health()
        facts = await self._feed.take(block_ms)
        for fact in facts:
            self._give("fact", fact)
        if facts:
            self._give("flush")
        return len(facts)

    async def check_budgets(self) -> None:
        """Tell which budgets have passed a threshold."""
        if self._alerts is None:
            return
        connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=30)
        try:
            await self._alerts.check(connection, now_us())
        finally:
            await connection.close(timeout=5)

    async def close(self) -> None:
        """Let the sinks say their last words; close the connection."""
        self._give("close")
        with contextlib.suppress(*FAILURES):
            if self._joined:
                await self._feed.leave()
            await self._client.aclose()

    async def _wait(self, error: Exception, stop: asyncio.Event) -> None:
        self._joined = False
        if time.monotonic() - self._warned_at >= WARN_S:
            self._warned_at = time.monotonic()
            log.warning("exporting is interrupted: %s: %s", type(error).__name__, error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)

    async def _tell_health(self) -> None:
        backlog = sum([await self._client.xlen(stream) for stream in await streams_of(self._client)])
        lost = {name.decode(): int(count) for name, count in (await self._client.hgetall(LOST)).items()}
        self._give("health", backlog, lost)

    def _give(self, what: str, *told: Any) -> None:
        """Give to every sink that takes it; one that fails never stops the others."""
        for sink in self._sinks:
            take = getattr(sink, what, None)
            if take is None:
                continue
            try:
                take(*told)
            except Exception as error:
                self.failures += 1
                if self.failures == 1:
                    log.exception("%s of %s failed; more are only counted", what, type(sink).__name__)
                else:
                    log.debug("%s of %s failed: %s", what, type(sink).__name__, error)

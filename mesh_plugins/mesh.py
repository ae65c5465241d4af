"""`Mesh`: the direct caller with everything it needs, in two lines.

::

    mesh = Mesh.from_env()
    reply = mesh.chat("fast", [{"role": "user", "content": "Hello"}], max_tokens=64)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mesh_plugins.connections import SAMPLES_S, Connections, LiveConfig
from mesh_plugins.core.ports import Sender
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.direct import DirectCaller
from mesh_plugins.manager import load
from mesh_plugins.settings import Settings
from mesh_store.model.errors import ConfigError
from mesh_store.model.facts import Fact
from mesh_store.model.samples import Sample
from mesh_store.model.snapshot import Snapshot

if TYPE_CHECKING:
    from mesh_plugins.usage import Usage
    from mesh_store.redis.guard import LimitsHealth
    from mesh_store.sync import Status
    from mesh_store.telemetry import Health


class Mesh(DirectCaller):
    """Makes governed calls over Redis, with live configuration; a context manager in both colours.

    Args:
        settings: where the engines are and who this process is; None reads the environment.
        plugins: plugin objects, besides the entry points the settings name.
        sender: what speaks to the providers; None is our own HTTP.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        plugins: Sequence[object] = (),
        sender: Sender | None = None,
    ) -> None:
        self.settings = settings or Settings.from_env()
        # Before anything follows the configuration: its first snapshot is told to the plugins at once.
        self.hooks = load(self.settings.plugins, plugins, builtin=builtin_plugins())
        self._held = Connections(self.settings, self._changed, self._sampled)
        super().__init__(
            config=LiveConfig(self._held.subscriber),
            limiter=self._held.limiter,
            async_limiter=self._held.async_limiter,
            recorder=self._held.recorder,
            samples=self._held.sampler,
            hooks=self.hooks,
            key=self.settings.key.get_secret_value() if self.settings.key else None,
            sender=sender,
        )

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Build from the ``MESH_*`` variables; keyword arguments are settings that go over them."""
        return cls(Settings.from_env(**overrides))

    @property
    def database_url(self) -> str | None:
        """Where reports are read from; None when this process was not told."""
        return self._held.database_url

    def usage(
        self,
        by: str | Sequence[str] = ("team", "alias"),
        *,
        since: str | datetime | timedelta | None = None,
        until: datetime | None = None,
    ) -> Usage:
        """Return what was used, from Postgres: a table in a notebook, rows in a program.

        Args:
            by: dimensions of the rows: ``team``, ``user``, ``key``, ``alias``, ``provider``, ``model``,
                ``minute``, ``hour``, ``day``.
            since: a duration back from now (``"24h"``) or a moment; None means the beginning.
            until: the first moment that no longer counts; None means now.

        Raises:
            ConfigError: this process was not told where Postgres is, or a dimension does not exist.
        """
        if self.database_url is None:
            raise ConfigError("usage is read from Postgres: set MESH_DATABASE_URL, or ask 'mesh usage'")
        from mesh_plugins.usage import Usage

        return Usage.read(self.database_url, by, since, until)

    def status(self) -> Status:
        """Return how the configuration of this process stands."""
        return self._held.subscriber.status()

    def telemetry_health(self) -> Health:
        """Return how telemetry does in this process: counters, ring, errors."""
        return self._held.recorder.health()

    def limits_health(self) -> LimitsHealth:
        """Return how deciding about limits does in this process: the breaker, what policies answered."""
        return self._held.guard.health()

    def flush(self, timeout: float = 10.0, *, collected: bool = False) -> bool:
        """Wait until every fact so far has left this process; for scripts and serverless functions.

        Args:
            timeout: seconds to wait at most.
            collected: wait until they are in Postgres.

        Returns:
            True when all of it is done.
        """
        self._held.sampler.flush(min(timeout, SAMPLES_S))
        return self._held.recorder.flush(timeout, collected=collected)

    async def aflush(self, timeout: float = 10.0, *, collected: bool = False) -> bool:  # noqa: ASYNC109
        """Like `flush`, without blocking the event loop."""
        return await asyncio.to_thread(self.flush, timeout, collected=collected)

    def close(self, timeout: float | None = None) -> None:
        """Ship what can be shipped within ``timeout`` seconds, then let go; may be called twice.

        Without a timeout it waits two seconds at most, and less than one with Redis away; what is not
        shipped stays in the ring's file for the next process.
        """
        self._held.close(timeout)

    async def aclose(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - seconds to ship, not to be cancelled
        """Like `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _sampled(self, sample: Sample, fact: Fact) -> Sample | None:
        changed: Sample | None = self.hooks.sample.fold_or_drop("sample", sample, fact=fact)
        return changed

    def _changed(self, old: Snapshot | None, new: Snapshot) -> None:
        self.hooks.snapshot_changed.notify(old=old, new=new)

"""The repository of an operator who holds both engines: every change is published once committed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from mesh_store.model.errors import MeshError
from mesh_store.postgres import Database, Head
from mesh_store.postgres.migrate import check
from mesh_store.postgres.repository import Repository

if TYPE_CHECKING:
    from mesh_store.model.signing import Signer
    from mesh_store.postgres.repository.work import Work
    from mesh_store.sync.publisher import Published

log = logging.getLogger(__name__)

#: Seconds a publish may wait for one reply; a snapshot may be many megabytes.
PUBLISH_DEADLINE = 10.0


class Admin(Repository):
    """A `Repository` that publishes right after each commit.

    Who only reads neither connects to Redis nor loads what publishing needs.
    A change that was committed but could not be published is not undone: `unpublished` says why, and
    whoever publishes next (``mesh serve`` polls every second) brings it to callers.

    Attributes:
        published: where Redis stood after the last publish, or None.
        unpublished: why the last publish failed, or None.
    """

    def __init__(
        self, database: Database, redis_url: str, *, actor: str, signer: Signer | None = None
    ) -> None:
        super().__init__(
            database,
            actor=actor,
            after_commit=self._publish_after,
            master=None if signer is None else signer.master,
        )
        self.published: Published | None = None
        self.unpublished: str | None = None
        self._redis_url = redis_url
        self._redis: Any = None
        self._signer = signer

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        database_url: str,
        redis_url: str,
        *,
        actor: str,
        migrate: bool = False,
        signer: Signer | None = None,
    ) -> AsyncIterator[Self]:
        """Open both engines for as long as the context lasts.

        Args:
            database_url: the truth.
            redis_url: where callers read it.
            actor: who makes the changes, for the audit log.
            migrate: bring the schema up to date first; else it must be.
            signer: signs what is published, or None where nothing is signed.

        Raises:
            ConfigError: the schema is not this version's.
            DatabaseUnavailable: Postgres cannot be reached.
        """
        async with Database(database_url) as database:
            await (database.migrate() if migrate else check(database))
            admin = cls(database, redis_url, actor=actor, signer=signer)
            try:
                yield admin
            finally:
                await admin.aclose()

    async def aclose(self) -> None:
        """Close what publishing opened; the database is closed by whoever opened it."""
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def publish(self) -> Published:
        """Bring Redis up to Postgres; needed after changes that others made."""
        from mesh_store.postgres.compile import PostgresSource
        from mesh_store.sync.publisher import publish

        self._connect()
        self.published = await publish(PostgresSource(self.database), self._redis, signer=self._signer)
        self.unpublished = None
        return self.published

    def _connect(self) -> None:
        from mesh_store.redis.client import connect_async

        if self._redis is None:
            self._redis = connect_async(self._redis_url, deadline=PUBLISH_DEADLINE, connect_deadline=5)

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Work]:
        self._connect()  # a URL that cannot be right refuses the change before it is made
        async with super()._work() as current:
            yield current

    async def _publish_after(self, head: Head) -> None:
        from redis.exceptions import RedisError

        try:
            await self.publish()
        except (RedisError, OSError, MeshError) as error:
            self.unpublished = str(error) or type(error).__name__
            log.warning("revision %d is committed, but not published: %s", head.revision, self.unpublished)

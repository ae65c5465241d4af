"""The one place that opens connections to Postgres, and the head of the order of changes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import asyncpg
import msgspec
from sqlalchemy import event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from mesh_store.model.errors import ConfigError, DatabaseUnavailable
from mesh_store.model.ids import new_id
from mesh_store.postgres.history_tables import RevisionsRow

#: A role named like a schema would make that schema the default, so the path is always said.
SEARCH_PATH = "public"

#: What the server answers to a wrong user, password or database name.
_REFUSALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class Head(msgspec.Struct, frozen=True):
    """Where the order of changes stands.

    Attributes:
        epoch: UUIDv7; a later one follows a restored database and sorts after every earlier one.
        revision: the last change of what snapshots hold.
        keys_revision: the last change of a key.
    """

    epoch: str
    revision: int
    keys_revision: int


class Database:
    """Connections to one Postgres database; close it when done.

    Args:
        url: ``postgresql+asyncpg://user:password@host/database`` (``postgresql://`` is taken too);
            ``?pooler=transaction`` says the same as ``pooler``.
        pooler: True behind a pooler in transaction mode (pgbouncer): connections are not kept, no
            prepared statement outlives its transaction, settings are made inside each transaction.
        pool_size: connections kept open at most.
        statement_timeout: seconds after which the server gives a statement up; the client waits five
            seconds more.

    Attributes:
        url: without what it said of a pooler.
        pooled: True behind a pooler.
    """

    def __init__(
        self, url: str, *, pooler: bool = False, pool_size: int = 5, statement_timeout: float = 30
    ) -> None:
        self.url, said = _parsed(url)
        self.pooled = pooler or said
        self._statement_timeout_ms = int(statement_timeout * 1000)
        options = {"poolclass": NullPool} if self.pooled else {"pool_size": pool_size, "pool_pre_ping": True}
        self.engine = self._engine(options)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    async def migrate(self) -> None:
        """Bring the schema to this version's; safe from many processes at once.

        Raises:
            ConfigError: when the schema is newer than this version.
        """
        from mesh_store.postgres.migrate import upgrade

        await upgrade(self)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """Open a session in one transaction: committed at the end, rolled back on an error."""
        with self._explained():  # leaving rolls back, which a lost connection cannot
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                with self._connecting():
                    await session.connection()
                with self._explained():
                    yield session
                with self._connecting():
                    await session.commit()

    @asynccontextmanager
    async def connect(self, **execution_options: Any) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reading; nothing is committed."""
        with self._explained():  # as in `begin`
            async with contextlib.AsyncExitStack() as stack:
                with self._connecting():
                    connection = await stack.enter_async_context(self.engine.connect())
                    if execution_options:
                        await connection.execution_options(**execution_options)
                with self._explained():
                    yield connection

    async def head(self) -> Head:
        """Return where the order of changes stands."""
        async with self.connect() as connection:
            return await read_head(connection)

    async def start_epoch(self) -> Head:
        """Begin a new epoch: for ``mesh migrate --restored``, after an older copy was restored."""
        async with self.begin() as session:
            row = (await session.execute(select(RevisionsRow).with_for_update())).scalar_one()
            row.epoch = new_id()
        return await self.head()

    def migration_engine(self) -> AsyncEngine:
        """Return an engine without time limits, for DDL; the caller disposes of it."""
        return self._engine({"poolclass": NullPool}, limited=False)

    def _engine(self, options: dict[str, Any], *, limited: bool = True) -> AsyncEngine:
        timeout_ms = self._statement_timeout_ms if limited else 0
        settings = {"search_path": SEARCH_PATH, "statement_timeout": str(timeout_ms)}
        connect_args: dict[str, Any] = {"timeout": 10}
        if limited:
            connect_args["command_timeout"] = timeout_ms / 1000 + 5
        if self.pooled:
            # A pooler refuses start-up settings and mixes up named statements (sqlalchemy #12836).
            connect_args |= {
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: f"__mesh_{uuid4()}__",
            }
        else:
            connect_args["server_settings"] = {**settings, "application_name": "mesh"}
        # What was to be written stays out of errors, and so out of logs.
        engine = create_async_engine(self.url, connect_args=connect_args, hide_parameters=True, **options)
        if self.pooled:
            _set_in_each_transaction(engine, settings)
        return engine

    @contextlib.contextmanager
    def _connecting(self) -> Iterator[None]:
        """Explain what goes wrong where only Postgres is at work, so that every OSError is its."""
        try:
            with self._explained():
                yield
        except (OSError, DBAPIError) as error:
            cause = getattr(getattr(error, "orig", None), "__cause__", None) or error
            if isinstance(cause, _REFUSALS):
                raise ConfigError(f"Postgres refused {self._shown}: {cause}") from error
            if isinstance(error, IntegrityError):
                raise  # a deferred rule spoke at commit
            raise self._unavailable(cause) from error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain what the driver says; anything else is the caller's own."""
        try:
            yield
        except DBAPIError as error:
            cause = getattr(error.orig, "__cause__", None)
            cancelled = isinstance(cause, asyncpg.QueryCanceledError)
            if cancelled or error.connection_invalidated or isinstance(error, InterfaceError):
                raise self._unavailable(cause or error) from error
            raise

    @property
    def _shown(self) -> str:
        return self.url.set(query={}).render_as_string(hide_password=True)

    def _unavailable(self, cause: BaseException) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"Postgres at {self._shown} cannot be used ({type(cause).__name__}: {cause}); "
            "check MESH_DATABASE_URL and that the server runs"
        )


async def read_head(connection: AsyncConnection) -> Head:
    """Return where the order of changes stands, as ``connection``'s transaction sees it."""
    row = (await connection.execute(select(RevisionsRow.__table__))).mappings().one()
    return Head(row["epoch"], row["revision"], row["keys_revision"])


def is_pooled(url: str) -> bool:
    """Tell whether a URL says that it leads through a pooler in transaction mode.

    Raises:
        ConfigError: it is no URL of a database, or names another kind of pooler.
    """
    return _parsed(url)[1]


def _parsed(url: str) -> tuple[URL, bool]:
    parsed = _async_url(url)
    said = parsed.query.get("pooler")
    if said not in (None, "transaction"):
        raise ConfigError("the database URL may say pooler=transaction; any other mode needs no word")
    return parsed.difference_update_query(["pooler"]), said is not None


def _async_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("the database URL cannot be read; write postgresql://user@host/database") from None
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+asyncpg"):
        raise ConfigError(f"{parsed.drivername!r} is not a database Mesh can use; write postgresql://…")
    return parsed.set(drivername="postgresql+asyncpg")


def _set_in_each_transaction(engine: AsyncEngine, settings: dict[str, str]) -> None:
    @event.listens_for(engine.sync_engine, "begin")
    def set_local(connection: Any) -> None:
        for name, value in settings.items():
            connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})

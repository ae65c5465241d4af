"""A way to the engines and the database, for commands that need more than Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mesh_plugins.settings import COLLECTOR, Settings
from mesh_store.model.errors import ConfigError

if TYPE_CHECKING:
    from mesh_store.admin import Admin
    from mesh_store.embedded import Engines
    from mesh_store.model.signing import Signer
    from mesh_store.postgres import Database

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engines are.

    Attributes:
        settings: what the environment says.
        database_url, redis_url, telemetry_redis_url: the engines themselves.
        own: whether they are the embedded engines of this home, whose schema is ours to migrate.
    """

    settings: Settings
    database_url: str
    redis_url: str
    telemetry_redis_url: str
    own: bool

    @property
    def session_url(self) -> str:
        """The database as who collects, listens or alerts reaches it: over connections that keep a session.

        Raises:
            ConfigError: only a pooler in transaction mode is known.
        """
        if (url := self.session_url_if_any) is None:
            raise ConfigError(
                "MESH_DATABASE_URL leads through a pooler in transaction mode, and collecting needs a "
                "session: set MESH_DATABASE_SESSION_URL to the server itself, or to a pool in session mode"
            )
        return url

    @property
    def session_url_if_any(self) -> str | None:
        """Like `session_url`, or None."""
        from mesh_store.postgres.database import is_pooled

        if self.settings.database_session_url is not None:
            return self.settings.database_session_url
        return None if is_pooled(self.database_url) else self.database_url


def run_async(work: Coroutine[None, None, _T]) -> _T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def actor() -> str:
    """Return who is making changes, for the audit log."""
    import getpass

    return f"{os.environ.get('MESH_ACTOR') or getpass.getuser()} (mesh)"


def embedded_engines(settings: Settings | None = None) -> Engines:
    """Attach to the embedded engines, starting them and the collector beside them if need be.

    Raises:
        ConfigError: the environment names other engines.
    """
    from mesh_store.embedded import attach

    settings = settings or Settings.from_env()
    if not settings.embedded:
        raise ConfigError(
            "MESH_DATABASE_URL or MESH_REDIS_URL is set, so the embedded engines are not used; "
            "unset both to use them"
        )
    return attach(settings.home, companions=[COLLECTOR])


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Find the engines; embedded ones run at least as long as this is open."""
    settings = Settings.from_env()
    with ExitStack() as held:
        if settings.embedded:
            engines = held.enter_context(embedded_engines(settings))
            redis_url = engines.redis_url
            yield Place(settings, engines.database_url, redis_url, redis_url, own=True)
            return
        if settings.database_url is None or settings.redis_url is None:
            missing = "MESH_DATABASE_URL" if settings.database_url is None else "MESH_REDIS_URL"
            raise ConfigError(f"{missing} is not set, but its counterpart is: set both, or neither")
        telemetry_url = settings.telemetry_redis_url or settings.redis_url
        own = settings.database_url == _embedded_database(settings)
        yield Place(settings, settings.database_url, settings.redis_url, telemetry_url, own)


@asynccontextmanager
async def database(found: Place) -> AsyncIterator[Database]:
    """Open the database; an embedded one is migrated, any other must be of this version's schema.

    Raises:
        ConfigError: the schema is older or newer; says what to do.
    """
    from mesh_store.postgres import Database
    from mesh_store.postgres.migrate import check

    async with Database(found.database_url) as opened:
        await (opened.migrate() if found.own else check(opened))
        yield opened


@asynccontextmanager
async def admin() -> AsyncIterator[Admin]:
    """Open what an operator changes things with; callers follow as soon as a change is committed."""
    from mesh_store.admin import Admin

    async with place() as found:
        signer, urls = signer_of(found), (found.database_url, found.redis_url)
        async with Admin.open(*urls, actor=actor(), migrate=found.own, signer=signer) as opened:
            yield opened


def signer_of(found: Place) -> Signer | None:
    """Return the publisher's key pair, or None where this process may not publish.

    ``MESH_SECRET_KEY`` says it; embedded engines have one of their own in their home.
    """
    from mesh_store.sync.publisher_key import load_signer

    return load_signer(os.environ.get("MESH_SECRET_KEY"), found.settings.home if found.own else None)


@contextmanager
def redis_place() -> Iterator[str]:
    """Find Redis alone; embedded engines run at least as long as this is open."""
    settings = Settings.from_env()
    if not settings.embedded:
        if settings.redis_url is None:
            raise ConfigError("MESH_REDIS_URL is not set, but MESH_DATABASE_URL is: set both, or neither")
        yield settings.redis_url
        return
    with embedded_engines(settings) as engines:
        yield engines.redis_url


def _embedded_database(settings: Settings) -> str | None:
    """The URL of this home's own database: what a companion finds in its environment."""
    from mesh_store.embedded.addresses import database_url
    from mesh_store.embedded.layout import Layout
    from mesh_store.embedded.state import read_state

    state = read_state(Layout.of(settings.home).state)
    return None if state is None else database_url(state.postgres.socket)

"""Telling callers: what was committed goes to Redis at once, by whoever may sign it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from mesh_plugins.cli.control import Place

if TYPE_CHECKING:
    from mesh_store.model.signing import Signer
    from mesh_store.postgres import Database, Head

#: Seconds one reply of Redis may take; an operator can wait.
DEADLINE = 5.0


def signer_of(found: Place) -> Signer | None:
    """Return the publisher's key pair, or None where this process may not publish.

    ``MESH_SECRET_KEY`` says it; embedded engines have one of their own in their home.
    """
    from mesh_store.sync.publisher_key import load_signer

    return load_signer(os.environ.get("MESH_SECRET_KEY"), found.settings.home if found.own else None)


@asynccontextmanager
async def publishing(found: Place, opened: Database) -> AsyncIterator[Callable[[Head], Awaitable[None]]]:
    """Open what publishes after each commit.

    A commit stands whether it could be published or not: the collector, or any later publisher,
    brings it to callers then.
    """
    from mesh_store.model.errors import ConfigError
    from mesh_store.postgres.compile import PostgresSource
    from mesh_store.redis import connect_async
    from mesh_store.redis.failures import FAILURES
    from mesh_store.sync.publisher import publish

    signer, source = signer_of(found), PostgresSource(opened)
    redis = connect_async(found.redis_url, deadline=DEADLINE)

    async def told(head: Head) -> None:
        try:
            done = await publish(source, redis, signer=signer)
        except ConfigError:
            return  # signed by somebody else, who hears of the commit from Postgres
        except FAILURES as error:
            typer.echo(f"committed as revision {head.revision}, but Redis was not told: {error}", err=True)
            return
        if done.redis_ahead:
            typer.echo("Redis is ahead of the database: see `mesh migrate --restored`", err=True)

    try:
        yield told
    finally:
        await redis.aclose()

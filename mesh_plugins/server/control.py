"""What all requests share: the engines, and where to say that something was committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.model.sealing import Master
    from mesh_store.postgres import Database
    from mesh_store.postgres.repository import AfterCommit


@dataclass(frozen=True, slots=True)
class Control:
    """A control plane.

    Attributes:
        database: the truth.
        redis: where callers read it.
        after_commit: told of each commit made here, so that it is published at once; or None.
        master: what providers' secrets are sealed under, where this process has it.
        publishes: whether this process brings configuration to Redis, and is not ready when it lags.
    """

    database: Database
    redis: Redis
    after_commit: AfterCommit | None = None
    master: Master | None = None
    publishes: bool = False

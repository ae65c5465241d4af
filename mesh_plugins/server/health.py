"""``/healthz``: the process answers. ``/readyz``: what it needs is there, and callers follow.

Neither needs a token, so neither says more than one word about each thing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from mesh_plugins.server.control import Control
from mesh_store.model.errors import MeshError
from mesh_store.model.signing import Place
from mesh_store.postgres.migrate import check
from mesh_store.redis.config_channel import aread_heads
from mesh_store.redis.failures import FAILURES

log = logging.getLogger(__name__)

#: Seconds an engine may take to answer.
DEADLINE = 2.0
#: Seconds callers may be behind the database; a publish takes milliseconds.
LAG_ALLOWED = 5.0

State = Literal["fine", "away", "schema", "behind", "ahead", "off", "unknown"]


class Health(BaseModel):
    """The process answers."""

    status: Literal["fine"] = "fine"


class Readiness(BaseModel):
    """Whether requests make sense here now.

    ``publisher`` is ``behind`` when callers lack a change for longer than a publish takes, ``ahead``
    when Redis holds more than the database (`mesh doctor` says what to do), ``off`` when another
    process publishes.
    """

    ready: bool
    database: State
    redis: State
    publisher: State


class Readying:
    """Looks, and remembers since when callers are behind."""

    def __init__(self, control: Control, *, lag_allowed: float = LAG_ALLOWED) -> None:
        self._control = control
        self._lag_allowed = lag_allowed
        self._behind_since: float | None = None

    async def look(self, now: float) -> Readiness:
        """Ask both engines; ``now`` is seconds on any clock that only grows."""
        database, want = await self._database()
        redis, there = await self._redis()
        publisher: State = "unknown"
        if want is not None and redis == "fine":
            publisher = self._lag(want, there, now)
        if not self._control.publishes and publisher == "behind":
            publisher = "off"
        ready = database == redis == "fine" and publisher in ("fine", "off")
        return Readiness(ready=ready, database=database, redis=redis, publisher=publisher)

    async def _database(self) -> tuple[State, Place | None]:
        try:
            async with asyncio.timeout(DEADLINE):
                await check(self._control.database)
                head = await self._control.database.head()
        except (MeshError, TimeoutError, OSError) as error:
            log.warning("not ready: %s", error)
            return ("schema" if isinstance(error, MeshError) and error.status != 503 else "away"), None
        return "fine", Place(head.epoch, head.revision)

    async def _redis(self) -> tuple[State, Place | None]:
        try:
            async with asyncio.timeout(DEADLINE):
                return "fine", (await aread_heads(self._control.redis)).snapshot
        except (*FAILURES, TimeoutError) as error:
            log.warning("not ready: Redis: %s", error)
            return "away", None

    def _lag(self, want: Place, there: Place | None, now: float) -> State:
        if there is not None and there > want:
            return "ahead"
        if there == want:
            self._behind_since = None
            return "fine"
        if self._behind_since is None:
            self._behind_since = now
        return "behind" if now - self._behind_since > self._lag_allowed else "fine"


router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """Answer that the process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Tell whether requests make sense here now; 503 when not."""
    found: Readiness = await request.app.state.readying.look(time.monotonic())
    if not found.ready:
        response.status_code = 503
    return found

"""Giving back what a cancelled caller can no longer receive."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence

from mesh_store.model.errors import MeshError
from mesh_store.model.limits import Charge
from mesh_store.redis import settling
from mesh_store.redis.batches import MAX_REQUESTS
from mesh_store.redis.driver import AsyncDriver
from mesh_store.redis.steps import Orphaned


class AsyncReturns:
    """Cancels reservations nobody will hold, in a task of its own, many in one call.

    The cancel may overtake the reserve: then its tombstone refuses it.

    Args:
        driver: follows the courses.
        orphaned: told of what could not be given back.
    """

    def __init__(self, driver: AsyncDriver, orphaned: Orphaned) -> None:
        self._driver = driver
        self._orphaned = orphaned
        self._pending: deque[tuple[str, Sequence[Charge]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, reservation_id: str, charges: Sequence[Charge]) -> None:
        """Give back whatever was or will be granted under an id; returns at once."""
        self._pending.append((reservation_id, charges))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def finish(self) -> None:
        """Wait until everything was given back or handed on."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        batch: list[tuple[str, Sequence[Charge]]] = []
        try:
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_REQUESTS))]
                try:
                    await self._driver.follow(settling.cancel(batch))
                except MeshError:
                    self._hand_on(batch)
                batch = []
        finally:
            # A loop that shuts down cancels this task; what is left is somebody else's to cancel.
            self._task = None
            self._hand_on([*batch, *self._pending])
            self._pending.clear()

    def _hand_on(self, batch: Sequence[tuple[str, Sequence[Charge]]]) -> None:
        for reservation_id, charges in batch:
            self._orphaned(reservation_id, charges)

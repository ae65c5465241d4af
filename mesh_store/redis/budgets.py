"""The ledger's side of budgets: what the collector tells Redis about money that was spent.

Postgres holds the truth; Redis admits against ``committed + open``. After its own commit the
collector sets ``committed`` absolutely, by version, and takes the settled reservations out of
``open``. A marker under every tag says since when nothing was lost: without it a window nobody
seeded refuses money, so that an emptied Redis never makes it free.

To heal a Redis that lost its data: `AsyncBudgets.begin`, `commit` every current window the ledger knows
under the tag, then say that it is `AsyncBudgets.healed` since 0: what Redis lacks then was never charged.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from mesh_store.model.gcra import check_units
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis import settling
from mesh_store.redis.driver import AsyncDriver, Driver
from mesh_store.redis.failures import FAILURES, translate
from mesh_store.redis.keys import tracked_key

#: KEYS: a marker. ARGV: what it must say still, what it is to say.
_IF_STILL = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('SET', KEYS[1], ARGV[2]) and 1 or 0"


class Budgets:
    """Tells Redis what the ledger counted, for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._driver = Driver(client)

    def commit(
        self,
        key: str,
        limit: Limit,
        at_us: int,
        *,
        spent_pico: int,
        version: int,
        settled: Sequence[str] = (),
        now_us: int = 0,
    ) -> bool:
        """Set what was spent in one window of a budget.

        Args:
            key: the budget's key, as in its charges.
            limit: the budget.
            at_us: any moment of the window, such as the reservations' time.
            spent_pico: pico-USD the ledger has counted in it.
            version: the ledger's version of that sum; an older one changes nothing.
            settled: ids of reservations the ledger now holds, also when it held them before.
            now_us: virtual time; 0 is the server's.

        Returns:
            True when the version was newer.
        """
        charge = Charge(key, limit, 0)
        course = settling.commit(charge, at_us, spent_pico, version, settled, now_us=now_us)
        newer: bool = self._driver.follow(course)
        return newer

    def track(self, tag: str, since_us: int) -> None:
        """Say that from a moment on nothing under a tag was lost; never moves the moment."""
        try:
            self._client.set(tracked_key(tag), check_units("since_us", since_us), nx=True)
        except FAILURES as error:
            raise translate(error) from error

    def tracked_since(self, tag: str) -> int | None:
        """Return since when nothing under a tag was lost, None when that is not known."""
        try:
            found = self._client.get(tracked_key(tag))
        except FAILURES as error:
            raise translate(error) from error
        return _moment(found)


class AsyncBudgets:
    """Tells Redis what the ledger counted, for one event loop; see `Budgets`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._driver = AsyncDriver(client)

    async def commit(
        self,
        key: str,
        limit: Limit,
        at_us: int,
        *,
        spent_pico: int,
        version: int,
        settled: Sequence[str] = (),
        now_us: int = 0,
    ) -> bool:
        """Set what was spent in one window of a budget; see `Budgets.commit`."""
        charge = Charge(key, limit, 0)
        course = settling.commit(charge, at_us, spent_pico, version, settled, now_us=now_us)
        newer: bool = await self._driver.follow(course)
        return newer

    async def track(self, tag: str, since_us: int) -> None:
        """Say that from a moment on nothing under a tag was lost; never moves the moment."""
        try:
            await self._client.set(tracked_key(tag), check_units("since_us", since_us), nx=True)
        except FAILURES as error:
            raise translate(error) from error

    async def tracked_since(self, tag: str) -> int | None:
        """Return since when nothing under a tag was lost, None when that is not known."""
        try:
            found = await self._client.get(tracked_key(tag))
        except FAILURES as error:
            raise translate(error) from error
        return _moment(found)

    async def begin(self, tags: Sequence[str]) -> dict[str, bytes]:
        """Mark that tags are being healed, unless their markers say something; return what they say now.

        A server that loses everything in the middle of healing loses this, too: see `healed`.
        """
        mark = f"healing {uuid.uuid4().hex}"
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for tag in tags:
                    pipeline.set(tracked_key(tag), mark, nx=True)
                    pipeline.get(tracked_key(tag))
                said = await pipeline.execute() if tags else []
        except FAILURES as error:
            raise translate(error) from error
        return {tag: found or b"" for tag, found in zip(tags, said[1::2], strict=True)}

    async def healed(self, tag: str, began: bytes, since_us: int) -> bool:
        """Say that since a moment nothing under a tag is unknown, if nothing was lost since `begin`."""
        since = check_units("since_us", since_us)
        try:
            asked: Any = self._client.eval(_IF_STILL, 1, tracked_key(tag), began, since)
            return bool(await asked)
        except FAILURES as error:
            raise translate(error) from error


def _moment(found: Any) -> int | None:
    """Read a marker; one that is absent, or says that somebody heals the tag, tells no moment."""
    return int(found) if found is not None and found.isdigit() else None

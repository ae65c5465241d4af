"""New budgets admit from their first call on: Redis is told of them before callers are.

A limiter refuses money of which it does not know whether some was spent before. Of a budget that was just
made it was not, and only the publisher knows which those are (`mesh_store.postgres.opened_budgets`). A
budget Redis lost is none of these: it waits for the collector, who counts what is still on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mesh_store.model.errors import ConfigError
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Limit
from mesh_store.redis.budgets import AsyncBudgets

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)


class Named(Protocol):
    """A budget as callers will charge it; see `mesh_store.postgres.usage_budgets.Budget`."""

    @property
    def key(self) -> str:
        """The Redis key of its state."""

    @property
    def tag(self) -> str:
        """The hash tag in it."""

    @property
    def limit(self) -> Limit:
        """Its windows."""

    @property
    def apart(self) -> bool:
        """True when each end user, or each value of a tag, has windows of its own."""


class Unopened(Protocol):
    """A budget that no caller has heard of."""

    @property
    def budget(self) -> Named:
        """Which."""

    @property
    def first(self) -> bool:
        """True when none was ever opened under its hash tag."""


@runtime_checkable
class OpeningSource(Protocol):
    """A source that remembers which budgets callers have heard of."""

    def opening(self) -> AbstractAsyncContextManager[Sequence[Unopened]]:
        """Yield those they have not, and remember them when the context is left without an error."""


async def open_budgets(source: object, redis: Redis) -> None:
    """Open what is about to be published; where Redis forbids it, the collector will.

    Raises:
        Unavailable: Redis or the database cannot be used; nothing may be published.
    """
    if not isinstance(source, OpeningSource):
        return
    async with source.opening() as unopened:
        try:
            for each in unopened:
                await _open(AsyncBudgets(redis), each.budget, each.first)
        except ConfigError as error:
            log.warning("new budgets wait until a collector has counted them: %s", error)


async def _open(budgets: AsyncBudgets, budget: Named, first: bool) -> None:
    now = now_us()
    if first:
        # Nothing was charged under the tag ever: whatever Redis lacks there begins at nothing.
        await budgets.track(budget.tag, 0)
        return
    if not budget.apart:
        await budgets.commit(budget.key, budget.limit, now, spent_pico=0, version=0)
    # From now on nothing is lost, so the windows to come need nobody either.
    await budgets.track(budget.tag, now)

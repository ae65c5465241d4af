"""Keeping Redis' view of budgets true to the ledger: after every commit, and after Redis forgot.

Redis admits against ``committed + open``. A window it knows nothing about refuses money until
somebody who can read the ledger seeded it: that is us, within a second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from mesh_store.model.errors import MeshError, Unavailable
from mesh_store.model.limits import MAX_PICO
from mesh_store.model.windows import Window, window_of
from mesh_store.postgres.usage_budgets import Budget, Spent
from mesh_store.redis.budgets import AsyncBudgets
from mesh_store.redis.keys import hash_tag, tracked_key, window_key
from mesh_store.telemetry.fact_store import FactStore
from mesh_store.telemetry.ledger import Counted

log = logging.getLogger(__name__)


class BudgetKeeper:
    """Tells the limiter's Redis what the ledger counted."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._budgets = AsyncBudgets(client)

    async def tell(self, counted: Sequence[Counted]) -> None:
        """Set what was spent, and close what is part of it; before the entry is acknowledged.

        Raises:
            Unavailable: Redis cannot be used; the entries must be taken again.
        """
        for window in counted:
            await self._commit(window.key, window.limit, window.starts_us, window.spent, window.reservations)

    async def seed(self, store: FactStore, now_us: int) -> int:
        """Seed the windows Redis knows nothing about; return how many.

        Once all present windows under a tag are known, none that Redis lacks was ever charged: a budget made
        later, or another end user's, begins at nothing without waiting for us.

        Raises:
            Unavailable: Redis or Postgres cannot be used.
            redis.exceptions.RedisError: Redis cannot be used.
        """
        budgets = await store.budgets()
        current = [(budget, window_of(budget.limit, now_us)) for budget in budgets]
        since = await self._tracked(sorted({budget.tag for budget, _ in current}))
        doubtful = [
            (budget, window)
            for budget, window in current
            if not budget.apart and ((began := since[budget.tag]) is None or began > window.start_us)
        ]
        unknown = sorted(
            {
                budget.tag
                for budget, window in current
                if (began := since[budget.tag]) is None or (budget.apart and began > window.start_us)
            }
        )
        # What is lost from here on is lost with these marks.
        marks = await self._budgets.begin(unknown)
        incomplete: set[str] = set()
        unseeded = await self._unseeded(doubtful)
        spent = await store.spent([(budget.key, window.start_us) for budget, window in unseeded])
        for budget, window in unseeded:
            found = spent.get((budget.key, window.start_us), Spent(0, 0))
            if not await self._commit(budget.key, budget.limit, window.start_us, found, ()):
                incomplete.add(budget.tag)
        apart = await store.apart(unknown) if unknown else []
        for key, limit, starts_us, told in apart:
            if not await self._commit(key, limit, starts_us, told, ()):
                incomplete.add(hash_tag(key))
        for tag, mark in marks.items():
            await self._budgets.healed(tag, mark, now_us if tag in incomplete else 0)
        return len(unseeded) + len(apart)

    async def _commit(
        self, key: str, limit: Any, at_us: int, spent: Spent, reservations: Sequence[str]
    ) -> bool:
        """Tell Redis of one window; False when it cannot be told."""
        pico = max(0, min(spent.pico_usd, MAX_PICO))
        try:
            await self._budgets.commit(
                key, limit, at_us, spent_pico=pico, version=spent.version, settled=reservations
            )
        except Unavailable:
            raise
        except (MeshError, ValueError) as error:
            # The reservations stay open there, so nothing is spent twice; but somebody has to look.
            log.error("budget %s cannot be brought up to date in Redis: %s", key, error)
            return False
        return True

    async def _tracked(self, tags: Sequence[str]) -> dict[str, int | None]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for tag in tags:
                pipeline.get(tracked_key(tag))
            found = await pipeline.execute() if tags else []
        return {
            tag: int(value) if value is not None and value.isdigit() else None
            for tag, value in zip(tags, found, strict=True)
        }

    async def _unseeded(self, windows: Sequence[tuple[Budget, Window]]) -> list[tuple[Budget, Window]]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for budget, window in windows:
                pipeline.hexists(window_key(budget.key, window.start_us), "committed")
            seeded = await pipeline.execute() if windows else []
        return [pair for pair, known in zip(windows, seeded, strict=True) if not known]

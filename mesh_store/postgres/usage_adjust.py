"""Re-pricing: facts are never edited; what they should have cost is added as adjustments.

Budgets are left alone: their windows were decided on what was known then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
from sqlalchemy import text

from mesh_store.model.money import usd
from mesh_store.model.usage import Usage
from mesh_store.postgres.database import Database
from mesh_store.postgres.price_book import prices_of
from mesh_store.postgres.rates import Prices
from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage_partitions import first_id

#: Facts read and adjusted at once.
PAGE = 5_000
_SQL = statements("usage_adjust")
_DIMENSIONS = ("team_id", "user_id", "key_id", "alias", "provider", "model")
_COLUMNS = ("fact_id", "started_at", *_DIMENSIONS, "cost_pico_usd", "priced", "reason", "actor")
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "cache_write_1h_tokens",
    "service",
)


@dataclass(slots=True)
class Repriced:
    """What re-pricing found.

    Attributes:
        looked_at: facts that took tokens.
        adjusted: facts that cost something else by now.
        newly_priced: those of them that had no price before.
        unpriced: facts whose model has no price at their time still.
        pico_usd: the difference, all together.
    """

    looked_at: int = 0
    adjusted: int = 0
    newly_priced: int = 0
    unpriced: int = 0
    pico_usd: int = 0

    @property
    def difference_usd(self) -> Decimal:
        """The difference in USD."""
        return usd(self.pico_usd)


async def reprice(
    database: Database,
    since: datetime,
    until: datetime | None = None,
    *,
    actor: str,
    reason: str = "",
    team: str | None = None,
    provider: str | None = None,
    model: str | None = None,
    dry_run: bool = False,
) -> Repriced:
    """Bring what facts cost up to the prices of their time, as these are known now.

    All of it in one transaction; a second time changes nothing.

    Args:
        database: Postgres.
        since: the first moment.
        until: the first moment that no longer counts; None means now.
        actor: who asks, kept with each adjustment.
        reason: why, likewise.
        team: only facts of this team's id.
        provider: only facts of this provider's name.
        model: only facts that asked for this model.
        dry_run: only say what would change.
    """
    prices = await prices_of(database)
    found = Repriced()
    span = (since, until or datetime.now(UTC))
    async with _transaction(database) as connection:
        await connection.execute(_SQL["lock"])
        # An id is minted when its call ends or later, so none before the first day's can be meant.
        after: Any = first_id(since.astimezone(UTC).date() - timedelta(days=1))
        while True:
            page = await connection.fetch(_SQL["facts"], *span, after, PAGE, team, provider, model)
            if not page:
                return found
            after = page[-1]["id"]
            rows = _adjustments(page, prices, found, (reason, actor))
            if rows and not dry_run:
                await connection.copy_records_to_table("adjustments", records=rows, columns=_COLUMNS)


def _adjustments(
    facts: Sequence[Any], prices: Prices, found: Repriced, why: tuple[str, str]
) -> list[tuple[Any, ...]]:
    rows = []
    for fact in facts:
        found.looked_at += 1
        rates = prices.of(fact["provider_id"], fact["model"]).at(fact["started_at_us"])
        usage = Usage(**{name: fact[name] for name in _TOKENS})
        cost = None if rates is None else rates.cost(usage, fact["started_at_us"])
        if cost is None:
            # What has a cost keeps it: a price that is no longer known does not make a call free.
            found.unpriced += fact["cost_pico_usd"] is None
            continue
        before = fact["cost_pico_usd"]
        difference = cost - int(before or 0)
        if before is not None and difference == 0:
            continue
        found.adjusted += 1
        found.newly_priced += before is None
        found.pico_usd += difference
        copied = tuple(fact[name] for name in _DIMENSIONS)
        rows.append((fact["id"], fact["started_at"], *copied, Decimal(difference), before is None, *why))
    return rows


@asynccontextmanager
async def _transaction(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Yield asyncpg's own connection in a transaction, without the time limit of ordinary statements."""
    async with database.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))  # begins the transaction, too
        raw = await (await session.connection()).get_raw_connection()
        connection: asyncpg.Connection = raw.driver_connection
        yield connection

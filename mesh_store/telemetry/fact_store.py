"""Postgres as the collector sees it: one connection that stores batches and keeps the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import NamedTuple

import asyncpg
import msgspec

from mesh_store.model.errors import DatabaseUnavailable
from mesh_store.model.facts import Fact
from mesh_store.model.ids import now_us
from mesh_store.postgres import usage_budgets, usage_partitions, usage_write
from mesh_store.postgres.copying import hear_last_words
from mesh_store.postgres.migrate import newest_revision
from mesh_store.postgres.usage_budgets import ApartWindow, Budget, Spent
from mesh_store.postgres.usage_write import REFUSALS, Dead
from mesh_store.redis.stream import Batch
from mesh_store.telemetry.intake import FUTURE_US, NEWER, Horizon, take
from mesh_store.telemetry.key_teams import KeyTeams
from mesh_store.telemetry.ledger import Counted, Ledger

#: Seconds one statement may take.
STATEMENT_TIMEOUT_S = 60

_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

#: The fields of a stream entry as they are parked.
_FIELDS = dict[bytes, bytes]
_encode = msgspec.msgpack.Encoder().encode


class Stored(NamedTuple):
    """What a transaction did.

    Attributes:
        new: facts that were new.
        repeated: facts that were there already.
        dead: what was buried.
        counted: windows of budgets that Redis has to be told about.
    """

    new: int
    repeated: int
    dead: int
    counted: list[Counted]


class FactStore:
    """Stores batches, each fact once.

    Args:
        connection: used by nobody else.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._keys = KeyTeams(connection)
        self._oldest: date | None = None
        self._ensured: date | None = None

    @classmethod
    async def open(cls, database_url: str) -> FactStore:
        """Connect; takes the URL as SQLAlchemy or as asyncpg writes it."""
        hear_last_words(asyncio.get_running_loop())
        with _explained():
            connection = await asyncpg.connect(
                database_url.replace("postgresql+asyncpg://", "postgresql://", 1),
                timeout=10,
                command_timeout=STATEMENT_TIMEOUT_S + 5,
                server_settings={
                    "application_name": "mesh collector",
                    "search_path": "public",
                    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
                },
            )
            try:
                await usage_write.prepare(connection)
            except BaseException:
                connection.terminate()
                raise
        return cls(connection)

    async def close(self) -> None:
        """Close the connection."""
        with suppress(*_FAILURES):
            await self._connection.close(timeout=5)

    def terminate(self) -> None:
        """Drop the connection without a word; it is broken."""
        self._connection.terminate()

    async def store(self, batches: Sequence[Batch], dead: Sequence[Dead] = ()) -> Stored:
        """Store the facts of batches, and what is already known to be dead, in one transaction.

        Raises:
            DatabaseUnavailable: nothing was stored, or it is not known; storing again is safe.
        """
        with _explained():
            return await self._store(batches, dead)

    async def budgets(self) -> list[Budget]:
        """Return the budgets in force."""
        with _explained():
            return await usage_budgets.budgets(self._connection)

    async def apart(self, tags: Sequence[str]) -> list[ApartWindow]:
        """Return the present windows under hash tags of budgets that count for each value by itself."""
        with _explained():
            return await usage_budgets.apart(self._connection, tags)

    async def spent(self, windows: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Spent]:
        """Return what the ledger holds of windows, by key and start."""
        with _explained():
            return await usage_budgets.windows(self._connection, windows)

    async def _store(self, batches: Sequence[Batch], dead: Sequence[Dead]) -> Stored:
        horizon = await self._horizon()
        facts: list[Fact] = []
        buried = list(dead)
        ledger = Ledger()
        for batch in batches:
            taken = take(batch, horizon)
            facts += taken.facts
            buried += taken.dead
            ledger.add(taken.spendings, {fact.id for fact in taken.facts}, horizon.oldest_us)
        buried += [Dead("bad_money", why, "", _encode(spending)) for spending, why in ledger.refused]
        facts = await self._keys.flagged(facts)
        async with self._connection.transaction():
            await usage_write.stage_money(self._connection, ledger.rows)
            new, forsaken = 0, list[str]()
            if facts or ledger.rows:
                new = await self._write(facts, buried, batches[0].ring, forsaken)
            if forsaken:
                await usage_write.forsake(self._connection, forsaken)
            if buried:
                await usage_write.bury(self._connection, buried)
            counted = ledger.counted(await self._spent(ledger))
        return Stored(new, len(facts) - len(forsaken) - new, len(buried), counted)

    async def revive(self) -> tuple[int, int]:
        """Store what a newer version had written and this one can read by now.

        Returns:
            How many facts were new, and how many entries still have to wait.
        """
        with _explained():
            stored = waiting = 0
            for digest, body in await usage_write.buried(self._connection, NEWER):
                try:
                    batch = Batch.parse(msgspec.msgpack.decode(body, type=_FIELDS))
                except (ValueError, msgspec.MsgspecError):
                    waiting += 1
                    continue
                # What still cannot be read is parked again by the same transaction.
                async with self._connection.transaction():
                    await usage_write.unbury(self._connection, digest)
                    done = await self._store([batch], ())
                stored += done.new
                waiting += done.dead
            return stored, waiting

    async def _spent(self, ledger: Ledger) -> dict[tuple[str, int], Spent]:
        return await usage_budgets.windows(self._connection, ledger.windows) if ledger.windows else {}

    async def _write(self, facts: Sequence[Fact], dead: list[Dead], ring: str, forsaken: list[str]) -> int:
        """Write facts; where Postgres refuses, halve until what it refuses stands alone."""
        try:
            return await usage_write.write(self._connection, facts)
        except REFUSALS as error:
            if not facts:
                raise
            if len(facts) == 1:
                await self._know_the_schema(error)
                dead.append(Dead("refused", f"{type(error).__name__}: {error}", ring, _encode(facts[0])))
                forsaken.append(facts[0].id)
                return 0
        middle = len(facts) // 2
        before = await self._write(facts[:middle], dead, ring, forsaken)
        return before + await self._write(facts[middle:], dead, ring, forsaken)

    async def _know_the_schema(self, refusal: Exception) -> None:
        """Let facts wait where the schema is another version's: its own collector can store them.

        Raises:
            DatabaseUnavailable: `mesh migrate` ran, and this process was not restarted since.
        """
        schema = await self._connection.fetchval("SELECT version_num FROM alembic_version")
        if schema != (ours := newest_revision()):
            raise DatabaseUnavailable(
                f"facts wait in Redis: the schema is at {schema}, this collector is {ours}'s, and Postgres "
                f"refused a fact ({type(refusal).__name__}); restart it with the version that migrated"
            ) from refusal

    async def _horizon(self) -> Horizon:
        now = now_us()
        today = usage_partitions.day_of(now)
        if self._oldest is None or self._ensured != today:
            self._oldest = await usage_partitions.ensure(self._connection, today)
            self._ensured = today
        midnight = datetime(self._oldest.year, self._oldest.month, self._oldest.day, tzinfo=UTC)
        return Horizon(int(midnight.timestamp()) * 1_000_000, now + FUTURE_US)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise DatabaseUnavailable(f"facts cannot be stored ({type(error).__name__}: {error})") from error

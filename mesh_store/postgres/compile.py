"""From the tables to what callers hold: the snapshot document, and the entries of changed keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh_store.model.context_windows import ContextWindows
from mesh_store.model.ids import now_us
from mesh_store.model.labels import MOST_APART
from mesh_store.model.patterns import WILD
from mesh_store.model.samples import Content
from mesh_store.model.sealing import Master, SealedKey
from mesh_store.model.signing import Handover
from mesh_store.model.snapshot import (
    Alias,
    KeyEntry,
    KeyLimit,
    LimitRule,
    Provider,
    SnapshotDocument,
    Target,
    Team,
)
from mesh_store.postgres.database import Database, Head
from mesh_store.postgres.frozen import frozen
from mesh_store.postgres.key_limits import key_limits
from mesh_store.postgres.limit_subjects import label_of_row, subject_of
from mesh_store.postgres.opened_budgets import Unopened, opening
from mesh_store.postgres.rate_card import RateCard
from mesh_store.postgres.repository.limit_values import terms_of
from mesh_store.postgres.resealing import reseal
from mesh_store.postgres.sealing import sealed_keys, sealed_secrets
from mesh_store.postgres.statements import statements

_json = msgspec.json.Decoder()


class KeysDelta(msgspec.Struct, frozen=True):
    """Keys that changed.

    Attributes:
        revision: these are all that changed up to here; where the next call goes on.
        entries: digest and entry of every secret of those keys, oldest change first.
    """

    revision: int
    entries: tuple[tuple[bytes, KeyEntry], ...]


class PostgresSource:
    """What a publisher asks of the database; see `mesh_store.sync.source.ConfigSource`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._master: Master | None = None
        self._resealed: tuple[Head, datetime | None] | None = None

    async def prepare(self, master: Master | None) -> None:
        """Bring data keys up to date and remember what opens what is stored; before each publish."""
        self._master = master
        if master is None:
            return
        head = await self.head()
        if self._resealed is not None:
            at, next_end = self._resealed
            if at == head and (next_end is None or datetime.now(UTC) < next_end):
                return
        # As of before: what is committed meanwhile is looked at by the next publish.
        self._resealed = (head, await reseal(self._database, master))

    async def head(self) -> Head:
        """Return both revisions; one cheap query."""
        return await self._database.head()

    async def compile_snapshot(self) -> SnapshotDocument:
        """Return everything but keys, read in one transaction."""
        return await compile_snapshot(self._database, self._master)

    async def keys_since(self, keys_revision: int, limit: int) -> KeysDelta:
        """Return keys that changed after ``keys_revision``, about ``limit`` of them, oldest first."""
        return await keys_since(self._database, keys_revision, limit, self._master)

    async def trust_secrets(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what lets an entry vouch for the publisher, by digest, as kept when it was minted."""
        async with frozen(self._database) as connection:
            rows = await connection.fetch(statements("keys")["trust_secrets"], list(digests))
        return {row["digest"]: row["trust"] for row in rows}

    def opening(self) -> AbstractAsyncContextManager[Sequence[Unopened]]:
        """Yield the budgets no caller has heard of, to be opened in Redis before they do."""
        return opening(self._database)

    async def handovers(self) -> list[Handover]:
        """Return which publisher's key followed which, oldest first."""
        async with frozen(self._database) as connection:
            rows = await connection.fetch(statements("keys")["handovers"])
        return [Handover(*row.values()) for row in rows]


async def compile_snapshot(database: Database, master: Master | None = None) -> SnapshotDocument:
    """Return everything but keys as one document, read in one REPEATABLE READ transaction.

    Prices are those of now: the operator's own, else the built-in list's; a target whose model is in
    neither is absent from ``rates``.

    Raises:
        ConfigError: providers' secrets are stored, and there is no master to seal them from.
    """
    async with frozen(database) as connection:
        document = await compile_unsealed(connection)
        sealed = await sealed_secrets(connection, master, document.providers)
    return msgspec.structs.replace(document, sealed=sealed)


async def compile_unsealed(connection: Any) -> SnapshotDocument:
    """Return the document without providers' secrets, as a transaction of asyncpg's connection sees it."""
    head = await connection.fetchrow("SELECT epoch::text, revision FROM revisions")
    tables = {name: await connection.fetch(sql) for name, sql in statements("compile").items()}
    providers = [_provider(row) for row in tables["providers"]]
    card = RateCard(providers, tables["prices"])
    known = {provider.id: provider for provider in providers}
    aliases = _aliases(tables, card, known)
    return SnapshotDocument(
        epoch=head["epoch"],
        revision=head["revision"],
        compiled_at_us=now_us(),
        teams=tuple(Team(row["id"], row["name"], _content(row)) for row in tables["teams"]),
        providers=tuple(providers),
        aliases=tuple(aliases),
        limits=tuple(_limits(tables["limits"], ContextWindows(aliases))),
        rates=card.rates,
        rate_card=card.name,
        passed=card.passed_prices,
    )


async def keys_since(
    database: Database, keys_revision: int, limit: int = 1_000, master: Master | None = None
) -> KeysDelta:
    """Return the keys that changed after ``keys_revision``, about ``limit`` of them.

    One transaction's keys are never split, so a page may be longer than ``limit``.
    """
    async with frozen(database) as connection:
        rows = await connection.fetch(statements("keys")["keys_since"], keys_revision, limit)
        data_keys = await sealed_keys(connection, master, rows)
        limits = await key_limits(connection, {row["id"] for row in rows})
    entries = tuple(
        (digest := bytes(row["digest"]), _key_entry(row, limits[row["id"]], data_keys.get(digest, ())))
        for row in rows
    )
    return KeysDelta(rows[-1]["keys_revision"] if rows else keys_revision, entries)


def _content(row: Any) -> Content | None:
    return Content(row["content_share"]) if row["content"] == "samples" else None


def _provider(row: Any) -> Provider:
    return Provider(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        base_url=row["base_url"],
        secret=None if row["secret"] is None else _json.decode(row["secret"]),
        headers=_json.decode(row["headers"]),
        query=_json.decode(row["query"]),
        options=_json.decode(row["options"]),
        team=row["team_id"],
    )


def _aliases(tables: dict[str, Any], card: RateCard, providers: dict[str, Provider]) -> list[Alias]:
    targets: dict[str, list[Target]] = defaultdict(list)
    for row in tables["targets"]:
        targets[row["alias_id"]].append(_target(row, card, providers))
    grants: dict[str, list[str]] = defaultdict(list)
    for row in tables["grants"]:
        grants[row["alias_id"]].append(row["team_id"])
    return [
        Alias(
            id=row["id"],
            name=row["name"],
            operations=tuple(row["operations"]),
            team=row["team_id"],
            grants=None if row["everyone"] else tuple(grants[row["id"]]),
            targets=tuple(targets[row["id"]]),
            defaults=_json.decode(row["defaults"]),
            forced=_json.decode(row["forced"]),
            max_output_tokens=row["max_output_tokens"],
            timeout_us=row["timeout_us"],
            deprecated=row["deprecated"],
        )
        for row in tables["aliases"]
    ]


def _target(row: Any, card: RateCard, providers: dict[str, Provider]) -> Target:
    listed = None
    if row["model"].endswith(WILD):
        card.passed(providers[row["provider_id"]], row["model"])
    else:
        listed = card.price(row["id"], row["provider_id"], row["model"])
    return Target(
        id=row["id"],
        provider=row["provider_id"],
        model=row["model"],
        tier=row["tier"],
        weight=row["weight"],
        params=_json.decode(row["params"]),
        max_output_tokens=row["max_output_tokens"],
        context_window=row["context_window"] or listed,
        canary=row["canary"],
    )


def _limits(rows: Any, windows: ContextWindows) -> Iterator[LimitRule]:
    for row in rows:
        terms = terms_of(row)
        subject = subject_of(row)
        yield LimitRule(
            id=row["id"],
            subject=subject,
            dimension=terms.dimension,
            limit=terms.limit(windows.largest(subject.team, subject.alias)),
            text=terms.text,
            label=label_of_row(row),
            enforce=row["enforce"],
            on_exhausted=row["on_exhausted"],
            distinct=row["distinct_values"] or MOST_APART,
        )


def _key_entry(row: Any, limits: Sequence[KeyLimit], data_keys: tuple[SealedKey, ...]) -> KeyEntry:
    return KeyEntry(
        id=row["id"],
        team=row["team_id"],
        user=row["user_id"],
        aliases=None if row["aliases"] is None else tuple(row["aliases"]),
        expires_at_us=row["expires_at_us"],
        revoked=row["revoked"],
        revision=row["keys_revision"],
        limits=tuple(limits),
        data_keys=data_keys,
    )

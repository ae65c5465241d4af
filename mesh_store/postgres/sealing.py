"""What a publisher seals: for every team its providers' secrets, for every caller's key the data key.

Only a process that holds the master can; one that does not refuses to publish where something is
sealed, because what it wrote would take callers' secrets away.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mesh_store.model.errors import ConfigError, SecretError
from mesh_store.model.sealing import DataKey, Master, SealedKey, SealedSecret, Values, address_of, open_values
from mesh_store.model.snapshot import Provider
from mesh_store.postgres.statements import statements

log = logging.getLogger(__name__)


async def sealed_secrets(
    connection: Any, master: Master | None, providers: Sequence[Provider]
) -> tuple[SealedSecret, ...]:
    """Return the secret of each provider, sealed for each team that may use it.

    One that does not open is left out and named in the log; it must not hold everybody else up.

    Args:
        connection: asyncpg's, inside the transaction that the document is compiled in.
        master: what the secrets are kept under.
        providers: those of the document.

    Raises:
        ConfigError: there are such secrets, and no master here.
    """
    sql = statements("sealing")
    stored = await connection.fetch(sql["stored"])
    if not stored:
        return ()
    held = _needed(master)
    if all(row["master"] != held.id for row in stored):
        # The wrong key, rather than a row that was tampered with.
        check_master(held, stored[0]["master"], "every stored secret")
    addresses = {provider.id: address_of(provider.kind, provider.base_url) for provider in providers}
    names = {provider.id: provider.name for provider in providers}
    opened = {
        row["provider_id"]: (row["version"], values)
        for row in stored
        if (values := _opened(held, row, names, addresses)) is not None
    }
    sealed = []
    for key, provider, scoped in await _wanted(connection, held):
        if provider in opened:
            version, values = opened[provider]
            sealed.append(key.seal(provider, addresses[provider], version, values, scoped=scoped))
    return tuple(sealed)


async def _wanted(connection: Any, master: Master) -> list[tuple[DataKey, str, bool]]:
    """Return under which data key each provider's secret is wanted, and whether that key is of one caller."""
    sql = statements("sealing")
    present = [(row["scope"], data_key(master, row)) for row in await connection.fetch(sql["present"])]
    keys = {key.team: key for scope, key in present if key is not None and scope is None}
    wanted = [
        (keys[row["team_id"]], row["provider_id"], False)
        for row in await connection.fetch(sql["entitled"])
        if row["team_id"] in keys
    ]
    return wanted + [
        (key, provider, True) for scope, key in present if key is not None for provider in scope or ()
    ]


async def sealed_keys(
    connection: Any, master: Master | None, secrets: Sequence[Any]
) -> dict[bytes, tuple[SealedKey, ...]]:
    """Return the data keys of each live secret of a key, by digest, sealed to it.

    Args:
        connection: asyncpg's.
        master: what data keys are kept under.
        secrets: rows with ``digest``, ``sealing_public``, ``data_key_id``, ``held``, ``live`` and
            ``created_at``.
    """
    takers = [row for row in secrets if row["live"] and row["data_key_id"] and row["sealing_public"]]
    if not takers:
        return {}
    held = _needed(master)
    ids = list({row["data_key_id"] for row in takers})
    kept = await connection.fetch(statements("sealing")["data_keys"], ids)
    of_team: dict[str, list[tuple[Any, DataKey]]] = defaultdict(list)
    scopes: dict[str, Any] = {}
    for row in kept:
        key = data_key(held, row)
        if key is not None:
            of_team[key.team].append((row, key))
            scopes[key.id] = row["scope"]
    return {
        bytes(taker["digest"]): tuple(
            key.seal_to(bytes(taker["sealing_public"]), bytes(taker["digest"]))
            for row, key in of_team[taker["team_id"]]
            if row["scope"] == scopes.get(taker["data_key_id"]) and _is_for(row, taker)
        )
        for taker in takers
    }


def _is_for(kept: Any, taker: Any) -> bool:
    """Tell whether a key takes a data key: its present one, and the one before if it held that."""
    if kept["id"] == taker["data_key_id"]:
        return True
    if kept["retired_at"] is None:
        return False
    if kept["scope"] is not None or taker["held"]:
        return kept["id"] in taker["held"]
    return bool(taker["created_at"] < kept["retired_at"])


def _needed(master: Master | None) -> Master:
    if master is None:
        raise ConfigError("providers' secrets are stored here: publishing needs MESH_SECRET_KEY")
    return master


def data_key(master: Master, row: Any) -> DataKey | None:
    """Open a data key; None when it was tampered with, which the next publish heals with another one.

    Raises:
        SecretError: it is of another master.
    """
    check_master(master, row["master"], f"the data key of team {row['team_id']}")
    try:
        return DataKey.unkeep(master, row["id"], row["team_id"], bytes(row["sealed"]))
    except SecretError as error:
        log.error("%s; the team gets another one", error)
        return None


async def retire(raw: Any, data_keys: Sequence[str]) -> None:
    """Take data keys out of use; those before them are no longer needed by any document."""
    if data_keys:
        await raw.execute(statements("sealing")["forget"], data_keys)
        await raw.execute(statements("sealing")["retire"], data_keys)


def _opened(master: Master, row: Any, names: dict[str, str], addresses: dict[str, str]) -> Values | None:
    provider = row["provider_id"]
    try:
        return opened_row(master, row, names[provider], addresses[provider])
    except SecretError as error:
        log.error("provider %r is published without its secret: %s", names[provider], error)
        return None


def opened_row(master: Master, row: Any, name: str, address: str) -> Values:
    """Open a stored secret for a provider that is now at ``address``.

    Raises:
        SecretError: says which of the things it was bound to is another.
    """
    check_master(master, row["master"], f"the secret of provider {name!r}")
    if row["address"] != address:
        raise SecretError(
            f"the secret of provider {name!r} was set for {row['address']!r}, the provider is now at "
            f"{address!r}: set it again with `mesh secret set {name}` if that is right"
        )
    return open_values(master, row["provider_id"], address, row["version"], bytes(row["sealed"]))


def check_master(master: Master, kept_under: str, what: str) -> None:
    """Refuse what was sealed under another master.

    Raises:
        SecretError: names both, by ids that reveal neither.
    """
    if master.id != kept_under:
        raise SecretError(
            f"{what} is kept under the MESH_SECRET_KEY known as {kept_under}, this process has {master.id}"
        )

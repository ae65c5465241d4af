"""A provider's stored secret as a row: sealed for where the provider is, and following it there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mesh_store.model.errors import Rejected
from mesh_store.model.sealing import SINGLE, Master, Values, address_of, seal_values
from mesh_store.postgres.repository.part import now
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import ProviderRow
from mesh_store.postgres.sealing import opened_row
from mesh_store.postgres.secret_tables import ProviderSecretRow

#: Bytes of all values of one secret; a service account's file has 2,400.
MAX_BYTES = 65_536
MAX_VALUES = 50
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_SEALED = "sealed:"


def needed(master: Master | None) -> Master:
    """Return the master, or say what is missing.

    Raises:
        Rejected: this process has none.
    """
    if master is None:
        raise Rejected(
            "secret: a stored secret is sealed under MESH_SECRET_KEY, which is not set here: set it, or "
            "refer to the secret with env:NAME or file:PATH instead",
            field="secret",
        )
    return master


def checked_values(value: object) -> Values:
    """Return the values of a secret by label; messages never repeat one.

    Args:
        value: the secret, or its values by label.

    Raises:
        Rejected: it is empty, too large, or not text.
    """
    given: dict[Any, Any] = dict(value) if isinstance(value, Mapping) else {SINGLE: value}
    if not 1 <= len(given) <= MAX_VALUES:
        raise Rejected(f"secret: give 1 to {MAX_VALUES} values", field="secret")
    values: Values = {}
    for label, text in given.items():
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or label == "federated":
            raise Rejected("secret: a value is named by letters, digits and _ . -", field="secret")
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise Rejected(f"secret: {label}: it must be text and not empty", field="secret")
        values[label] = text.strip()
    if sum(len(text.encode()) for text in values.values()) > MAX_BYTES:
        raise Rejected(f"secret: it has more than {MAX_BYTES} bytes", field="secret")
    return values


async def stored_row(work: Work, provider: ProviderRow) -> ProviderSecretRow | None:
    """Return what is stored of a provider's secret, locked, or None."""
    return await work.session.get(ProviderSecretRow, provider.id, with_for_update=True)


def values_of(row: ProviderSecretRow, provider: ProviderRow, master: Master) -> Values:
    """Open what is stored.

    Raises:
        SecretError: it does not open; the provider's address was changed behind our back, say.
    """
    return opened_row(master, _plain(row), provider.name, address(provider))


async def keep(
    work: Work, provider: ProviderRow, row: ProviderSecretRow | None, master: Master, values: Values
) -> ProviderSecretRow:
    """Store a provider's secret in place of what is there."""
    version = 1 if row is None else row.version + 1
    if row is None:
        row = ProviderSecretRow(provider_id=provider.id)
        work.session.add(row)
    bound_to = address(provider)
    row.version, row.address, row.master, row.set_at = version, bound_to, master.id, now()
    row.labels = sorted(values)
    row.sealed = seal_values(master, provider.id, bound_to, version, values)
    await work.flush()
    return row


async def follow(work: Work, provider: ProviderRow, was_at: str, master: Master | None) -> None:
    """Let a stored secret follow a provider that was changed: to its new address, or out of use.

    Args:
        work: the change.
        provider: as it is now.
        was_at: its address before.
        master: what the secret is sealed under, if this process has it.

    Raises:
        Rejected: the address changed, and only a process with the master can seal the secret for it.
    """
    row = await stored_row(work, provider)
    if row is None:
        return
    if not refers_to_stored(provider.secret):
        await work.session.delete(row)
        await work.flush()
    elif was_at != address(provider):
        held = needed(master)
        values = opened_row(held, _plain(row), provider.name, was_at)
        await keep(work, provider, row, held, values)


def references(values: Values, present: object) -> str | dict[str, str]:
    """Return what a provider's secret field says once ``values`` are stored."""
    if values.keys() == {SINGLE}:
        return _SEALED + SINGLE
    others = present if isinstance(present, dict) and "federated" not in present else {}
    kept = {name: text for name, text in others.items() if not str(text).startswith(_SEALED)}
    return kept | {label: _SEALED + label for label in sorted(values)}


def refers_to_stored(secret: object) -> bool:
    """Tell whether a provider's secret field refers to what is stored."""
    texts = secret.values() if isinstance(secret, dict) else [secret]
    return any(isinstance(text, str) and text.startswith(_SEALED) for text in texts)


def address(provider: ProviderRow) -> str:
    """Return where a provider is: what its secret is bound to."""
    return address_of(provider.kind, provider.base_url)


def _plain(row: ProviderSecretRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("provider_id", "version", "address", "sealed", "master")}

"""The team, user, key, alias and limits of the story."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mesh_plugins.cli.demo.accounts import Account, Accounts
from mesh_store.model.errors import Conflict

if TYPE_CHECKING:
    from mesh_store.admin import Admin

TEAM, USER, ALIAS = "research", "ada@example.com", "fast"
#: So few at once that a handful of calls shows the refusal, and it is over after three seconds.
KEY_LIMIT = "20 requests/min, burst 6"
TEAM_LIMITS = ("600 requests/min", "100k tokens/min", "20 concurrent")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays.

    Attributes:
        key: the caller's key.
        key_id: its id.
        revision: the configuration's, after all of it was created.
    """

    key: str
    key_id: str
    revision: int


async def engage(admin: Admin, accounts: Accounts, base_urls: dict[str, str]) -> Cast:
    """Create everything in one transaction; in a home that was used before, take what is there.

    Args:
        admin: who creates.
        accounts: the two accounts.
        base_urls: where the accounts live, by wire format, when a stand-in plays them.
    """
    await _once(admin.create_team(name=TEAM, description="of the demo"))
    await _once(admin.create_user(name=USER))
    await _once(admin.add_member(team=TEAM, user=USER))
    for account in (accounts.first, accounts.second):
        await _account(admin, account, base_urls.get(account.kind, account.base_url))
    targets = [target(accounts.first, 1), target(accounts.second, 2)]
    if await _once(admin.create_alias(name=ALIAS, targets=targets, grants=[TEAM])) is None:
        await _point_own_alias(admin, accounts, targets)
    for limit in TEAM_LIMITS:
        await _once(admin.create_limit(team=TEAM, limit=limit))
    key, minted = await admin.create_key(team=TEAM, user=USER, limits=[KEY_LIMIT], description="of the demo")
    head = await admin.database.head()
    return Cast(minted.text, key.id, head.revision)


def target(account: Account, tier: int) -> dict[str, object]:
    """Return an account as a target of the alias."""
    return {"provider": account.name, "model": account.model, "tier": tier}


async def _account(admin: Admin, account: Account, base_url: str | None) -> None:
    place: dict[str, Any] = {"kind": account.kind, "base_url": base_url, "secret": account.secret}
    if await _once(admin.create_provider(name=account.name, **place)) is None:
        await admin.update_provider(account.name, **place)
    if account.price is not None:
        rates: dict[str, Any] = {"input": account.price[0], "output": account.price[1]}
        await admin.set_price(provider=account.name, model=account.model, **rates)


async def _point_own_alias(admin: Admin, accounts: Accounts, targets: list[dict[str, object]]) -> None:
    """Point the alias of an earlier demo; one that somebody made for themselves is left alone."""
    ours = {accounts.first.name, accounts.second.name}
    present = await admin.get_alias(ALIAS)
    if not {each.provider for each in present.targets} <= ours:
        raise Conflict(
            f"this home has an alias {ALIAS!r} of its own; set MESH_HOME to another directory for the demo",
            field="alias",
        )
    await admin.update_alias(ALIAS, targets=targets, grants=[TEAM])


async def _once(creating: Awaitable[_T]) -> _T | None:
    """Create something, or return None when it is there already."""
    try:
        return await creating
    except Conflict:
        return None

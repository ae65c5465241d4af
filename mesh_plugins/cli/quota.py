"""``mesh quota``: what is left of limits, right now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import show
from mesh_plugins.cli.simulating import simulate

if TYPE_CHECKING:
    from mesh_store.model.limits import Decision
    from mesh_store.model.snapshot import LimitRule, SnapshotDocument, Subject

quota = typer.Typer(no_args_is_help=True, help="What is left of limits, right now.")

#: How wide a bar is, and what a table shows; JSON holds more.
_BAR = 20
_COLUMNS = ("subject", "limit", "left", "", "full_in", "note")

#: Seconds to wait for Redis: nobody's call hangs on it.
_DEADLINE_S = 5.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    quota.command("simulate")(simulate)
    app.add_typer(quota, name="quota")


@quota.command("show")
def show_quota(
    whose: Annotated[str, typer.Argument(metavar="KEY_ID|TEAM", help="A key's id or a team's name.")],
    end_user: Annotated[
        str | None, typer.Option("--end-user", metavar="NAME", help="Limits of this end user, too.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME[=VALUE]", help="Limits of this tag, too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is left of every limit that can bind calls of a key or a team; takes nothing.

    Limits on each end user, or each value of a tag, show for those that are named.
    """
    from mesh_plugins.cli.control import run_async

    tags = {name: value for name, _, value in (each.partition("=") for each in tag or ())}
    rows = run_async(_headroom(whose, end_user, tags))
    shown = rows if as_json else [row | _drawn(row) for row in rows]
    show(shown, _COLUMNS, as_json=as_json, empty=f"no limit binds {whose}")


async def _headroom(whose: str, end_user: str | None, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    from mesh_plugins.cli.control import admin, place
    from mesh_plugins.defaults.charging import charge_key
    from mesh_store.model.limits import Charge
    from mesh_store.model.snapshot import KeyEntry, Snapshot
    from mesh_store.postgres.compile import compile_snapshot
    from mesh_store.postgres.key_limits import limits_of_key
    from mesh_store.redis import AsyncLimiter, connect_async

    async with place() as found, admin() as repo:
        caller, aliases = await _caller(repo, whose)
        document = await compile_snapshot(repo.database, repo.master)
        own: tuple[LimitRule, ...] = ()
        if caller.key is not None and caller.team is not None:
            limits = await limits_of_key(repo.database, caller.key)
            own = Snapshot(document).limits_of(KeyEntry(id=caller.key, team=caller.team, limits=limits))
        binding = _binding(document, (*document.limits, *own), caller, aliases)
        rules = _said(binding, end_user, tags)
        rows = []
        url = found.redis_url
        async with connect_async(url, deadline=_DEADLINE_S, connect_deadline=_DEADLINE_S) as client:
            limiter = AsyncLimiter(client)
            for rule in rules:
                key = charge_key(rule, str(caller.team), end_user, tags)
                charge = Charge(key, rule.limit, 0)
                rows.append(_row(rule, await limiter.peek([charge])))
        return rows


async def _caller(repo: Any, whose: str) -> tuple[Subject, tuple[str, ...] | None]:
    """Return the ids calls have that are made by a team or a key, and the aliases it is confined to."""
    from mesh_store.model.errors import NotFound
    from mesh_store.model.snapshot import Subject

    with suppress(NotFound):  # no team: then it is a key, or refused below
        return Subject(team=str((await repo.get_team(whose)).id)), None
    try:
        key = await repo.get_key(whose)
    except NotFound:
        raise NotFound(
            f"there is no team and no key {whose!r}; see `mesh team list`, `mesh key list`"
        ) from None
    team = str((await repo.get_team(key.team)).id)
    user = None if key.user is None else str((await repo.get_user(key.user)).id)
    return Subject(team=team, user=user, key=key.id), key.aliases


def _binding(
    document: SnapshotDocument, rules: Iterable[LimitRule], caller: Subject, aliases: Sequence[str] | None
) -> list[LimitRule]:
    """Return the limits that can bind a caller's calls, through whatever alias it may use."""
    from mesh_store.model.patterns import covers

    usable = {
        alias.id
        for alias in document.aliases
        if alias.team in (None, caller.team)
        and (alias.grants is None or caller.team in alias.grants)
        and (aliases is None or any(covers(each, alias.name) or covers(alias.name, each) for each in aliases))
    }
    return [
        rule
        for rule in rules
        if rule.subject.team in (None, caller.team)
        and rule.subject.user in (None, caller.user)
        and rule.subject.key in (None, caller.key)
        and (rule.subject.alias is None or rule.subject.alias in usable)
    ]


def _said(rules: list[LimitRule], end_user: str | None, tags: Mapping[str, str]) -> list[LimitRule]:
    """Return the limits that bind calls for an end user with these tags, labelled with who that is."""
    import msgspec

    from mesh_store.model import labels

    users, said = (None, *labels.end_users(end_user)), (None, *labels.tags_of(tags))
    kept = [rule for rule in rules if rule.subject.end_user in users and rule.subject.tag in said]
    gone = labels.overruled(kept)
    return [
        msgspec.structs.replace(rule, label=labels.named_label(rule, end_user, tags))
        for rule in kept
        if rule.id not in gone
    ]


def _row(rule: LimitRule, seen: Decision) -> dict[str, Any]:
    from mesh_store.model.limits import SEEDING_US
    from mesh_store.model.money import usd

    limit, [left], [reset_us] = rule.limit, seen.remaining, seen.reset_after_us
    whole = limit.burst if limit.kind == "rate" else limit.amount
    counted = not (limit.kind == "window" and not seen.admitted and reset_us == SEEDING_US)
    money = rule.dimension == "usd"
    return {
        "id": rule.id,
        "subject": rule.label,
        "limit": rule.text,
        "dimension": rule.dimension,
        "remaining": usd(left) if money else left,
        "at_once": usd(whole) if money else whole,
        "full_in_s": reset_us / 1e6,
        "counted": counted,
        "enforced": rule.enforce,
        "hard": limit.hard,
        "lease": limit.lease,
        "on_outage": limit.on_outage,
        "on_exhausted": rule.on_exhausted,
    }


def _drawn(row: Mapping[str, Any]) -> dict[str, Any]:
    left, whole = row["remaining"], row["at_once"]
    filled = 0 if not whole else max(0, min(_BAR, int(_BAR * left / whole)))
    money = row["dimension"] == "usd"
    notes = [] if row["enforced"] else ["shadow"]
    if not row["counted"]:
        notes.append("not counted yet: is `mesh collect` running?")
    return {
        "left": f"${left:,.2f} of ${whole:,.2f}" if money else f"{left:,} of {whole:,}",
        "": "█" * filled + "░" * (_BAR - filled),
        "full_in": _duration(row["full_in_s"]),
        "note": ", ".join(notes),
    }


def _duration(seconds: float | Decimal) -> str:
    whole = int(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"
    if whole >= 3_600:
        return f"{whole // 3_600} h {whole % 3_600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.1f} s" if seconds else "now"

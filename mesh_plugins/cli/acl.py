"""``mesh acl``: the least that callers, collectors and publishers need of Redis and its sentinels."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import print_json


class Role(StrEnum):
    """Who connects to Redis."""

    caller = "caller"
    collector = "collector"
    publisher = "publisher"
    sentinel = "sentinel"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(acl)


def acl(
    role: Annotated[Role | None, typer.Option("--role", help="Only this one; without it, all.")] = None,
    team: Team = None,
    as_json: AsJson = False,
) -> None:
    """Print ACL rules for Redis 7.0 or newer; put a password where <PASSWORD> stands.

    On a cluster every server needs them; the user of the role sentinel belongs on the sentinels, if they
    ask for one.

    With --team, the caller is confined to the limits of that team and to those that span teams as of
    now: print the rules again when one of these comes.
    """
    from mesh_store.redis import acl as rules

    roles = [role] if role is not None else list(Role)
    tags = None if team is None else _tags(team)
    caller = "mesh-caller" if team is None else f"mesh-caller-{team}"
    known = {
        Role.caller: (caller, rules.caller_rules(tags)),
        Role.collector: ("mesh-collector", rules.collector_rules()),
        Role.publisher: ("mesh-publisher", rules.publisher_rules()),
        Role.sentinel: ("mesh", rules.sentinel_rules()),
    }
    users = dict(known[one] for one in roles)
    if as_json:
        print_json([{"user": user, "rules": list(held)} for user, held in users.items()])
        return
    for user, held in users.items():
        typer.echo(rules.command_line(user, held, "<PASSWORD>"))


def _tags(team: str) -> list[str]:
    """Return the hash tags of a team's limits: its own id, then those of limits that span teams."""
    from mesh_plugins.cli.operating import operate
    from mesh_plugins.defaults.charging import charge_key
    from mesh_store.admin import Admin
    from mesh_store.postgres.compile import compile_snapshot
    from mesh_store.redis.keys import hash_tag

    async def ask(repo: Admin) -> list[str]:
        ours = (await repo.get_team(team)).id
        document = await compile_snapshot(repo.database, repo.master)
        binding = (rule for rule in document.limits if rule.subject.team in (None, ours))
        return [ours, *sorted({hash_tag(charge_key(rule, ours)) for rule in binding} - {ours})]

    return operate(ask)

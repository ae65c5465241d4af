"""``mesh limit``: how much, for whom."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson, Team, User

limit = typer.Typer(no_args_is_help=True, help="How much, for whom.")

Text = Annotated[
    str,
    typer.Argument(metavar="LIMIT", help="Such as '600 requests/min', '100k tokens/hour', '20 concurrent'."),
]
LimitId = Annotated[
    str, typer.Argument(metavar="LIMIT_ID", help="The limit's id, as `mesh limit list` says.")
]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY_ID", help="A key's id.")]
Observe = Annotated[bool, typer.Option("--observe", help="Count and report, but never refuse.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(limit, name="limit")


@limit.command("create")
def create_limit(
    text: Text,
    team: Team = None,
    user: User = None,
    key: Key = None,
    alias: Annotated[str | None, typer.Option("--alias", metavar="ALIAS", help="An alias's name.")] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="PROVIDER", help="A provider's name.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="PROVIDER/MODEL", help="One target of --alias.")
    ] = None,
    end_user: Annotated[
        str | None,
        typer.Option("--end-user", metavar="NAME|*", help="Callers' own user, '*' for each by itself."),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="TAG", help="'batch', 'job=nightly', or 'job=*' for each by itself."),
    ] = None,
    distinct: Annotated[
        int | None,
        typer.Option("--distinct", min=1, help="How many end users or values are kept apart in a day."),
    ] = None,
    observe: Observe = False,
    as_json: AsJson = False,
) -> None:
    """Limit what all the given subjects have in common; without any, every call."""
    subjects = {
        "team": team,
        "user": user,
        "key": key,
        "alias": alias,
        "provider": provider,
        "target": target,
        "end_user": end_user,
        "tag": tag,
        "distinct": distinct,
    }
    made = operate(lambda repo: repo.create_limit(limit=text, enforce=not observe, **subjects))
    done(f"{made.label}: {made.limit} (limit {made.id})", made, as_json=as_json)


@limit.command("set")
def set_limit(limit_id: LimitId, text: Text, observe: Observe = False, as_json: AsJson = False) -> None:
    """Change a limit where it runs; what was spent stays spent."""
    made = operate(lambda repo: repo.update_limit(limit_id, limit=text, enforce=not observe))
    done(f"{made.label}: {made.limit}", made, as_json=as_json)


@limit.command("list")
def list_limits(
    team: Team = None, user: User = None, key: Key = None, archived: Archived = False, as_json: AsJson = False
) -> None:
    """List the limits."""
    narrowed = {"team": team, "user": user, "key": key}
    rows = every(lambda repo, **page: repo.list_limits(**page), archived=archived, **narrowed)
    listing(rows, ["label", "limit", "enforce", "id"], as_json=as_json, word="limits")


@limit.command("archive")
def archive_limit(limit_id: LimitId, as_json: AsJson = False) -> None:
    """Take a limit out of use."""
    gone = operate(lambda repo: repo.archive_limit(limit_id))
    done(f"{gone.label}: {gone.limit} is archived", gone, as_json=as_json)

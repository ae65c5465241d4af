"""``mesh key``: callers' keys, shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mesh_plugins.cli.key_import import import_keys
from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import AsJson, Description, Team, User
from mesh_plugins.cli.printing import print_json

if TYPE_CHECKING:
    from datetime import datetime

    from mesh_store.admin import Admin
    from mesh_store.model.entities import KeyEntity

key = typer.Typer(no_args_is_help=True, help="Callers' keys.")

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The 8 characters after 'mk_'.")]
Lifetime = Annotated[
    str, typer.Option("--expires", metavar="DURATION", help="Such as 90d or 12h; 'never' is possible.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    key.command("import")(import_keys)
    app.add_typer(key, name="key")


@key.command("create")
def create_key(
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="The team that pays.")],
    user: User = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="ALIAS", help="May only use this alias; may be given several times."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="LIMIT", help="A limit of its own, such as '60 requests/min'."),
    ] = None,
    expires: Lifetime = "90d",
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Mint a key; its text is shown now and never again."""
    fields = {"team": team, "user": user, "aliases": alias or None, "description": description}
    lifetime = None if expires == "never" else expires
    made, minted = operate(lambda repo: repo.create_key(expires=lifetime, limits=limit or (), **fields))
    if as_json:
        done("", made, as_json=True, key=minted.text)
        return
    typer.echo(minted.text)
    ends = f"until {made.expires_at:%Y-%m-%d}" if made.expires_at else "for ever"
    typer.echo(f"key {made.id} of {_owner(made.team, made.user)}, good {ends}; not shown again", err=True)


@key.command("list")
def list_keys(
    team: Team = None,
    user: User = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Show revoked ones, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys; only their last four characters are known."""
    rows = every(lambda repo, **page: repo.list_keys(**page), team=team, user=user, revoked=revoked)
    used = operate(lambda repo: _last_used(repo, [row["id"] for row in rows]))
    rows = [
        row | {"last_four": _last_four(row["secrets"]), "last_used": used.get(row["id"])}
        for row in map(dict, rows)
    ]
    columns = ["id", "last_four", "team", "user", "aliases", "last_used", "expires_at", "revoked_at"]
    listing(rows, columns, as_json=as_json, word="keys")


@key.command("show")
def show_key(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show one key: whose it is, what it may use, when it ends and when it last called."""

    async def look(repo: Admin) -> tuple[KeyEntity, dict[str, datetime]]:
        return await repo.get_key(key_id), await _last_used(repo, [key_id])

    found, used = operate(look)
    row = found.model_dump(mode="json") | {"last_used": used.get(key_id)}
    row["last_four"] = _last_four(row["secrets"])
    columns = ["id", "last_four", "team", "user", "aliases", "last_used", "expires_at", "revoked_at"]
    if as_json:
        print_json(row)
    else:
        listing([row], columns, as_json=False, word="keys")


@key.command("revoke")
def revoke_key(key_id: KeyId, as_json: AsJson = False) -> None:
    """Revoke a key for ever; callers refuse it within a second.

    Says which providers' stored secrets its holder could have opened: rotate those at the provider.
    """

    async def revoke(repo: Admin) -> tuple[KeyEntity, list[str]]:
        return await repo.revoke_key(key_id), await repo.secrets_seen_by(key_id)

    gone, seen = operate(revoke)
    said = f"key {gone.id} of {_owner(gone.team, gone.user)} is revoked"
    done(said, gone, as_json=as_json, secrets_seen=seen)
    if seen and not as_json:
        typer.echo(f"its holder could open the secret of: {', '.join(seen)}; rotate what matters", err=True)


@key.command("rotate")
def rotate_key(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old secret still works.")
    ] = "24h",
    expires: Lifetime = "90d",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; its limits, budgets and usage go on."""
    lifetime = None if expires == "never" else expires
    made, minted = operate(lambda repo: repo.rotate_key(key_id, overlap=overlap, expires=lifetime))
    if as_json:
        done("", made, as_json=True, key=minted.text)
        return
    typer.echo(minted.text)
    typer.echo(f"key {made.id} has a new secret; the old one works for {overlap} more", err=True)


@key.command("check")
def check_key(
    text: Annotated[
        str | None, typer.Argument(metavar="KEY", help="The key; without it, $MESH_KEY is checked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a key's form and checksum, asking nobody: finds typos, not revocations."""
    import os

    from mesh_store.model.errors import InvalidKey
    from mesh_store.model.keys import parse

    text = text or os.environ.get("MESH_KEY")
    if not text:
        raise InvalidKey("there is no key to check: give one, or set MESH_KEY")
    key_id = parse(text)
    if as_json:
        print_json({"id": key_id, "last_four": text[-4:], "well_formed": True})
    else:
        typer.echo(f"well formed: key {key_id}, ending in {text[-4:]}")


async def _last_used(repo: Admin, key_ids: list[str]) -> dict[str, datetime]:
    from mesh_store.postgres.usage import last_used

    return await last_used(repo.database, key_ids)


def _last_four(secrets: list[dict[str, str]]) -> str:
    return secrets[0]["last_four"] if secrets else ""


def _owner(team: str, user: str | None) -> str:
    return f"team {team}" if user is None else f"{user} in team {team}"

"""``mesh token``: who may use the control plane's API."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import AsJson, Description, Team

token = typer.Typer(no_args_is_help=True, help="Admin tokens, for the API of `mesh serve`.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(token, name="token")


@token.command("create")
def create_token(
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="admin, team-admin (of --team), or viewer.")
    ],
    team: Team = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="DURATION", help="Such as 90d or 12h; 'never' is possible.")
    ] = "90d",
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Mint a token; its text is shown now and never again."""
    fields = {"role": role, "team": team, "description": description}
    lifetime = None if expires == "never" else expires
    made, minted = operate(lambda repo: repo.create_token(expires=lifetime, **fields))
    if as_json:
        done("", made, as_json=True, token=minted.text)
        return
    typer.echo(minted.text)
    ends = f"until {made.expires_at:%Y-%m-%d}" if made.expires_at else "for ever"
    whose = f" of team {made.team}" if made.team else ""
    typer.echo(f"token {made.id}, {made.role}{whose}, good {ends}; not shown again", err=True)


@token.command("list")
def list_tokens(
    revoked: Annotated[bool, typer.Option("--revoked", help="Show revoked ones, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the tokens; only their last four characters are known."""
    rows = every(lambda repo, **page: repo.list_tokens(**page), revoked=revoked)
    columns = ["id", "last_four", "role", "team", "expires_at", "revoked_at", "description"]
    listing(rows, columns, as_json=as_json, word="tokens")


@token.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The 8 characters after 'mt_'.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a token for ever; the next request with it is refused."""
    gone = operate(lambda repo: repo.revoke_token(token_id))
    done(f"token {gone.id} ({gone.role}) is revoked", gone, as_json=as_json)

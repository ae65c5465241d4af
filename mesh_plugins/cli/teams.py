"""``mesh team`` and ``mesh user``: who calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson, Description

team = typer.Typer(no_args_is_help=True, help="Teams, which pay, and their members.")
user = typer.Typer(no_args_is_help=True, help="People and services.")

TeamName = Annotated[str, typer.Argument(metavar="TEAM", help="The team's name.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name; an e-mail address is fine.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(team, name="team")
    app.add_typer(user, name="user")


@team.command("create")
def create_team(name: TeamName, description: Description = "", as_json: AsJson = False) -> None:
    """Create a team."""
    made = operate(lambda repo: repo.create_team(name=name, description=description))
    done(f"team {made.name} is there", made, as_json=as_json)


@team.command("list")
def list_teams(archived: Archived = False, as_json: AsJson = False) -> None:
    """List the teams."""
    rows = every(lambda repo, **page: repo.list_teams(**page), archived=archived)
    listing(rows, ["name", "description", "created_at"], as_json=as_json, word="teams")


@team.command("content")
def set_content(
    name: TeamName,
    what: Annotated[Literal["off", "samples"], typer.Argument(help="What is kept of what its calls say.")],
    share: Annotated[
        float | None, typer.Option("--share", help="Of how many of its calls: above 0, up to 1.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", help="How long samples are kept.")] = None,
    as_json: AsJson = False,
) -> None:
    """Switch content samples of a team on or off; they are redacted, and still what people wrote.

    What is kept already stays until its days are over.
    """
    said = {"content": what, "content_share": share, "content_days": days}
    changes: dict[str, Any] = {field: value for field, value in said.items() if value is not None}
    made = operate(lambda repo: repo.update_team(name, **changes))
    kept = f"{made.content_share:.0%} of its calls for {made.content_days} days"
    done(f"team {made.name}: {'nothing is' if what == 'off' else kept + ' are'} kept", made, as_json=as_json)


@team.command("archive")
def archive_team(name: TeamName, as_json: AsJson = False) -> None:
    """Take a team out of use: its keys are revoked, its own aliases and limits archived."""
    gone = operate(lambda repo: repo.archive_team(name))
    done(f"team {gone.name} is archived, and its keys are revoked", gone, as_json=as_json)


@team.command("add")
def add_member(
    name: TeamName,
    member: UserName,
    admin: Annotated[bool, typer.Option("--admin", help="May manage the team's keys.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a user to a team."""
    role = "admin" if admin else "member"
    made = operate(lambda repo: repo.add_member(team=name, user=member, role=role))
    done(f"{made.user} is {role} of team {made.team}", made, as_json=as_json)


@team.command("remove")
def remove_member(name: TeamName, member: UserName, as_json: AsJson = False) -> None:
    """Take a user out of a team; their keys of that team are revoked."""
    gone = operate(lambda repo: repo.remove_member(name, member))
    done(f"{gone.user} is no member of team {gone.team} any more", gone, as_json=as_json)


@team.command("members")
def list_members(name: TeamName, as_json: AsJson = False) -> None:
    """List a team's members."""
    rows = every(lambda repo, **page: repo.list_members(**page), team=name)
    listing(rows, ["user", "role", "created_at"], as_json=as_json, word="members")


@user.command("create")
def create_user(name: UserName, description: Description = "", as_json: AsJson = False) -> None:
    """Create a user."""
    made = operate(lambda repo: repo.create_user(name=name, description=description))
    done(f"user {made.name} is there", made, as_json=as_json)


@user.command("list")
def list_users(archived: Archived = False, as_json: AsJson = False) -> None:
    """List the users."""
    rows = every(lambda repo, **page: repo.list_users(**page), archived=archived)
    listing(rows, ["name", "description", "created_at"], as_json=as_json, word="users")


@user.command("archive")
def archive_user(name: UserName, as_json: AsJson = False) -> None:
    """Take a user out of use: memberships end, keys are revoked."""
    gone = operate(lambda repo: repo.archive_user(name))
    done(f"user {gone.name} is archived, and their keys are revoked", gone, as_json=as_json)

"""``mesh provider``: vendor accounts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson, Team
from mesh_plugins.cli.targets import parse_parameters

provider = typer.Typer(no_args_is_help=True, help="Vendor accounts.")

ProviderName = Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's name.")]
Kind = Annotated[str, typer.Option("--kind", help="The wire format it speaks: openai, anthropic, litellm.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Where it lives, if not at the vendor's.")]
Secret = Annotated[str | None, typer.Option("--secret", help="A reference: env:NAME or file:PATH.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(provider, name="provider")


@provider.command("create")
def create_provider(
    name: ProviderName,
    kind: Kind = "openai",
    base_url: BaseUrl = None,
    secret: Secret = None,
    header: Annotated[list[str] | None, typer.Option("--header", metavar="NAME=VALUE")] = None,
    team: Team = None,
    as_json: AsJson = False,
) -> None:
    """Create a provider; with --team, that team's own account, in place of the global one of the name.

    Its secret is a reference; `mesh secret set` stores one.
    """
    fields: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "base_url": base_url,
        "secret": secret,
        "team": team,
    }
    headers = {key: str(value) for key, value in parse_parameters(header or (), "header").items()}
    made = operate(lambda repo: repo.create_provider(headers=headers, **fields))
    done(f"provider {made.name} is there", made, as_json=as_json)


@provider.command("set")
def set_provider(
    name: ProviderName,
    base_url: BaseUrl = None,
    secret: Secret = None,
    team: Team = None,
    as_json: AsJson = False,
) -> None:
    """Change where a provider lives, or where its secret is found; callers follow within a second."""
    fields = {"base_url": base_url, "secret": secret}
    changes: dict[str, Any] = {field: value for field, value in fields.items() if value is not None}
    made = operate(lambda repo: repo.update_provider(name, for_team=team, **changes))
    done(f"provider {made.name} is at revision {made.revision}", made, as_json=as_json)


@provider.command("list")
def list_providers(archived: Archived = False, as_json: AsJson = False) -> None:
    """List the providers."""
    rows = every(lambda repo, **page: repo.list_providers(**page), archived=archived)
    listing(rows, ["name", "team", "kind", "base_url", "secret"], as_json=as_json, word="providers")


@provider.command("archive")
def archive_provider(name: ProviderName, team: Team = None, as_json: AsJson = False) -> None:
    """Take a provider out of use; refused while aliases have targets there."""
    gone = operate(lambda repo: repo.archive_provider(name, team=team))
    done(f"provider {gone.name} is archived", gone, as_json=as_json)

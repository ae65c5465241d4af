"""``mesh secret``: what providers are called with, kept so that only their callers can open it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import print_json
from mesh_store.model.errors import ConfigError

secret = typer.Typer(no_args_is_help=True, help="Stored secrets of providers.")

Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's name.")]
Field = Annotated[
    str | None,
    typer.Option("--field", metavar="NAME", help="One value of several, such as aws_secret_access_key."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(secret, name="secret")


@secret.command("set")
def set_secret(provider: Provider, team: Team = None, field: Field = None, as_json: AsJson = False) -> None:
    """Store a provider's secret, read from standard input or asked for; never from the command line."""
    value = _labelled(_value(provider), field)
    made = operate(lambda repo: repo.set_secret(provider, value, team=team))
    done(f"the secret of provider {made.provider} is stored, version {made.version}", made, as_json=as_json)


@secret.command("rotate")
def rotate_secret(
    provider: Annotated[str | None, typer.Argument(metavar="PROVIDER")] = None,
    team: Team = None,
    field: Field = None,
    master: Annotated[
        bool,
        typer.Option(
            "--master", help="Seal everything anew, under MESH_NEW_SECRET_KEY instead of MESH_SECRET_KEY."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put another value in place of a stored secret; with --master, change MESH_SECRET_KEY itself."""
    if master == (provider is not None):
        raise typer.BadParameter("say which provider, or --master")
    if master:
        _rotate_master(as_json)
        return
    of = str(provider)
    operate(lambda repo: repo.get_secret(of, team=team))  # before anything is asked for
    value = _labelled(_value(of), field)
    made = operate(lambda repo: repo.rotate_secret(of, value, team=team))
    done(f"the secret of provider {made.provider} is stored, version {made.version}", made, as_json=as_json)


@secret.command("list")
def list_secrets(as_json: AsJson = False) -> None:
    """List what is stored: names, versions and dates, never a value."""
    rows = every(lambda repo, **page: repo.list_secrets(**page))
    columns = ["provider", "team", "labels", "version", "set_at", "master"]
    listing(rows, columns, as_json=as_json, word="stored secrets")


def _value(provider: str) -> str:
    if sys.stdin.isatty():
        asked: str = typer.prompt(f"secret of provider {provider}", hide_input=True, err=True)
        return asked
    return sys.stdin.read()


def _labelled(value: str, field: str | None) -> str | dict[str, str]:
    return value if field is None else {field: value}


def _rotate_master(as_json: bool) -> None:
    from mesh_plugins.cli.control import run_async

    report = run_async(_rotated())
    if as_json:
        print_json(report)
        return
    typer.echo(f"{report['sealed_anew']} things are sealed under the new key, known as {report['master']}")
    typer.echo(f"publisher: {report['publisher']}", err=True)
    if report["kept_at"] is None:
        typer.echo("now set MESH_SECRET_KEY to the new key wherever it is set, and restart", err=True)


async def _rotated() -> dict[str, Any]:
    import os

    from mesh_plugins.cli.control import actor, place, signer_of
    from mesh_store.admin.secrets import rotate_master
    from mesh_store.sync.publisher_key import PendingKey

    async with place() as found:
        old = signer_of(found)
        if old is None:
            raise ConfigError("MESH_SECRET_KEY is not set: it is needed to open what is sealed under it")
        kept = found.own and not os.environ.get("MESH_SECRET_KEY")
        pending = PendingKey(found.settings.home) if kept else None
        new = pending.signer() if pending else _new_signer()
        count = await rotate_master(found.database_url, found.redis_url, old, new, actor=actor())
        if pending is not None:
            pending.keep()
        kept_at = None if pending is None else str(pending.path)
        return {
            "sealed_anew": count,
            "master": new.master.id,
            "publisher": new.public.hex(),
            "kept_at": kept_at,
        }


def _new_signer() -> Any:
    import os

    from mesh_store.model.signing import Signer

    text = os.environ.get("MESH_NEW_SECRET_KEY", "")
    if len(text) < 32:
        raise ConfigError("set MESH_NEW_SECRET_KEY to the new key: 32 random characters or more")
    return Signer.from_secret(text)

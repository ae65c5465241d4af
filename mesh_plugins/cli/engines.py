"""``mesh up``, ``mesh down``, ``mesh status``: the embedded engines of one home."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import console, print_json, table

if TYPE_CHECKING:
    from mesh_store.embedded import EnginesStatus


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, status):
        app.command()(command)


def up(as_json: AsJson = False) -> None:
    """Start Postgres and Valkey under MESH_HOME and leave them running."""
    from mesh_plugins.cli.control import embedded_engines, run_async
    from mesh_store.embedded import keep
    from mesh_store.embedded import status as look

    with embedded_engines() as engines:
        run_async(_migrate(engines.database_url))
        keep(engines.home)
        if as_json:
            print_json(asdict(look(engines.home)))
            return
        began = "started" if engines.started else "already running"
        typer.echo(f"{began} in {engines.home}; `mesh down` stops them")


def down() -> None:
    """Stop the engines of MESH_HOME, whoever uses them; the data stays."""
    from mesh_store.embedded import status as look
    from mesh_store.embedded import stop
    from mesh_store.model.errors import ConfigError

    before = look()
    if not stop(before.home):
        logs = before.home / "logs"
        raise ConfigError(f"the engines of {before.home} did not stop within 30 s; their logs are in {logs}")
    if before.supervisor is None:
        typer.echo(f"nothing runs in {before.home}")
    else:
        typer.echo(f"stopped the engines of {before.home}")


def status(as_json: AsJson = False) -> None:
    """Show what runs under MESH_HOME; starts nothing."""
    from mesh_store.embedded import status as look

    found = look()
    if as_json:
        print_json(asdict(found))
        return
    typer.echo(f"{'running' if found.running else 'not running'} in {found.home}{_why(found)}")
    if found.supervisor is not None:
        console().print(table(_processes(found), ["name", "pid", "version", "answers", "socket"]))


async def _migrate(database_url: str) -> None:
    from mesh_store.postgres import Database

    async with Database(database_url) as database:
        await database.migrate()


def _why(found: EnginesStatus) -> str:
    if not found.running:
        return ""
    users = "" if found.users is None else f", in use by {len(found.users)}"
    return f"{users}, {'kept by `mesh up`' if found.kept else 'until the last user ends'}"


def _processes(found: EnginesStatus) -> list[dict[str, Any]]:
    servers = [
        {"name": name} | asdict(server)
        for name, server in (("postgres", found.postgres), ("valkey", found.valkey))
        if server is not None
    ]
    # Interpreter and -m say nothing; what follows is the program.
    companions = [{"name": " ".join(each.argv[2:]), "pid": each.pid} for each in found.companions]
    return [{"name": "supervisor", "pid": found.supervisor}, *servers, *companions]

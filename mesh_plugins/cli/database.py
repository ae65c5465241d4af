"""``mesh migrate``: the schema of the database."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(
    restored: Annotated[
        bool, typer.Option("--restored", help="Afterwards start a new epoch: an older copy was restored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema to this version's; safe from many processes at once."""
    from mesh_plugins.cli.control import run_async

    before, after, epoch = run_async(_migrate(restored))
    if as_json:
        print_json({"before": before, "after": after, "epoch": epoch})
    elif before == after:
        typer.echo(f"the schema is at {after} already")
    else:
        typer.echo(f"the schema was {f'at {before}' if before else 'empty'}, and is now at {after}")
    if restored and not as_json:
        typer.echo(f"a new epoch began: {epoch}")


async def _migrate(restored: bool) -> tuple[str | None, str | None, str]:
    from mesh_plugins.cli.control import place
    from mesh_store.postgres import Database
    from mesh_store.postgres.migrate import current_revision

    async with place() as found, Database(found.database_url) as database:
        before = await current_revision(database)
        await database.migrate()
        head = await (database.start_epoch() if restored else database.head())
        return before, await current_revision(database), head.epoch

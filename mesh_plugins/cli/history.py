"""``mesh history``: who did what, and how far back that goes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json

history = typer.Typer(no_args_is_help=True, help="The audit log, changes and dead letters: how far back.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(history, name="history")


@history.callback()
def group() -> None:
    """Keep `prune` a command of its own, alone as it is."""


@history.command("prune")
def prune(
    audit: Annotated[
        int, typer.Option("--keep-audit-days", min=30, help="Days of the audit log to keep.")
    ] = 730,
    changes: Annotated[
        int, typer.Option("--keep-changes-days", min=1, help="Days of numbered changes to keep.")
    ] = 30,
    dead: Annotated[int, typer.Option("--keep-dead-days", min=1, help="Days of dead letters to keep.")] = 90,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete old rows of the audit log, of numbered changes, and of facts that could not be taken in.

    The latest 1,000 changes stay however old they are. That history was pruned is in the audit log.
    """
    from mesh_plugins.cli.control import run_async

    report = run_async(_prune({"audit_days": audit, "changes_days": changes, "dead_days": dead}, dry_run))
    if as_json:
        print_json(report)
        return
    verb = "would delete" if dry_run else "deleted"
    typer.echo(
        f"{verb} {report['audit']} rows of the audit log, {report['changes']} changes and "
        f"{report['dead']} dead letters"
    )


async def _prune(kept: dict[str, int], dry_run: bool) -> dict[str, Any]:
    from mesh_plugins.cli.control import actor, database, place
    from mesh_store.postgres.history_retention import Kept, prune_history

    async with place() as found, database(found) as opened:
        ended = await prune_history(opened, Kept(**kept), actor=actor(), dry_run=dry_run)
    return {**ended._asdict(), "dry_run": dry_run}

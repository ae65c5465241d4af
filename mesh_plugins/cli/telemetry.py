"""``mesh telemetry``: what is kept of facts, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json

telemetry = typer.Typer(no_args_is_help=True, help="Facts: what is kept, and for how long.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(telemetry, name="telemetry")


@telemetry.command("prune")
def prune(
    days: Annotated[int, typer.Option("--keep-days", min=2, help="Days of single calls to keep.")] = 30,
    minutes: Annotated[
        int, typer.Option("--keep-minute-days", min=2, help="Days of sums per minute to keep.")
    ] = 90,
    hours: Annotated[
        int, typer.Option("--keep-hour-days", min=2, help="Days of sums per hour to keep.")
    ] = 730,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop the single calls of days long gone, and sums per minute and hour of longer gone ones.

    What re-pricing changed goes with its calls and stays in the sums. Sums per day and the ledger of
    budgets stay for ever.
    """
    from mesh_plugins.cli.control import run_async

    report = run_async(_prune(days, minutes, hours, dry_run))
    if as_json:
        print_json(report)
        return
    verb = "would drop" if dry_run else "dropped"
    dropped = report["days"]
    span = f" ({dropped[0]} to {dropped[-1]})" if dropped else ""
    sums = f"{report['minute_rows']} sums per minute and {report['hour_rows']} per hour"
    typer.echo(
        f"{verb} {len(dropped)} days of calls{span}, {report['adjustments']} re-pricings of them, {sums}"
    )


@telemetry.command("revive")
def revive(as_json: AsJson = False) -> None:
    """Store the facts of newer versions that older collectors had to park; after an upgrade."""
    from mesh_plugins.cli.control import run_async

    stored, waiting = run_async(_revive())
    if as_json:
        print_json({"stored": stored, "waiting": waiting})
    else:
        typer.echo(f"{stored} facts are stored, {waiting} entries still wait for a newer version")


@telemetry.command("recount")
def recount(as_json: AsJson = False) -> None:
    """Count the errors of sums anew from the calls that are kept; after an upgrade that counts others.

    Sums whose calls were pruned stay as they are. Collectors wait meanwhile.
    """
    from mesh_plugins.cli.control import run_async

    found = run_async(_recount())
    if as_json:
        print_json(found._asdict())
    else:
        typer.echo(
            f"{found.corrected} sums are corrected, {found.left} stay: their calls are no longer all kept"
        )


@telemetry.command("dashboard")
def dashboard(source: Annotated[Literal["prometheus", "postgres"], typer.Argument()]) -> None:
    """Print a Grafana dashboard, to import or to provision."""
    from mesh_store.telemetry.exporters import grafana

    print_json(grafana.prometheus() if source == "prometheus" else grafana.postgres())


async def _recount() -> Any:
    from mesh_plugins.cli.control import database, place
    from mesh_store.postgres.usage_recount import recount as recount_usage

    async with place() as found, database(found) as opened:
        return await recount_usage(opened)


async def _revive() -> tuple[int, int]:
    from mesh_plugins.cli.control import database, place
    from mesh_store.telemetry.fact_store import FactStore

    async with place() as found, database(found):
        store = await FactStore.open(found.database_url)
        try:
            return await store.revive()
        finally:
            await store.close()


async def _prune(days: int, minutes: int, hours: int, dry_run: bool) -> dict[str, Any]:
    from mesh_plugins.cli.control import database, place
    from mesh_store.postgres.usage_retention import prune as prune_usage

    today = datetime.now(UTC).date()
    async with place() as found, database(found) as opened:
        before = [today - timedelta(days=kept) for kept in (days, minutes, hours)]
        gone = await prune_usage(opened, *before, dry_run=dry_run)
    return {
        "days": [day.isoformat() for day in gone.days],
        "minute_rows": gone.minute_rows,
        "hour_rows": gone.hour_rows,
        "adjustments": gone.adjustments,
        "dry_run": dry_run,
    }

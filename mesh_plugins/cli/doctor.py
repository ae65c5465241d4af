"""``mesh doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    providers: Annotated[
        bool, typer.Option("--providers", help="Also read providers' secrets here and knock at their doors.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for failures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check engines, clocks, configuration, telemetry and the key; ends with 1 if anything failed."""
    from mesh_plugins.cli.checks import examine
    from mesh_plugins.cli.control import run_async

    findings = run_async(examine(providers=providers))
    rows = [finding._asdict() for finding in findings]
    show(rows, ["state", "check", "found", "fix"], as_json=as_json)
    worst = ("failed", "warning") if strict else ("failed",)
    if any(finding.state in worst for finding in findings):
        raise typer.Exit(1)

"""``mesh quota simulate``: what a manifest's limits would have done to traffic that was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.moments import Since, Until, moment
from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import print_json, show

if TYPE_CHECKING:
    from mesh_plugins.simulation.traces import Row

_COLUMNS = ("subject", "limit", "refused", "peak", "first_refused_at", "last_refused_at")


def simulate(
    manifest: Annotated[
        str, typer.Argument(metavar="MANIFEST", help="The limits to try; - is standard input.")
    ],
    trace: Annotated[
        Path | None,
        typer.Argument(
            metavar="TRACE", help="Calls that were, JSON lines or CSV; else --since asks the store."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    as_json: AsJson = False,
) -> None:
    """Try limits before setting them: replay calls that were, and say what would have been refused.

    Each call takes what it took from its start, in virtual time and by the arithmetic of the real limiter;
    nothing is changed and nobody is asked. A trace's lines hold at, team and alias, and as far as known user,
    key, end_user, tags, provider, model, duration_s, input_tokens, output_tokens, max_tokens, cost_usd.
    """
    from mesh_plugins.simulation.manifests import document_of
    from mesh_plugins.simulation.replay import replay
    from mesh_plugins.simulation.report import Report, shown
    from mesh_store.admin.manifest import ManifestError
    from mesh_store.model.errors import Rejected
    from mesh_store.model.reference import Reference
    from mesh_store.model.snapshot import Snapshot

    if (trace is None) == (since is None):
        raise Rejected("name a trace, or say --since when to replay what was stored", field="trace")
    try:
        document = document_of(*_manifest(manifest))
    except ManifestError as error:
        raise Rejected("\n".join(str(fault) for fault in error.faults), field="manifest") from None
    rows = _stored(since, until, team) if trace is None else _read(trace, team)
    report = Report(document).add(replay(rows, Snapshot(document), Reference()))
    if as_json:
        print_json(report.value())
        return
    told = report.value()
    show([shown(row) for row in told["limits"]], _COLUMNS, as_json=False, empty="the manifest has no limits")
    typer.echo(_summary(told))
    for reason, count in told["not_decided"].items():
        typer.echo(f"{count} x {reason}")


def _summary(told: dict[str, Any]) -> str:
    share = 100 * told["refused"] / told["calls"] if told["calls"] else 0.0
    span = f" from {told['from']} to {told['to']}" if told["calls"] else ""
    return (
        f"{told['calls']:,} calls{span}: {told['admitted']:,} admitted, {told['refused']:,} refused "
        f"({share:.2f} %), {told['would_refuse']:,} would be refused by limits in shadow mode"
    )


def _manifest(file: str) -> tuple[str, str]:
    from mesh_store.model.errors import Rejected

    if file == "-":
        return sys.stdin.read(), "standard input"
    try:
        return Path(file).read_text(encoding="utf-8"), file
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{file} cannot be read: {error}", field="manifest") from None


def _read(trace: Path, team: str | None) -> list[Row]:
    from mesh_plugins.simulation.traces import read_trace

    return [row for row in read_trace(trace) if team in (None, row.team)]


def _stored(since: str | None, until: str | None, team: str | None) -> list[Row]:
    from mesh_plugins.cli.control import run_async

    return run_async(_facts(since, until, team))


async def _facts(since: str | None, until: str | None, team: str | None) -> list[Row]:
    from mesh_plugins.cli.control import admin
    from mesh_plugins.simulation.traces import row_of_fact
    from mesh_store.postgres.usage_trace import usage_trace

    begins = moment(since)
    assert begins is not None
    async with admin() as repo:
        found = await usage_trace(repo.database, begins, moment(until, "until"), team=team)
    return [row_of_fact(each) for each in found]

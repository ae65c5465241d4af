"""What happened, on its way: from the rings of processes through the stream into Postgres."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh_plugins.cli.checks.finding import Finding

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.postgres import Database

#: Batches waiting in the stream that are too many for a collector that keeps up.
LONG_BACKLOG = 10_000
#: Seconds after which a collector that reports every five is thought gone.
SILENT_S = 60.0
#: Bytes left in rings of dead processes that somebody should drain.
LONG_RINGS = 1024 * 1024
#: Share of its size from which a living process' ring is about to overflow.
FULL_RING = 0.5
_COLLECT = "run `mesh serve` or `mesh collect` somewhere"


async def stream(redis: Redis) -> list[Finding]:
    """Look at the collectors, the stream and what producers had to drop."""
    from mesh_store.redis.stream import COLLECTORS, LOST
    from mesh_store.redis.stream_reader import streams_of

    client: Any = redis
    reports = await client.hgetall(COLLECTORS)
    waiting = sum([await client.xlen(stream) for stream in await streams_of(client)])
    lost = {name.decode(): int(count) for name, count in (await client.hgetall(LOST)).items()}
    return [_collectors(reports, waiting), _backlog(waiting), _lost(lost)]


def _collectors(reports: dict[bytes, bytes], waiting: int) -> Finding:
    ages = [time.time() - _reported_at(report) for report in reports.values()]
    running = [age for age in ages if age < SILENT_S]
    if not running:
        found = f"none was heard of in the last minute; {waiting} batches wait"
        return Finding("failed" if waiting else "warning", "collector", found, _COLLECT)
    return Finding("fine", "collector", f"{len(running)} running, heard of {min(running):.0f} s ago")


def _reported_at(report: bytes) -> float:
    try:
        return float(json.loads(report)["at_us"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return 0.0


def _backlog(waiting: int) -> Finding:
    if waiting > LONG_BACKLOG:
        return Finding("warning", "backlog", f"{waiting} batches wait", "run another `mesh collect`")
    return Finding("fine", "backlog", f"{waiting} batches wait")


def _lost(lost: dict[str, int]) -> Finding:
    told = {name: count for name, count in lost.items() if count}
    if not told:
        return Finding("fine", "losses", "no process reported any")
    micro_usd = told.pop("micro_usd", 0)
    found = ", ".join(f"{count} {name}" for name, count in sorted(told.items()))
    if micro_usd:
        found += f", worth ${micro_usd / 1e6:.6f}"
    fix = "larger rings or a nearer Redis; `DEL mesh:telemetry:lost` once it is understood"
    return Finding("warning", "losses", f"dropped by processes: {found}", fix)


async def dead(database: Database) -> list[Finding]:
    """Look at what the collectors could not store, and at money that is counted all the same."""
    return [*await _dead_letters(database), await _untold(database)]


async def _untold(database: Database) -> Finding:
    from mesh_store.model.money import usd
    from mesh_store.postgres.examining import untold_money

    windows, most = await untold_money(database)
    if not windows:
        return Finding("fine", "budgets", "each counts what its facts add up to")
    found = f"{windows} windows count money whose facts are not stored, at most ${usd(most):f} in one"
    return Finding("warning", "budgets", found, "losses and dead letters say why; the money was spent")


async def _dead_letters(database: Database) -> list[Finding]:
    from mesh_store.postgres.examining import dead_letters

    counts = await dead_letters(database)
    if not counts:
        return [Finding("fine", "dead letters", "none in the last week")]
    found = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    fix = "look into telemetry_dead: reason and detail say why"
    if "newer_version" in counts:
        fix = "callers are newer than collectors: upgrade these, then run `mesh telemetry revive`"
    return [Finding("warning", "dead letters", found, fix)]


def rings_of(home: Path) -> list[Finding]:
    """Look at the rings of this machine's home, and whether files are possible there."""
    from mesh_store.telemetry.looking import rings, why_only_memory

    reason = why_only_memory(home)
    mode = Finding("fine", "telemetry", f"rings in files under {home}")
    if reason is not None:
        found = f"rings in memory only ({reason}): what a killed process did not ship is lost"
        mode = Finding("warning", "telemetry", found, "set MESH_HOME to a directory on a disk")
    states = list(rings(home))
    alone = [state for state in states if not state.alive]
    left = sum(state.used_bytes for state in alone)
    fix = "run `mesh drain`, or `mesh collect` with this MESH_HOME"
    if damaged := [state.path.name for state in states if state.damaged]:
        return [mode, Finding("warning", "rings", f"cannot be read: {', '.join(damaged)}", fix)]
    fullest = max((state.used_bytes / state.capacity for state in states), default=0.0)
    if fullest >= FULL_RING:
        return [
            mode,
            Finding("failed", "rings", f"one is {fullest:.0%} full: facts will be dropped", _COLLECT),
        ]
    if left:
        found = f"{left / 1024:.0f} KiB of {len(alone)} processes that are gone"
        return [mode, Finding("failed" if left > LONG_RINGS else "warning", "rings", found, fix)]
    return [mode, Finding("fine", "rings", f"{len(states)}, nothing left behind")]

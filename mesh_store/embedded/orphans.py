"""Servers that lost their supervisor: found by where they work, ended before others take their place.

Where the kernel ends children with their parent there are hardly any; a server that is still
writing its last checkpoint is one for that long.
"""

from __future__ import annotations

import signal
from pathlib import Path

from mesh_store.embedded.processes import end, living_in, recorded_pid


def end_postgres(data: Path) -> list[int]:
    """End every Postgres process of the cluster at `data`; returns those that would not."""
    remembered = recorded_pid(data / "postmaster.pid")
    orphans = living_in(data, ("postgres",), remembered)
    # The postmaster ends its own children well; what survives it, or lost it, is not asked twice.
    end([pid for pid in orphans if pid in remembered], (signal.SIGINT, 3.0))
    return end(orphans, (signal.SIGQUIT, 1.0), (signal.SIGKILL, 3.0))


def end_valkey(data: Path) -> list[int]:
    """End every Valkey that keeps its data at `data`; returns those that would not."""
    orphans = living_in(data, ("valkey-server", "redis-server"), recorded_pid(valkey_pidfile(data)))
    return end(orphans, (signal.SIGTERM, 5.0), (signal.SIGKILL, 3.0))


def valkey_pidfile(data: Path) -> Path:
    """Where the server is told to write its pid, for systems that do not show where a process works."""
    return data / "valkey.pid"

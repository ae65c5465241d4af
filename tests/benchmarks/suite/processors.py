"""Processor time of servers: of Postgres with all its backends, and of Redis or Valkey by its own count."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import redis

from .machine import spent_s


async def postmaster(connection: asyncpg.Connection) -> int:
    """Return the process id of the server behind a connection on this machine."""
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    return _parent(Path(f"/proc/{backend}"))


def postgres_s(leader: int) -> float:
    """Return seconds of processor that a Postgres has used: its own, its backends' and its ended ones'."""
    family = [entry for entry in Path("/proc").glob("[0-9]*") if _parent(entry) == leader]
    return sum(map(spent_s, [Path(f"/proc/{leader}"), *family]))


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


class Work(NamedTuple):
    """What a Redis has done since it started.

    Attributes:
        cpu_s: seconds of processor, of all its threads.
        commands: commands it ran, those of scripts included.
        scripts: of these, scripts: a decision or a settlement is one.
        received, sent: bytes.
    """

    cpu_s: float
    commands: int
    scripts: int
    received: int
    sent: int

    def since(self, before: Work) -> Work:
        """Return what was done after ``before``."""
        return Work(*(now - then for now, then in zip(self, before, strict=True)))

    def plus(self, other: Work) -> Work:
        """Return both together."""
        return Work(*(one + more for one, more in zip(self, other, strict=True)))

    @classmethod
    def of(cls, *clients: redis.Redis) -> Work:
        """Ask servers, and add them up."""
        each = [_work(client) for client in clients]
        return cls(*(sum(values) for values in zip(*each, strict=True)))


def _work(client: redis.Redis) -> Work:
    told: Any = client.info("everything")
    return Work(
        float(told["used_cpu_user"]) + float(told["used_cpu_sys"]),
        int(told["total_commands_processed"]),
        sum(told.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha")),
        int(told["total_net_input_bytes"]),
        int(told["total_net_output_bytes"]),
    )

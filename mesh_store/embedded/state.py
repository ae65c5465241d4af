"""What the supervisor tells everybody about the running pair, in one small file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class ServerState:
    """One server as its supervisor knows it.

    Attributes:
        pid: its process, or 0 between a death and the restart.
        socket: the path clients connect to.
        version: what it called itself when it answered.
    """

    pid: int
    socket: str
    version: str


@dataclass(slots=True)
class CompanionState:
    """One companion; `pid` is 0 while it waits to be started again."""

    pid: int
    argv: list[str]


@dataclass(slots=True)
class State:
    """The running pair and its supervisor."""

    supervisor: int
    started_at: float
    linger: float
    postgres: ServerState
    valkey: ServerState
    companions: list[CompanionState] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a reader sees the old or the new."""
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.chmod(0o600)
        os.replace(fresh, path)


def read_state(path: Path) -> State | None:
    """The state at `path`, or None when there is none that this version understands."""
    try:
        found = json.loads(path.read_bytes())
        companions = [CompanionState(**each) for each in found.pop("companions")]
        postgres, valkey = (ServerState(**found.pop(name)) for name in ("postgres", "valkey"))
        return State(postgres=postgres, valkey=valkey, companions=companions, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None

"""What runs for one home, without starting or making anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mesh_store.embedded import addresses
from mesh_store.embedded.handshake import postgres_version, valkey_version
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import holders, is_held
from mesh_store.embedded.state import read_state

_ANSWER = 2.0


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One of the two servers.

    Attributes:
        pid: its process, or 0 between a death and the restart.
        version: what it calls itself.
        socket: the path clients connect to.
        answers: whether it answered in its own protocol just now.
    """

    pid: int
    version: str
    socket: Path
    answers: bool


@dataclass(frozen=True, slots=True)
class CompanionStatus:
    """One companion; `pid` is 0 while it waits to be started again."""

    pid: int
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnginesStatus:
    """The engines of one home.

    Attributes:
        home: the directory that holds everything.
        running: whether a supervisor is there and both servers answer.
        kept: whether they shall run without any user.
        supervisor: its pid, or None.
        postgres: the server, or None when no supervisor is there.
        valkey: likewise.
        companions: the programs beside them.
        users: pids that hold a lease, or None where the system does not tell.
        started_at: seconds since the epoch, or None.
        size: bytes under the home.
    """

    home: Path
    running: bool
    kept: bool
    supervisor: int | None
    postgres: ServerStatus | None
    valkey: ServerStatus | None
    companions: tuple[CompanionStatus, ...]
    users: tuple[int, ...] | None
    started_at: float | None
    size: int


def status(home: Path | str | None = None) -> EnginesStatus:
    """Look at the engines of `home`; never starts, makes or locks anything for longer than the look."""
    layout = Layout.of(home)
    state = read_state(layout.state) if is_held(layout.watch) else None
    postgres = valkey = None
    if state is not None:
        user, database = addresses.USER, addresses.DATABASE
        answer = postgres_version(state.postgres.socket, user=user, database=database, timeout=_ANSWER)
        postgres = ServerStatus(
            state.postgres.pid, state.postgres.version, Path(state.postgres.socket), answer is not None
        )
        answer = valkey_version(state.valkey.socket, _ANSWER)
        valkey = ServerStatus(
            state.valkey.pid, state.valkey.version, Path(state.valkey.socket), answer is not None
        )
    return EnginesStatus(
        home=layout.home,
        running=postgres is not None and postgres.answers and valkey is not None and valkey.answers,
        kept=layout.keep.exists(),
        supervisor=state.supervisor if state else None,
        postgres=postgres,
        valkey=valkey,
        companions=tuple(CompanionStatus(each.pid, tuple(each.argv)) for each in state.companions)
        if state
        else (),
        users=holders(layout.lease),
        started_at=state.started_at if state else None,
        size=_size(layout.home),
    )


def _size(home: Path) -> int:
    total = 0
    for directory, _, names in os.walk(home):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size
            except OSError:
                continue  # the servers make and remove files all the time
    return total

"""Become a user of the engines of one home, starting them if nobody did."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mesh_store.embedded import addresses
from mesh_store.embedded.companions import ask_for
from mesh_store.embedded.handshake import postgres_version, valkey_version
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.state import State, read_state
from mesh_store.model.errors import ConfigError

if TYPE_CHECKING:
    from mesh_store.embedded.leases import Lock

_POLL = 0.01
_ANSWER = 2.0  # seconds a running server gets to say hello


class Engines:
    """A lease on a running pair; the pair stays at least until :meth:`close`, or this process's end.

    Attributes:
        home: the directory that holds everything.
        database_url: for SQLAlchemy over asyncpg.
        dsn: for ``asyncpg.connect`` and psycopg; user and database are both ``mesh``.
        redis_url: for redis-py.
        started: whether this attach started the pair.
    """

    def __init__(self, layout: Layout, state: State, lease: Lock, started: bool) -> None:
        self.home = layout.home
        self.database_url = addresses.database_url(state.postgres.socket)
        self.dsn = addresses.dsn(state.postgres.socket)
        self.redis_url = addresses.redis_url(state.valkey.socket)
        self.started = started
        self._lease = lease

    def __repr__(self) -> str:
        return f"<Engines of {self.home}{'' if self._lease.held else ', closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lease back; the last one back stops the pair. Closing twice is fine."""
        self._lease.close()


def attach(
    home: Path | str | None = None,
    *,
    companions: Sequence[Sequence[str]] = (),
    linger: float = 0.5,
    timeout: float = 60.0,
) -> Engines:
    """Use the engines of `home`, starting them if they do not run.

    Safe from many processes at once, and after any kind of death of earlier ones. A forked child is
    a user of its own, until it ends or closes its copy; a program started by exec is not.

    Args:
        home: where data, logs and locks live; ``$MESH_HOME`` or the platform's data directory if None.
        companions: argument lists of programs to run beside the engines, once per pair, with
            ``MESH_HOME``, ``MESH_DATABASE_URL`` and ``MESH_REDIS_URL`` set, otherwise in the
            environment of whoever started the pair. They are restarted when they end.
        linger: seconds the pair outlives its last user; counts for the attach that starts the pair.
        timeout: seconds to wait for the engines to answer.

    Raises:
        ConfigError: the engines cannot run here; the message says what to do.
    """
    if sys.platform == "win32":
        raise ConfigError(
            "The embedded engines run on Linux and macOS. Set MESH_DATABASE_URL and MESH_REDIS_URL."
        )
    from mesh_store.embedded.ground import advice, prepare

    layout = Layout.of(home)
    prepare(layout)
    try:
        return _attach(layout, companions, linger, timeout)
    except OSError as error:
        raise ConfigError(advice(layout, error)) from error


def _attach(layout: Layout, companions: Sequence[Sequence[str]], linger: float, timeout: float) -> Engines:
    from mesh_store.embedded.leases import take_lease

    deadline = time.monotonic() + timeout
    lease = take_lease(layout.lease, deadline)
    if lease is None:
        raise ConfigError(
            f"The engines of {layout.home} are stopping, and did not finish within {timeout:g} s."
        )
    try:
        state, started = _running_or_started(layout, linger, deadline, timeout)
        ask_for(layout.companions, companions)
    except BaseException:
        lease.close()
        raise
    return Engines(layout, state, lease, started)


def running(layout: Layout) -> State | None:
    """The pair that serves `layout` now, if there is one and both servers answer."""
    from mesh_store.embedded.leases import is_held

    state = read_state(layout.state)
    if state is None or not is_held(layout.watch):
        return None
    if valkey_version(state.valkey.socket, _ANSWER) is None:
        return None
    user, database = addresses.USER, addresses.DATABASE
    answer = postgres_version(state.postgres.socket, user=user, database=database, timeout=_ANSWER)
    return None if answer is None else state


def _running_or_started(layout: Layout, linger: float, deadline: float, timeout: float) -> tuple[State, bool]:
    from mesh_store.embedded.launch import launch
    from mesh_store.embedded.leases import is_held, take_alone

    started = False
    while True:
        if (state := running(layout)) is not None:
            return state, started
        if (lock := take_alone(layout.lock, time.monotonic())) is not None:
            try:
                # A supervisor that is there is starting, stopping, or starting a dead server again.
                if not is_held(layout.watch):
                    started = launch(layout, linger, deadline)
                    continue
            finally:
                lock.close()
        if time.monotonic() > deadline:
            raise ConfigError(
                f"The engines of {layout.home} did not answer within {timeout:g} s. "
                f"Their logs are in {layout.logs}."
            )
        time.sleep(_POLL)

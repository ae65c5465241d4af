"""The process that holds the engines: starts them, starts them again, and ends them with their last user.

It is a session of its own with one thread and no connection to whoever started it, except a pipe on
which it says, once, that the engines answer or why they do not.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mesh_store.embedded import addresses
from mesh_store.embedded.child import Child, open_log, stop_all
from mesh_store.embedded.companions import companion_program, forget_all, requested
from mesh_store.embedded.failure import EngineFailed
from mesh_store.embedded.layout import Layout, runtime_dir
from mesh_store.embedded.leases import Lock, take_alone
from mesh_store.embedded.mandate import Mandate
from mesh_store.embedded.postgres import Postgres
from mesh_store.embedded.state import CompanionState, ServerState, State
from mesh_store.embedded.symptoms import explain
from mesh_store.embedded.valkey import Valkey

_TICK = 0.1  # seconds between two looks at leases and requests; a child's death wakes at once
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Supervisor:
    """One pair of engines and its companions, for one home."""

    def __init__(self, layout: Layout, linger: float, bindir: Path, valkey_server: Path, watch: Lock) -> None:
        self._layout = layout
        self._watch = watch
        self._linger = linger
        self._run = runtime_dir(layout)
        # Whoever started us may have secrets in the environment; the servers have no use for them.
        own = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment = own | {"LC_ALL": "C", "TZ": "UTC"}
        self._postgres = Postgres(layout, self._run, bindir, environment)
        self._valkey = Valkey(layout, self._run, valkey_server, environment)
        self._servers: list[Child] = []
        self._companions: dict[str, Child] = {}
        self._state: State | None = None

    def start(self, mandate: Mandate) -> None:
        """Start both servers and wait until both answer.

        Raises:
            EngineFailed: one of them does not, or the mandate ended before.
        """
        forget_all(self._layout.companions)
        self._layout.state.unlink(missing_ok=True)
        postgres, valkey = (Child(engine.program(), note) for engine in (self._postgres, self._valkey))
        self._servers = [postgres, valkey]
        for server in self._servers:
            server.start()
        self._state = State(
            supervisor=os.getpid(),
            started_at=time.time(),
            linger=self._linger,
            postgres=_await(postgres, self._postgres, mandate),
            valkey=_await(valkey, self._valkey, mandate),
        )
        self._publish()

    def tend(self, mandate: Mandate) -> None:
        """Keep everything running until the mandate ends."""
        wake = _wake_on_signals()
        while not mandate.ended():
            select.select([wake], [], [], _TICK)
            _drain(wake)
            self._follow_requests()
            tended = [child.tend() for child in (*self._servers, *self._companions.values())]
            if any(tended):
                self._publish()

    def stop(self) -> None:
        """Companions first, while the servers still answer; then Valkey, then Postgres."""
        if not self._watch.in_place():
            self._abandon()
            return
        self._layout.state.unlink(missing_ok=True)
        stop_all(list(self._companions.values()))
        for server in reversed(self._servers):
            server.stop()
        shutil.rmtree(self._run, ignore_errors=True)
        self._layout.stop.unlink(missing_ok=True)

    def _abandon(self) -> None:
        """The home was removed or moved, and another one may be in its place: write nothing there.

        Postgres in particular ends by writing its control file by absolute path, which would ruin
        the cluster of the newcomer (seen). Killed, it recovers wherever its files are now.
        """
        for child in (*self._servers, *self._companions.values()):
            child.stop(hard=True)

    def _follow_requests(self) -> None:
        for name, argv in requested(self._layout.companions).items():
            if name not in self._companions:
                environment = os.environ | self._addresses()
                program = companion_program(name, argv, environment, self._layout.logs)
                self._companions[name] = Child(program, note)

    def _addresses(self) -> dict[str, str]:
        return {
            "MESH_HOME": str(self._layout.home),
            "MESH_DATABASE_URL": addresses.database_url(str(self._postgres.socket)),
            "MESH_REDIS_URL": addresses.redis_url(str(self._valkey.socket)),
        }

    def _publish(self) -> None:
        """Say what runs. A full disk must not end the engines, so it is only noted."""
        assert self._state is not None
        self._state.postgres.pid, self._state.valkey.pid = (server.pid for server in self._servers)
        self._state.companions = [
            CompanionState(child.pid, list(child.program.argv)) for child in self._companions.values()
        ]
        try:
            self._state.write(self._layout.state)
        except OSError as error:
            note(f"the state could not be written: {error}")


Report = Callable[[str, str], None]


def supervise(layout: Layout, linger: float, bindir: Path, valkey_server: Path, report: Report) -> None:
    """The life of a supervisor, from the lock to the end of its children."""
    watch = take_alone(layout.watch, time.monotonic() + 2.0)
    if watch is None:
        report("busy", "another supervisor is there already")
        return
    with Mandate(layout, linger, watch) as mandate:
        supervisor: Supervisor | None = None
        try:
            supervisor = Supervisor(layout, linger, bindir, valkey_server, watch)
            supervisor.start(mandate)
        except (EngineFailed, OSError, subprocess.SubprocessError) as error:
            note(f"start failed: {error}")
            if supervisor is not None:
                supervisor.stop()
            watch.close()  # who hears of the failure may try again at once
            report("failed", str(error) if isinstance(error, EngineFailed) else _explain(error, layout))
            return
        report("ready", "")
        supervisor.tend(mandate)
        supervisor.stop()


def _explain(error: Exception, layout: Layout) -> str:
    return explain(str(error), layout.home, str(error))


def note(text: str) -> None:
    """One line in the supervisor's log, which is its standard error."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):  # a full disk takes the log, not the engines
        print(f"{stamp} {text}", file=sys.stderr, flush=True)


def _await(child: Child, engine: Postgres | Valkey, mandate: Mandate) -> ServerState:
    """Until the server answers; recovering a large cluster may outlast the patience of its users."""
    while (version := engine.version(timeout=5.0)) is None:
        if child.tend():
            raise EngineFailed(explain(f"{child.program.name} did not start", engine.data, child.log_tail()))
        if mandate.ended():
            raise EngineFailed(f"They were stopped while {child.program.name} was starting.")
        time.sleep(0.01)
    return ServerState(child.pid, str(engine.socket), version)


def _wake_on_signals() -> int:
    """A descriptor that becomes readable with every signal, a child's death among them."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, 4096)


def detach(layout: Layout) -> None:
    """Leave whoever started us: its session, its terminal, its directory, its standard streams."""
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    os.chdir("/")
    with open_log(layout.logs / "supervisor.log") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

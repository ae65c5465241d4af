"""The Postgres of one home: making its cluster, starting it, understanding why it does not start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from mesh_store.embedded.addresses import DATABASE, PORT, USER
from mesh_store.embedded.child import Program
from mesh_store.embedded.failure import EngineFailed
from mesh_store.embedded.handshake import PostgresError, PostgresSession
from mesh_store.embedded.identity import find_identity, own
from mesh_store.embedded.layout import Layout, make_private
from mesh_store.embedded.orphans import end_postgres
from mesh_store.embedded.symptoms import explain
from mesh_store.embedded.tie import Tie

_SETTINGS = {
    "listen_addresses": "",  # unix sockets only
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "48MB",
    "wal_level": "minimal",  # nobody replicates a laptop
    "max_wal_senders": "0",
    "min_wal_size": "16MB",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_INITDB = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--wal-segsize=4")
_SINCE_18 = {"io_method": "sync"}  # three I/O workers less


class Postgres:
    """Makes the cluster and knows how to run, ask and end its server."""

    def __init__(self, layout: Layout, run: Path, bindir: Path, environment: dict[str, str]) -> None:
        self.data = layout.postgres
        self.directory = run / "pg"
        self.socket = self.directory / f".s.PGSQL.{PORT}"
        self._bindir = bindir
        self._environment = environment
        self._identity = find_identity(bindir / "postgres", layout.home)
        self._major = _major_version(bindir / "postgres")
        self._log = layout.logs / "postgres.log"

    def program(self) -> Program:
        """The server; SIGINT is its fast shutdown, with a checkpoint, and ends open sessions."""
        self._make_cluster()
        self._check_version()
        settings = _SETTINGS | {"unix_socket_directories": str(self.directory)}
        if self._major >= 18:
            settings |= _SINCE_18
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            argv=[str(self._bindir / "postgres"), "-D", str(self.data), *options],
            environment=self._environment,
            log=self._log,
            steps=((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)),
            orphaned=signal.SIGINT,
            prepare=self._prepare,
            enter=self._identity.enter,
        )

    def version(self, timeout: float) -> str | None:
        """What the server calls itself once our database can be used; makes the database if missing."""
        try:
            with PostgresSession(self.socket, user=USER, database=DATABASE, timeout=timeout) as session:
                return session.version
        except PostgresError as error:
            if error.missing_database:
                self._create_database(timeout)
            return None
        except OSError:
            return None

    def _create_database(self, timeout: float) -> None:
        # Not part of making the cluster: a crash between the two would leave one without it.
        with PostgresSession(self.socket, user=USER, database="postgres", timeout=timeout + 30) as session:
            session.execute(f"CREATE DATABASE {DATABASE}")

    def _prepare(self) -> None:
        """End what an earlier supervisor left behind, and remove the locks of the dead."""
        if left := end_postgres(self.data):
            raise EngineFailed(f"An earlier Postgres of {self.data} cannot be ended: processes {left}.")
        # Postgres itself trusts kill(pid, 0), which a zombie answers, and a stranger with its number.
        for lock in (self.data / "postmaster.pid", self.socket.with_name(self.socket.name + ".lock")):
            lock.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        make_private(self.directory)
        own(self._identity, self.directory)
        own(self._identity, self.data)

    def _check_version(self) -> None:
        made_by = int((self.data / "PG_VERSION").read_text())
        if made_by != self._major:
            raise EngineFailed(
                f"The cluster at {self.data} was made by Postgres {made_by}, and the programs in "
                f"{self._bindir} are Postgres {self._major}. Name those of {made_by} with "
                "MESH_POSTGRES_BINDIR, or move the directory away to begin anew."
            )

    def _make_cluster(self) -> None:
        """Make it beside its place, then rename: there is a whole cluster or none."""
        for half_made in self.data.parent.glob("postgres.new-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        if self.data.exists():
            if not (self.data / "PG_VERSION").is_file():
                raise EngineFailed(f"{self.data} holds no Postgres cluster. Move it away and start again.")
            return
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.data.parent))
        try:
            os.chown(fresh, self._identity.uid, self._identity.gid)
            self._initdb(fresh)
            os.rename(fresh, self.data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _initdb(self, directory: Path) -> None:
        tie = Tie(signal.SIGKILL)

        def enter() -> None:
            self._identity.enter()
            tie.in_child()

        made = subprocess.run(  # noqa: S603 - the program we were given to run
            [str(self._bindir / "initdb"), "-D", str(directory), "-U", USER, *_INITDB],
            preexec_fn=enter,
            env=self._environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            said = (made.stderr or made.stdout).strip()
            raise EngineFailed(explain("Postgres could not make its cluster", self.data, said))


def _major_version(postgres: Path) -> int:
    """The 18 of ``postgres (PostgreSQL) 18.6``."""
    asked = subprocess.run([str(postgres), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    words = asked.stdout.split()
    if asked.returncode != 0 or len(words) < 3:
        raise EngineFailed(f"{postgres} does not run here: {asked.stderr.strip() or asked.stdout.strip()}")
    return int(words[2].split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))

"""The Valkey of one home."""

from __future__ import annotations

import signal
from pathlib import Path

from mesh_store.embedded.child import Program
from mesh_store.embedded.failure import EngineFailed
from mesh_store.embedded.handshake import valkey_version
from mesh_store.embedded.layout import Layout, make_private
from mesh_store.embedded.orphans import end_valkey, valkey_pidfile

_SETTINGS = {
    "port": "0",  # unix sockets only
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",  # the append-only file is the one truth on disk
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",  # an evicted key would be forgotten money
}


class Valkey:
    """Knows how to run, ask and end the server."""

    def __init__(self, layout: Layout, run: Path, server: Path, environment: dict[str, str]) -> None:
        self.data = layout.valkey
        self.directory = run / "vk"
        self.socket = self.directory / "s"
        self._server = server
        self._environment = environment
        self._log = layout.logs / "valkey.log"

    def program(self) -> Program:
        """The server; SIGTERM is its SHUTDOWN, which flushes the append-only file."""
        settings = _SETTINGS | {
            "dir": str(self.data),
            "unixsocket": str(self.socket),
            "pidfile": str(valkey_pidfile(self.data)),
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Program(
            name="valkey",
            argv=[str(self._server), *options],
            environment=self._environment,
            log=self._log,
            steps=((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)),
            orphaned=signal.SIGTERM,
            prepare=self._prepare,
        )

    def version(self, timeout: float) -> str | None:
        """What the server calls itself once it has loaded its data."""
        return valkey_version(self.socket, timeout)

    def _prepare(self) -> None:
        """Two servers appending to one file would ruin it: end what was left behind first."""
        if left := end_valkey(self.data):
            raise EngineFailed(f"An earlier Valkey of {self.data} cannot be ended: processes {left}.")
        make_private(self.directory)

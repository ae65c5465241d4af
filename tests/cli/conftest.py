"""The `mesh` command as a user has it: a program, with a home of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh_plugins.cli.app import build
from mesh_store.embedded import stop
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.processes import living_in
from tests.conftest import SECRET_KEY
from tests.engines import Engines

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("postgres", "valkey-server", "redis-server")


def leftovers(home: Path) -> list[int]:
    """Pids of servers that work in `home`, whoever their parent is."""
    layout = Layout.of(home)
    return living_in(layout.postgres, SERVERS) + living_in(layout.valkey, SERVERS)


@pytest.fixture(scope="session")
def servers_in() -> Callable[[Path], list[int]]:
    return leftovers


@dataclass
class Cli:
    """Runs `mesh` in a home.

    Attributes:
        home: its MESH_HOME.
        environment: what is set besides.
        here: run commands in this process, which is quicker; what they print is the same.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    here: bool = False

    def variables(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        ours = {"MESH_HOME": str(self.home), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        return inherited | ours | self.environment

    def run(self, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        if self.here:
            done = CliRunner().invoke(build(arguments[0]), arguments, env=self.variables())
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
        return subprocess.run(
            [sys.executable, "-m", "mesh_plugins.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on until it is told to end."""
        return subprocess.Popen(
            [sys.executable, "-m", "mesh_plugins.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
        )

    def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"mesh {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed with ``--json``."""
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments: str) -> str:
        """Run a command that must fail with one line on stderr; returns the line."""
        done = self.run(*arguments)
        assert done.returncode == 1, f"mesh {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        assert done.stdout == ""
        assert re.fullmatch(r"mesh: .+\n", done.stderr)
        return done.stderr.strip()


def _home() -> Iterator[Path]:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="mesh-cli-")))
    yield place
    stop(place, timeout=60)
    left = leftovers(place)
    shutil.rmtree(place, ignore_errors=True)
    assert not left, f"servers left behind: {left}"


@pytest.fixture
def mesh() -> Iterator[Cli]:
    """A home in which nothing runs yet."""
    for home in _home():
        yield Cli(home)


@pytest.fixture(scope="module")
def kept() -> Iterator[Cli]:
    """A home whose engines run for all tests of a file; commands run in this process."""
    for home in _home():
        Cli(home)("up")
        yield Cli(home, here=True)


@pytest.fixture(scope="module")
def operated(new_engines: Callable[..., Engines]) -> Iterator[Cli]:
    """A home beside engines that were there before, for all tests of a file; commands run in this process."""
    engines = new_engines()
    urls = {"MESH_DATABASE_URL": engines.database_url, "MESH_REDIS_URL": engines.redis_url}
    for home in _home():
        yield Cli(home, urls | {"MESH_SECRET_KEY": SECRET_KEY}, here=True)

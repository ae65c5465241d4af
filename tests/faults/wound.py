"""Engines whose clocks somebody sets while they run, by libfaketime."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_store.embedded import attach
from mesh_store.embedded.binaries import find_binaries
from tests.engines import Engines

#: Where Debian and Homebrew put it.
PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/opt/homebrew/lib/faketime/libfaketimeMT.1.dylib")
LIBRARY = next((each for place in PLACES for each in sorted(Path("/").glob(place[1:]))), None)
needs_libfaketime = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")

SCRIPT = """#!/bin/sh
export {preload}={library} FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
exec {program} "$@"
"""


@dataclass(frozen=True)
class Clock:
    """A server's clock: a file, which it reads whenever it asks what time it is."""

    file: Path

    def put(self, seconds: int) -> None:
        """Let it be off by so many seconds from now on."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.chmod(0o644)
        written.replace(self.file)


@dataclass(frozen=True)
class Wound:
    """Engines, and their clocks.

    Attributes:
        engines: where they are.
        postgres, valkey: the clock of each.
    """

    engines: Engines
    postgres: Clock
    valkey: Clock


@contextmanager
def wound() -> Iterator[Wound]:
    """Start engines whose clocks can be set, in a folder that servers of any identity reach."""
    programs, folder = find_binaries(), Path(tempfile.mkdtemp(prefix="mesh-w-"))
    folder.chmod(0o755)
    postgres, valkey = Clock(folder / "postgres.clock"), Clock(folder / "valkey.clock")
    named = {"MESH_POSTGRES_BINDIR": folder / "bin", "MESH_VALKEY_SERVER": folder / "valkey-server"}
    before = {name: os.environ.get(name) for name in named}
    try:
        (folder / "bin").mkdir(mode=0o755)
        for program in programs.postgres_bin.iterdir():
            if program.name != "postgres":
                (folder / "bin" / program.name).symlink_to(program)
        _wrap(folder / "bin" / "postgres", programs.postgres_bin / "postgres", postgres)
        _wrap(named["MESH_VALKEY_SERVER"], programs.valkey_server, valkey)
        os.environ.update({name: str(path) for name, path in named.items()})
        with attach(folder / "home", linger=0.1) as pair:
            yield Wound(Engines(pair.home, pair.database_url, pair.dsn, pair.redis_url), postgres, valkey)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def _wrap(path: Path, program: Path, clock: Clock) -> None:
    clock.put(0)
    preload = "LD_PRELOAD" if sys.platform == "linux" else "DYLD_INSERT_LIBRARIES"
    path.write_text(SCRIPT.format(preload=preload, library=LIBRARY, clock=clock.file, program=program))
    path.chmod(0o755)

"""A home, the engines, the stand-in, and leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx

from mesh_store.embedded import Engines, attach, keep, status, stop
from mesh_store.model.errors import ConfigError

_STAND_IN = (sys.executable, "-m", "mesh_plugins.testing.provider", "--port")
#: Seconds the stand-in may take to answer for the first time.
_STAND_IN_STARTS = 20.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story plays.

    Attributes:
        home: its MESH_HOME.
        engines: the running pair.
        stand_in: origin of the stand-in provider, or None.
    """

    home: Path
    engines: Engines
    stand_in: str | None

    def requests_at_provider(self) -> int | None:
        """How many requests arrived at the stand-in so far; None where a real provider answers."""
        if self.stand_in is None:
            return None
        return int(httpx.get(f"{self.stand_in}/stand-in/requests").json()["count"])


@contextmanager
def set_up(*, stand_in: bool, keep_running: bool) -> Iterator[Stage]:
    """Start everything, and end everything however the story ends, unless it shall be kept."""
    from mesh_plugins.settings import COLLECTOR

    with _home(keep_running) as home, _unwound_by_signals():
        port = (_port_in_use(home) or _free_port()) if stand_in else 0
        companions = [COLLECTOR, *([(*_STAND_IN, str(port))] if stand_in else [])]
        with attach(home, companions=companions) as engines:
            origin = f"http://127.0.0.1:{port}" if stand_in else None
            if origin is not None:
                _wait_for(origin, engines.home / "logs")
            yield Stage(engines.home, engines, origin)
            if keep_running:
                keep(engines.home)


@contextmanager
def _home(keep_running: bool) -> Iterator[Path]:
    """A directory of the story's own, gone afterwards; or the user's, when things shall stay.

    The environment is the story's, too: what the user set for other engines does not count here.
    """
    from mesh_plugins.settings import Settings

    chosen = Settings.from_env().home
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        del os.environ[name]
    if keep_running:
        os.environ["MESH_HOME"] = str(chosen)
        yield chosen
        return
    home = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    os.environ["MESH_HOME"] = str(home)
    try:
        yield home
    finally:
        if not stop(home):
            raise ConfigError(f"the engines of {home} did not stop; `MESH_HOME={home} mesh down` tries again")
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C does, so that nothing is left running.

    Ctrl-C is named, too: a shell starts its background jobs with it ignored.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port_in_use(home: Path) -> int | None:
    """The port of a stand-in that an earlier demo left running beside these engines."""
    for each in status(home).companions:
        if each.argv[:-1] == _STAND_IN:
            return int(each.argv[-1])
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(origin: str, logs: Path) -> None:
    deadline = time.monotonic() + _STAND_IN_STARTS
    while True:
        try:
            httpx.get(f"{origin}/v1/models", timeout=1.0).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise ConfigError(f"the stand-in provider did not start; its log is in {logs}") from None
            time.sleep(0.02)
        else:
            return

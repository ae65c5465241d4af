"""One process the supervisor started: its log, its restarts, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mesh_store.embedded.failure import EngineFailed
from mesh_store.embedded.tie import Tie

_LOG_LIMIT = 1 << 20  # bytes; two files of about that size are kept for each child
_STEADY = 10.0  # seconds after which a process counts as healthy again
_SLOWEST_RETRY = 5.0

Steps = tuple[tuple[signal.Signals, float], ...]


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how to end it.

    Attributes:
        steps: signals that end it, each with the seconds it gets before the next.
        orphaned: the signal it gets when the supervisor is killed.
        prepare: run before every start.
        enter: run in the child between fork and exec.
        alone: it may have children of its own, so it gets a process group, signalled as one.
    """

    name: str
    argv: Sequence[str]
    environment: dict[str, str]
    log: Path
    steps: Steps
    orphaned: signal.Signals
    prepare: Callable[[], None] = _nothing
    enter: Callable[[], None] = _nothing
    alone: bool = False


@dataclass(slots=True)
class Child:
    """A program that shall run: started again, with growing pauses, whenever it ends."""

    program: Program
    note: Callable[[str], None]
    _process: subprocess.Popen[bytes] | None = None
    _tie: Tie | None = None
    _started: float = 0.0
    _due: float = 0.0
    _failures: int = 0
    log_start: int = field(default=0)

    @property
    def pid(self) -> int:
        """Its process, or 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it now.

        Raises:
            EngineFailed: its preparation failed.
            OSError: it could not be started at all.
        """
        program = self.program
        program.prepare()
        tie = Tie(program.orphaned)

        def enter() -> None:
            program.enter()
            tie.in_child()

        with open_log(program.log) as log:
            self.log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own programs and the companions asked for
                list(program.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=program.environment,
                cwd="/",
                preexec_fn=enter,  # noqa: PLW1509 - the supervisor has one thread
                start_new_session=program.alone,
            )
        self._tie, self._started = tie, time.monotonic()
        tie.watch(self._process.pid)
        self.note(f"{program.name} started as {self.pid}")

    def tend(self) -> bool:
        """Reap it if it ended, start it again when that is due; True when its pid changed."""
        if self._process is not None:
            return self._reap()
        if time.monotonic() < self._due:
            return False
        try:
            self.start()
        except (EngineFailed, OSError, subprocess.SubprocessError) as error:
            self.note(f"{self.program.name} could not be started: {error}")
            self._postpone()
            return False
        return True

    def _reap(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return False
        self.note(f"{self.program.name} ({self.pid}) ended with {code}")
        if time.monotonic() - self._started > _STEADY:
            self._failures = 0
        self._forget()
        self._postpone()
        return True

    def _postpone(self) -> None:
        """The first restart is at once, every further one waits twice as long."""
        pause = 0.0 if self._failures == 0 else min(0.1 * 2**self._failures, _SLOWEST_RETRY)
        self._failures += 1
        self._due = time.monotonic() + pause

    def signal(self, signum: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.program.alone else os.kill)(self.pid, signum)

    def stop(self, *, hard: bool = False) -> None:
        """End it by its steps, or by the last of them at once, and return when it is gone."""
        for signum, seconds in self.program.steps[-1:] if hard else self.program.steps:
            self.signal(signum)
            if self._process is None or _wait(self._process, seconds):
                break
        if self._process is not None:
            self.note(f"{self.program.name} ({self.pid}) stopped with {self._process.returncode}")
        self._forget()

    def _forget(self) -> None:
        self._process = None
        if self._tie is not None:
            self._tie.loosen()
            self._tie = None

    def log_tail(self, limit: int = 2000) -> str:
        """What it wrote since its last start, the end of it."""
        try:
            with open(self.program.log, "rb") as log:
                log.seek(self.log_start)
                return log.read()[-limit:].decode(errors="replace").strip()
        except OSError:
            return ""


def stop_all(children: Sequence[Child]) -> None:
    """End several at once: the first signal goes to all before any is waited for."""
    for child in children:
        child.signal(child.program.steps[0][0])
    for child in children:
        child.stop()


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to; a long one becomes ``….log.1`` first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT:
            os.replace(path, path.with_name(path.name + ".1"))
    handle = path.open("ab")
    os.fchmod(handle.fileno(), 0o600)
    return handle


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True

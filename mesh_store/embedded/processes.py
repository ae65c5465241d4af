"""What is known about processes that are not our children.

``kill(pid, 0)`` succeeds for a zombie nobody reaps (PID 1 of many containers does not) and for a
stranger who was given the number, so it is never asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that exists; `name` is its program's, without the directory."""

    pid: int
    name: str
    zombie: bool


def find_process(pid: int) -> Process | None:
    """The process with this number, if there is one."""
    return (_from_proc if _LINUX else _from_ps)(pid)


def is_running(pid: int) -> bool:
    """Whether `pid` is a process that still does something."""
    found = find_process(pid) if pid > 0 else None
    return found is not None and not found.zombie


def living_in(directory: Path, names: Sequence[str], remembered: Iterable[int] = ()) -> list[int]:
    """The servers called one of `names` that work in `directory`.

    Postgres (each of its processes) and Valkey change into their data directory, which finds them
    for certain. `remembered` pids count by their name alone where the kernel does not show that.
    """
    remembered = set(remembered)
    found: list[int] = []
    for pid in _all_pids() if _LINUX else sorted(remembered):
        process = find_process(pid)
        if process is None or process.zombie or process.name not in names:
            continue
        works_in = _working_directory(pid)
        if works_in == str(directory) or (works_in is None and pid in remembered):
            found.append(pid)
    return found


def recorded_pid(path: Path) -> list[int]:
    """The pid on the first line of a server's own pid file, as a list of none or one."""
    try:
        return [int(path.read_text().split("\n", 1)[0])]
    except (OSError, ValueError):
        return []


def end(pids: Iterable[int], *steps: tuple[signal.Signals, float]) -> list[int]:
    """Send each signal in turn and give it its seconds; returns who is still there."""
    left = [pid for pid in pids if is_running(pid)]
    for signum, seconds in steps:
        for pid in left:
            send(pid, signum)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.01)
            left = [pid for pid in left if is_running(pid)]
    return left


def send(pid: int, signum: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _from_proc(pid: int) -> Process | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # "pid (name) state …", where the name may itself hold parentheses and spaces
    name = line[line.index(b"(") + 1 : line.rindex(b")")].decode(errors="replace")
    return Process(pid, name, line[line.rindex(b")") + 2 :][:1] in b"ZX")


def _from_ps(pid: int) -> Process | None:
    asked = subprocess.run(  # noqa: S603
        ["ps", "-o", "stat=,comm=", "-p", str(pid)],  # noqa: S607 - wherever the system keeps it
        capture_output=True,
        text=True,
        check=False,
    )
    fields = asked.stdout.split(None, 1)
    if len(fields) != 2:
        return None
    return Process(pid, Path(fields[1].strip()).name, fields[0].startswith("Z"))


def _working_directory(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None

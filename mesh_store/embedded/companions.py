"""Programs that run beside the engines, asked for by whoever attaches.

A request is a file in the home, named by its content, so asking twice is asking once. The directory
is private to its owner, and emptied before the engines start: a request is never older than the
pair it was made of.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from mesh_store.embedded.child import Program

_GRACE = 3.0  # seconds a companion gets to finish its work


def ask_for(directory: Path, argvs: Sequence[Sequence[str]]) -> None:
    """Leave a request for each companion where the supervisor looks."""
    for argv in argvs:
        text = json.dumps(list(argv))
        request = directory / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        if not request.exists():
            fresh = request.with_name(f"{request.name}.{os.getpid()}.new")
            fresh.write_text(text)
            os.replace(fresh, request)


def requested(directory: Path) -> dict[str, list[str]]:
    """The argument lists asked for, by the name of their request."""
    found: dict[str, list[str]] = {}
    for request in sorted(directory.glob("*.json")):
        try:
            found[request.stem] = json.loads(request.read_bytes())
        except (OSError, ValueError):
            continue
    return found


def forget_all(directory: Path) -> None:
    """Remove every request."""
    for request in directory.iterdir():
        request.unlink(missing_ok=True)


def companion_program(name: str, argv: Sequence[str], environment: dict[str, str], logs: Path) -> Program:
    """How to run one; it must bear being killed, which is what happens if the supervisor is."""
    return Program(
        name=f"companion-{name}",
        argv=argv,
        environment=environment,
        log=logs / f"companion-{name}.log",
        steps=((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)),
        orphaned=signal.SIGKILL,
        alone=True,
    )

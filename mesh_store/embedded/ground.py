"""Is this a place where engines can live? Asked before anything is started."""

from __future__ import annotations

import errno
import os

from mesh_store.embedded.layout import Layout
from mesh_store.model.errors import ConfigError

_ELSEWHERE = "Choose another place with MESH_HOME"


def prepare(layout: Layout) -> None:
    """Make the home's directories.

    Raises:
        ConfigError: the place cannot be written, is full, or belongs to somebody else.
    """
    try:
        _refuse_foreign(layout)
        layout.make()
    except OSError as error:
        raise ConfigError(advice(layout, error)) from error


def _refuse_foreign(layout: Layout) -> None:
    try:
        owner = layout.home.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.geteuid():
        # Root would leave files the owner cannot use; anybody else could not trust what is there.
        raise ConfigError(
            f"{layout.home} belongs to uid {owner} and this process is uid {os.geteuid()}. "
            f"Run as its owner. {_ELSEWHERE} otherwise."
        )


def advice(layout: Layout, error: OSError) -> str:
    """What the user can do about an error met in the home."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk that would hold {layout.home} is full. Free some space. {_ELSEWHERE} otherwise."
        case errno.EROFS:
            return f"{layout.home} is on a read-only file system. {_ELSEWHERE}."
        case errno.EACCES | errno.EPERM:
            return f"{layout.home} cannot be written by uid {os.geteuid()}. {_ELSEWHERE}."
        case errno.ENOLCK | errno.EOPNOTSUPP | errno.ENOSYS:
            return f"The file system of {layout.home} has no file locks. {_ELSEWHERE} (a local disk)."
        case _:
            return f"{layout.home} cannot be made or used ({error}). {_ELSEWHERE}."

"""Where the API listens: loopback, or a unix socket only its owner may use."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh_store.model.errors import ConfigError

#: Connections that may wait to be taken.
BACKLOG = 128


@contextmanager
def listening(host: str, port: int, unix: Path | None) -> Iterator[tuple[socket.socket, str]]:
    """Listen until the context ends; yields the socket and its address as people write it.

    Args:
        host: an address or a name; IPv6 is fine.
        port: 0 lets the system choose.
        unix: a path for a unix socket instead, or None.

    Raises:
        ConfigError: somebody listens there already, or we may not.
    """
    if unix is not None:
        with _unix(unix) as bound:
            yield bound, f"unix:{unix}"
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    with bound:
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        yield bound, f"http://{shown}:{bound.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    return host in ("localhost", "::1") or host.startswith("127.")


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            _remove_stale(path)
            before = os.umask(0o177)
            try:
                bound.bind(str(path))
            finally:
                os.umask(before)
            bound.listen(BACKLOG)
            ours = path.stat().st_ino
        except OSError as error:
            raise ConfigError(f"cannot listen on {path}: {error.strerror or error}") from error
        try:
            yield bound
        finally:
            # Another process may have taken the path over in the meantime.
            with contextlib.suppress(OSError):
                if path.stat().st_ino == ours:
                    path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody answers on any more; anything else is left alone."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigError(f"{path} is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"another process serves on {path}")

"""Where a publisher's key pair comes from: ``MESH_SECRET_KEY``, else a file only its owner reads."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Signer


def load_signer(secret: str | None, home: Path | None) -> Signer | None:
    """Return the publisher's key pair, or None where this process cannot publish.

    Args:
        secret: ``MESH_SECRET_KEY``, or None.
        home: ``MESH_HOME`` of an embedded mesh; a pair is generated there once, 0600. None without one.

    Raises:
        ConfigError: when the file is damaged or readable by others.
    """
    if secret:
        return Signer.from_secret(secret)
    return None if home is None else Signer(_seed(home / "publisher.key"))


class PendingKey:
    """The pair that follows the one in a home; on disk before anything depends on it.

    Attributes:
        path: where the pair will be once it is kept.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "publisher.key"
        self._next = home / "publisher.key.next"

    def signer(self) -> Signer:
        """Return the pair; the same one again after an interruption."""
        return Signer(_seed(self._next))

    def keep(self) -> None:
        """Put it in place of the old one."""
        os.replace(self._next, self.path)


def _seed(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _create(path, secrets.token_bytes(32))
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: run chmod 600 on it")
    seed = path.read_bytes()
    if len(seed) != 32:
        raise ConfigError(f"{path} is damaged: it must hold 32 bytes; remove it to begin anew")
    return seed


def _create(path: Path, seed: bytes) -> None:
    # Written whole under another name first; link() fails if another process was faster.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()

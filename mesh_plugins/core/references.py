"""What ``env:`` and ``file:`` references point to; values never appear in messages, references do."""

from __future__ import annotations

import os
from pathlib import Path

from mesh_store.model.errors import ConfigError

#: A secret file larger than this is a mistake, not a secret.
_MAX_BYTES = 64 * 1024


def read_reference(provider: str, reference: str) -> str:
    """Return what a reference of a provider points to: ``env:NAME`` or ``file:PATH``.

    Raises:
        ConfigError: it cannot be read; says which, and what to do.
    """
    source, _, place = reference.partition(":")
    if source == "env":
        value = os.environ.get(place)
        if not value:
            raise ConfigError(
                f"provider {provider!r} needs the environment variable {place}, which is not set here"
            )
        return value
    if source == "file":
        return _read_file(provider, Path(place))
    raise ConfigError(
        f"provider {provider!r} has a secret this version cannot read: {source!r}; use env:, file: or sealed:"
    )


def _read_file(provider: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"provider {provider!r} needs the secret file {path}: {error.strerror}") from error
    if not raw.strip() or len(raw) > _MAX_BYTES:
        raise ConfigError(
            f"provider {provider!r}: the secret file {path} is empty or far too large for a secret"
        )
    return raw.decode(errors="strict").strip()

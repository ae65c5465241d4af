"""Reading provider secrets from where a reference points, at the moment they are needed.

``env:NAME`` reads the environment, ``file:PATH`` a file (trailing white space removed). A secret may
be a map of such references. Values never appear in messages; references do.
"""

from __future__ import annotations

import os
from pathlib import Path

from mesh_store.model.errors import ConfigError
from mesh_store.model.snapshot import Provider

#: A secret file larger than this is a mistake, not a secret.
_MAX_BYTES = 64 * 1024


def read_secret(provider: Provider) -> str | dict[str, str] | None:
    """Return the provider's secret, or None when it needs none.

    Raises:
        ConfigError: the reference cannot be read; says which, and what to do.
    """
    reference = provider.secret
    if reference is None:
        return None
    if isinstance(reference, str):
        return _read(provider.name, reference)
    return {name: _read(provider.name, value) for name, value in reference.items()}


def _read(provider: str, reference: str) -> str:
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
        f"provider {provider!r} has a secret this version cannot read: {source!r}; use env: or file:"
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

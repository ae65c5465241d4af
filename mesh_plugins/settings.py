"""What a process is told about its mesh: by environment variables, or by hand.

Nothing is read until `Settings.from_env` is called; a secret value never shows in ``repr``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from mesh_store.model.errors import ConfigError

#: What runs beside the embedded engines: it collects facts and publishes changes.
COLLECTOR = (sys.executable, "-m", "mesh_plugins.cli", "collect")


def default_home() -> Path:
    """Return where Mesh keeps rings, the last good configuration and the embedded engines."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mesh"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mesh"


class Settings(BaseModel):
    """Where the engines are, and who this process is.

    Attributes:
        database_url: Postgres, for operators' commands only; a caller never connects to it.
        database_session_url: the same database past a pooler, for what needs a session: collecting, LISTEN.
        redis_url: Redis or Valkey: quotas, live configuration, and facts unless named elsewhere. One server,
            sentinels or a cluster, with or without TLS: `mesh_store.redis.servers.address`.
        telemetry_redis_url: another Redis for facts, or None; of any topology, too.
        telemetry_shards: streams that facts are spread over, so that several primaries share the work.
        key: the caller's virtual key.
        home: directory for rings, the last good configuration and the embedded engines.
        trust_key: the publisher's public key to accept, instead of the one MESH_KEY vouches for.
        plugins: entry points of the group ``mesh`` to load.
        max_stale_s: how long the last good configuration is honoured while Redis is away, seconds.
        decision_s: how long a limit may take to answer before it counts as unreachable, seconds.
        leases: take slices of limits that are asked often, and decide from them in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    database_url: str | None = None
    database_session_url: str | None = None
    redis_url: str | None = None
    telemetry_redis_url: str | None = None
    telemetry_shards: int = Field(default=1, ge=1, le=64)
    key: SecretStr | None = None
    home: Path = Field(default_factory=default_home)
    trust_key: str | None = None
    plugins: tuple[str, ...] = ()
    max_stale_s: float = Field(default=86_400.0, ge=0, le=31_536_000)
    decision_s: float = Field(default=0.05, gt=0, le=60)
    leases: bool = True

    @property
    def embedded(self) -> bool:
        """Tell whether this process uses the embedded engines: neither URL is set."""
        return self.database_url is None and self.redis_url is None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the ``MESH_*`` variables; keyword arguments go over them.

        Raises:
            ConfigError: a value does not fit; names the variable, never the value.
        """
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for name, convert in _VARIABLES.items():
            text = environ.get(f"MESH_{name.upper()}", "").strip()
            if text:
                try:
                    found[name] = convert(text)
                except ValueError as error:
                    raise ConfigError(f"MESH_{name.upper()} does not fit: {error}") from None
        return cls.of(**{**found, **overrides})

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Build settings from plain values.

        Raises:
            ConfigError: a value does not fit; names the setting, never the value.
        """
        if isinstance(values.get("key"), str):
            values["key"] = SecretStr(values["key"])
        try:
            return cls(**values)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"settings do not fit: {problems}") from None


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false", "1", "0"):
        raise ValueError(f"it must be on or off, not {text!r}")
    return text.lower() in ("on", "true", "1")


_VARIABLES: dict[str, Any] = {
    "database_url": str,
    "database_session_url": str,
    "redis_url": str,
    "telemetry_redis_url": str,
    "telemetry_shards": int,
    "key": SecretStr,
    "home": lambda text: Path(text).expanduser(),
    "trust_key": str,
    "plugins": lambda text: tuple(name.strip() for name in text.split(",") if name.strip()),
    "max_stale_s": float,
    "decision_s": float,
    "leases": _switch,
}

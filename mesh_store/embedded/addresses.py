"""The URLs of a running pair."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

USER = "mesh"
DATABASE = "mesh"
PORT = 5432  # only the name of the socket: .s.PGSQL.5432


def database_url(postgres_socket: str) -> str:
    """For SQLAlchemy over asyncpg."""
    return "postgresql+asyncpg" + _postgres(postgres_socket)


def dsn(postgres_socket: str) -> str:
    """For ``asyncpg.connect``, psycopg and psql."""
    return "postgresql" + _postgres(postgres_socket)


def redis_url(valkey_socket: str) -> str:
    """For redis-py."""
    return f"unix://{quote(valkey_socket)}?db=0"


def _postgres(postgres_socket: str) -> str:
    directory = quote(str(Path(postgres_socket).parent), safe="/")
    # The port is named because asyncpg would else take it from $PGPORT, and look for another socket.
    return f"://{USER}@/{DATABASE}?host={directory}&port={PORT}"

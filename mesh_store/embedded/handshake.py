"""Ask a server whether it answers, in its own protocol.

A socket that accepts proves nothing: Postgres listens while it recovers, Valkey while it loads, and
a stopped process still has its backlog. Only a few messages of each protocol are spoken, because
neither the supervisor nor the caller should import a driver to say hello.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

_PROTOCOL_3 = 196608
_MISSING_DATABASE = "3D000"
_TOO_MANY = "53300"


class PostgresError(Exception):
    """The server answered with an error.

    Attributes:
        code: its SQLSTATE.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code

    @property
    def missing_database(self) -> bool:
        return self.code == _MISSING_DATABASE


class PostgresSession:
    """One connection over a unix socket, authenticated by being allowed to reach it."""

    def __init__(self, path: Path | str, *, user: str, database: str, timeout: float) -> None:
        self.version = ""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
            start = f"user\0{user}\0database\0{database}\0\0".encode()
            self._socket.sendall(struct.pack("!ii", 8 + len(start), _PROTOCOL_3) + start)
            self._read_until_ready()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._socket), suppress(OSError):  # it is gone already, which is what we wanted
            self._socket.sendall(b"X\0\0\0\4")

    def execute(self, statement: str) -> None:
        """Run one statement and drop its result."""
        body = statement.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!i", 4 + len(body)) + body)
        self._read_until_ready()

    def _read_until_ready(self) -> None:
        for kind, body in self._messages():
            if kind == b"E":
                raise _error(body)
            if kind == b"R" and body[:4] != b"\0\0\0\0":
                raise PostgresError("28000", "the server wants a password on its private socket")
            if kind == b"S" and body.startswith(b"server_version\0"):
                self.version = body.split(b"\0")[1].decode().split(" ")[0]
            if kind == b"Z":
                return

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            head = self._exactly(5)
            yield head[:1], self._exactly(struct.unpack("!i", head[1:])[0] - 4)

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            more = self._socket.recv(count - len(got))
            if not more:
                raise ConnectionResetError("the server closed the connection")
            got += more
        return got


def _error(body: bytes) -> PostgresError:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return PostgresError(fields.get(b"C", "?"), fields.get(b"M", "unknown error"))


def postgres_version(path: Path | str, *, user: str, database: str, timeout: float) -> str | None:
    """The version of the Postgres behind `path`, or None while `database` cannot be used there."""
    try:
        with PostgresSession(path, user=user, database=database, timeout=timeout) as session:
            return session.version
    except PostgresError as error:
        return "?" if error.code == _TOO_MANY else None  # crowded, but alive
    except OSError:
        return None


def valkey_version(path: Path | str, timeout: float) -> str | None:
    """The version of the Valkey or Redis behind `path`, or None while it cannot serve."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout)
            client.connect(str(path))
            # INFO answers while the data is still loading, PING does not.
            client.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            reply = b"".join(iter(lambda: client.recv(65536), b""))
    except OSError:
        return None
    if not reply.startswith(b"+PONG"):
        return None
    said = dict(line.split(b":", 1) for line in reply.split(b"\r\n") if b":" in line)
    # Valkey 9.1 claims redis_version 7.2.4 for old clients' sake.
    return said.get(b"valkey_version", said.get(b"redis_version", b"?")).decode()

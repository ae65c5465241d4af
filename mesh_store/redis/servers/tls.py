"""TLS to Redis: one context a client, made anew when a file it was made of changes.

redis-py reads the system's authorities for every connection it makes, and goes on trusting them when
it is given one of ours. Here an authority that is named is the only one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from socket import socket
from typing import Any, cast

import redis.asyncio.connection
import redis.connection
from redis._parsers import _HiredisParser

from mesh_store.redis.servers.mistakes import Misconfigured

_REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


class Tls:
    """Makes the context of connections.

    Args:
        options: those of `mesh_store.redis.servers.address` that begin with ``ssl_``.

    Attributes:
        server_name: the name to ask for and to check; None means the host's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._made: tuple[tuple[int, ...], ssl.SSLContext] | None = None
        self.server_name: str | None = options.get("ssl_server_name")

    def context(self) -> ssl.SSLContext:
        """Return the context; certificates that were replaced on disk are read again.

        Raises:
            Misconfigured: names the option that does not fit.
        """
        marks = self._marks()
        if self._made is None or self._made[0] != marks:
            self._made = marks, self._make()
        return self._made[1]

    def _marks(self) -> tuple[int, ...]:
        marks = []
        for name in _FILES:
            path = self._options.get(name)
            if path is not None:
                try:
                    marks.append(Path(path).stat().st_mtime_ns)
                except OSError as error:
                    raise Misconfigured(f"{name} of the Redis URL cannot be read: {error}") from error
        return tuple(marks)

    def _make(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(
                cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path")
            )
        except (OSError, ValueError) as error:
            raise Misconfigured(f"ssl_ca_certs of the Redis URL holds no certificates: {error}") from error
        context.check_hostname = options.get("ssl_check_hostname", True)
        required = options.get("ssl_cert_reqs", "required")
        if required not in _REQUIREMENTS:
            raise Misconfigured(f"ssl_cert_reqs must be one of {', '.join(_REQUIREMENTS)}")
        if required == "none":
            context.check_hostname = False
        context.verify_mode = _REQUIREMENTS[required]
        self._present_ours(context)
        try:
            if "ssl_min_version" in options:
                context.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
            if "ssl_ciphers" in options:
                context.set_ciphers(options["ssl_ciphers"])
        except (OSError, ValueError) as error:
            raise Misconfigured(f"ssl_min_version or ssl_ciphers cannot be had: {error}") from error
        return context

    def _present_ours(self, context: ssl.SSLContext) -> None:
        certfile, keyfile = self._options.get("ssl_certfile"), self._options.get("ssl_keyfile")
        if certfile is None and keyfile is None:
            return
        if certfile is None:
            raise Misconfigured("ssl_keyfile of the Redis URL needs ssl_certfile beside it")
        # Never ask on the terminal for a password nobody gave.
        password = self._options.get("ssl_password", "")
        try:
            context.load_cert_chain(certfile, keyfile, lambda: password)
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"ssl_certfile, ssl_keyfile and ssl_password of the Redis URL do not fit: {error}"
            ) from error


class TlsConnection(redis.connection.SSLConnection):
    """A connection over TLS by a `Tls`."""

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _wrap_socket_with_ssl(self, sock: socket) -> ssl.SSLSocket:
        name = self._tls.server_name or self.host
        return self._tls.context().wrap_socket(sock, server_hostname=name)

    def can_read(self, timeout: float = 0) -> bool:
        """Tell whether a reply waits, or the connection was closed.

        redis-py (8.1, with hiredis) looks at the bare socket, where the session tickets that every TLS 1.3
        server sends after the handshake look like a reply nobody waits for: it drops the new connection,
        makes another, and gives up on that with "Connection not ready".
        """
        sock, parser, hiredis = (
            cast("Any", self._sock),
            cast("Any", self._parser),
            cast("Any", _HiredisParser),
        )
        if sock is None or not isinstance(parser, hiredis) or parser._reader.has_data():
            return bool(super().can_read(timeout))
        try:
            return bool(parser.read_from_socket(timeout=timeout, raise_on_timeout=False))
        except OSError as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.ConnectionError(
                f"the connection to {self.host}:{self.port} broke: {error}"
            ) from error


class AsyncTlsConnection(redis.asyncio.connection.SSLConnection):
    """A connection over TLS by a `Tls`, of an event loop."""

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        plain = {"host": self.host, "port": self.port, "ssl": self._tls.context()}
        return plain | ({"server_hostname": self._tls.server_name} if self._tls.server_name else {})

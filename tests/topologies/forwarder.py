"""A place on the network in front of a server: it may move to another one, and may speak TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable

#: The first byte of a TLS handshake; no Redis command begins with it.
HANDSHAKE = b"\x16"


class Forwarder:
    """Forwards connections to a port of loopback; those that begin with a handshake over TLS.

    Args:
        port: where to.
        context: certificates to present, or None for no TLS.

    Attributes:
        port: where new connections go; may be changed.
        near: the port it listens on.
        names: the server names clients asked for.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.names: list[str | None] = []
        self._context = context
        if context is not None:
            context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.near = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Cut every connection."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                self._start(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        try:
            if self._context is not None and near.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                near = self._context.wrap_socket(near, server_side=True, do_handshake_on_connect=False)
                self._sockets.append(near)
                near.do_handshake()
            far = socket.create_connection(("127.0.0.1", self.port))
        except OSError:  # a handshake that was refused is what some tests are about
            _hang_up(near)
            return
        self._sockets.append(far)
        self._start(self._pump, far, near)
        self._pump(near, far)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _hang_up(near: socket.socket) -> None:
    """End a connection so that what was said last is heard: what came meanwhile is read first."""
    with contextlib.suppress(OSError):
        near.settimeout(2)
        socket.socket.shutdown(near, socket.SHUT_WR)
        while os.read(near.fileno(), 65536):
            pass
    near.close()

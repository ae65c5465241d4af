"""A server that listens does not answer yet, and one that answers may not serve yet."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from mesh_store.embedded.handshake import postgres_version, valkey_version


@pytest.fixture
def server(bare_home):
    """A socket that answers the first message of each connection with fixed bytes, then closes."""
    listeners = []

    def start(reply: bytes | None) -> str:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(bare_home / "s"))
        listener.listen()
        listeners.append(listener)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        if reply is not None:
            threading.Thread(target=answer, daemon=True).start()
        return str(bare_home / "s")

    yield start
    for listener in listeners:
        listener.close()


def error(code: str) -> bytes:
    fields = f"SFATAL\0C{code}\0Mno\0\0".encode()
    return b"E" + struct.pack("!i", 4 + len(fields)) + fields


def greet(path: str) -> str | None:
    return postgres_version(path, user="mesh", database="mesh", timeout=0.5)


def test_a_socket_that_only_listens_is_no_server(server):
    path = server(None)
    assert valkey_version(path, timeout=0.1) is None
    assert postgres_version(path, user="mesh", database="mesh", timeout=0.1) is None


def test_a_path_without_a_socket_is_no_server(bare_home):
    assert valkey_version(bare_home / "none", timeout=0.1) is None
    assert greet(str(bare_home / "none")) is None


def test_a_valkey_that_loads_its_data_does_not_serve_yet(server):
    loading = b"-LOADING Valkey is loading the dataset in memory\r\n$24\r\nvalkey_version:9.1.2\r\n\r\n"
    assert valkey_version(server(loading), timeout=5) is None


def test_a_valkey_is_known_by_its_own_version(server):
    both = b"+PONG\r\n$60\r\nredis_version:7.2.4\r\nvalkey_version:9.1.2\r\n\r\n+OK\r\n"
    assert valkey_version(server(both), timeout=5) == "9.1.2"


def test_a_postgres_that_recovers_does_not_serve_yet(server):
    assert greet(server(error("57P03"))) is None


def test_a_postgres_without_a_free_connection_is_alive(server):
    assert greet(server(error("53300"))) == "?"


def test_a_postgres_that_hangs_up_does_not_serve(server):
    assert greet(server(b"R")) is None

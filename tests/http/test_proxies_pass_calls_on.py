"""Proxies, configured or from the environment, in both colours."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import TransportOptions
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ProviderError

MakeCall = Callable[..., ProviderCall]
Make = Callable[[TransportOptions], Any]


def test_a_configured_proxy_takes_every_call(
    caller_with: Make, provider: StandInProvider, make_call: MakeCall
) -> None:
    caller = caller_with(TransportOptions(proxy=provider.origin))
    assert caller.send(make_call("http://nowhere.invalid/v1")).finish_reason == "stop"
    assert provider.requests[0].headers["host"] == "nowhere.invalid"
    assert "proxy-authorization" not in provider.requests[0].headers


def test_a_proxy_is_told_who_calls(caller_with: Make, provider: StandInProvider, make_call: MakeCall) -> None:
    proxy = provider.origin.replace("://", "://user:word@")
    caller = caller_with(TransportOptions(proxy=proxy))
    assert caller.send(make_call("http://nowhere.invalid/v1")).finish_reason == "stop"
    arrived = provider.requests[0].headers
    assert arrived["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    assert arrived["authorization"] == "Bearer sk-secret-1"


def test_the_environments_proxy_is_used_unless_told_otherwise(
    caller_with: Make, provider: StandInProvider, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", provider.origin)
    monkeypatch.setenv("http_proxy", provider.origin)
    call = make_call("http://nowhere.invalid/v1")
    assert caller_with(TransportOptions()).send(call).finish_reason == "stop"
    with pytest.raises(ProviderError) as failed:
        caller_with(TransportOptions(use_environment=False)).send(call)
    assert failed.value.kind == "connect"


def test_the_environment_names_hosts_that_are_called_directly(
    caller_with: Make, provider: StandInProvider, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HTTP_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "127.0.0.1")):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    caller = caller_with(TransportOptions())
    assert caller.send(make_call(provider.base_url)).finish_reason == "stop"


def test_credentials_in_netrc_are_nobodys_business(
    caller_with: Make,
    provider: StandInProvider,
    make_call: MakeCall,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password word")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    caller_with(TransportOptions()).send(make_call(provider.anthropic_url, "anthropic"))
    assert "authorization" not in provider.requests[0].headers


async def test_a_proxy_that_speaks_something_else_is_not_taken_for_an_http_proxy(
    provider: StandInProvider, make_call: MakeCall
) -> None:
    proxy = provider.origin.replace("http:", "socks5:")
    sender = DirectSender(DefaultTransport(TransportOptions(proxy=proxy)))
    with pytest.raises(ProviderError, match="HTTP proxies only") as failed:
        await sender.asend(make_call(provider.base_url))
    assert failed.value.kind == "connect"
    assert provider.connections == 0
    await sender.aclose()


class Tunnel:
    """A proxy that knows CONNECT, or answers it with another status."""

    def __init__(self, status: str = "200 Fine") -> None:
        self.heads: list[bytes] = []
        self._status = status
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
                head += piece
            self.heads.append(head)
            client.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
            if not self._status.startswith("200"):
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as upstream:
                back = threading.Thread(target=_pump, args=(upstream, client))
                back.start()
                _pump(client, upstream)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def secured(certificates: Path) -> Iterator[StandInProvider]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    with StandInProvider(tls=context) as running:
        yield running


def test_a_secured_call_goes_through_a_tunnel_that_sees_nothing_of_it(
    caller_with: Make, secured: StandInProvider, certificates: Path, make_call: MakeCall
) -> None:
    tunnel = Tunnel()
    caller = caller_with(TransportOptions(proxy=tunnel.url, ca_pem=str(certificates / "ca.pem")))
    reply, again = caller.send_both(make_call(secured.base_url), make_call(secured.base_url))
    assert (reply.finish_reason, again.finish_reason) == ("stop", "stop")
    assert (secured.count, secured.connections) == (2, 1), "a tunnel is used again"
    assert [head.split()[0] for head in tunnel.heads] == [b"CONNECT"]
    assert b"sk-secret-1" not in tunnel.heads[0]
    with pytest.raises(ProviderError):
        caller_with(TransportOptions(proxy=tunnel.url)).send(make_call(secured.base_url))
    assert secured.count == 2, "the provider's certificate is checked inside the tunnel"
    tunnel.close()


def test_a_proxy_that_refuses_is_a_connect_error(caller_with: Make, make_call: MakeCall) -> None:
    tunnel = Tunnel("407 Who Are You")
    with pytest.raises(ProviderError) as failed:
        caller_with(TransportOptions(proxy=tunnel.url)).send(make_call("https://nowhere.invalid/v1"))
    assert failed.value.kind == "connect"
    tunnel.close()

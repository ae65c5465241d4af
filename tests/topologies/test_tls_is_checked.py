"""TLS in front of every topology: what is not trusted is a mistake somebody has to correct, by its name."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mesh_store.model import Charge, ConfigError, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from tests.topologies.certificates import Authority, presented
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.forwarder import Forwarder
from tests.topologies.servers import Cluster, Process, Servers, eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


@pytest.fixture
def serve(server: Process) -> Iterator[Callable[..., Forwarder]]:
    """Put TLS before the server: ``serve(certificate, key)``; returns where it listens."""
    with ExitStack() as held:

        def make(certificate: Path, key: Path, *, port: int = server.port, **options: Any) -> Forwarder:
            made = Forwarder(port, presented(certificate, key, **options))
            held.callback(made.close)
            return made

        yield make


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Reserve once on a server of the given url; return the decision or the error."""

    async def reserve(url: str, one: Charge) -> Any:
        try:
            if request.param == "sync":
                with connect(url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
                    return Limiter(client).reserve([one])
            async with connect_async(url, deadline=PATIENCE, connect_deadline=PATIENCE) as aclient:
                return await AsyncLimiter(aclient).reserve([one])
        except (ConfigError, QuotaUnavailable) as error:
            return error

    return reserve


async def test_a_certificate_of_the_named_authority_is_trusted(
    serve: Callable[..., Forwarder], authority: Authority, attempt: Callable[..., Any], tag: str
) -> None:
    place = serve(*authority.issue("good", "127.0.0.1", "localhost"))
    for host in ("127.0.0.1", "localhost"):
        url = f"rediss://{host}:{place.near}?ssl_ca_certs={authority.ca}"
        assert (await attempt(url, charge(tag))).admitted


async def test_no_other_authority_is_trusted_and_the_option_is_named(
    serve: Callable[..., Forwarder],
    authority: Authority,
    stranger: Authority,
    attempt: Callable[..., Any],
    tag: str,
) -> None:
    place = serve(*authority.issue("good", "127.0.0.1"))
    for query in (f"?ssl_ca_certs={stranger.ca}", ""):
        refused = await attempt(f"rediss://127.0.0.1:{place.near}{query}", charge(tag, on_outage="open"))
        assert isinstance(refused, ConfigError)
        assert "not trusted" in str(refused)
        assert "ssl_ca_certs" in str(refused)


async def test_an_expired_certificate_is_called_so(
    serve: Callable[..., Forwarder], authority: Authority, attempt: Callable[..., Any], tag: str
) -> None:
    place = serve(*authority.issue("old", "127.0.0.1", expired=True))
    refused = await attempt(f"rediss://127.0.0.1:{place.near}?ssl_ca_certs={authority.ca}", charge(tag))
    assert isinstance(refused, ConfigError)
    assert "has expired" in str(refused)


async def test_a_certificate_for_another_name_is_refused_unless_that_name_was_meant(
    serve: Callable[..., Forwarder], authority: Authority, attempt: Callable[..., Any], tag: str
) -> None:
    place = serve(*authority.issue("other", "redis.example"))
    url = f"rediss://127.0.0.1:{place.near}?ssl_ca_certs={authority.ca}"
    refused = await attempt(url, charge(tag))
    assert isinstance(refused, ConfigError)
    assert "another name" in str(refused)
    assert "ssl_server_name" in str(refused)
    assert (await attempt(f"{url}&ssl_server_name=redis.example", charge(tag))).admitted
    assert place.names[-1] == "redis.example"
    assert (await attempt(f"{url}&ssl_check_hostname=no", charge(tag))).admitted


async def test_a_server_that_wants_to_know_us_is_shown_our_certificate(
    serve: Callable[..., Forwarder],
    authority: Authority,
    stranger: Authority,
    attempt: Callable[..., Any],
    tag: str,
) -> None:
    place = serve(*authority.issue("mutual", "127.0.0.1"), asks_for=authority.ca)
    url = f"rediss://127.0.0.1:{place.near}?ssl_ca_certs={authority.ca}"
    ours, key = authority.issue("caller", password="pw")
    named = f"{url}&ssl_certfile={ours}&ssl_keyfile={key}&ssl_password=pw"
    assert (await attempt(named, charge(tag))).admitted
    assert isinstance(await attempt(named.replace("=pw", "=no"), charge(tag)), ConfigError)
    theirs, other = stranger.issue("caller")
    for wrong in (url, f"{url}&ssl_certfile={theirs}&ssl_keyfile={other}"):
        refused = await attempt(wrong, charge(tag, on_outage="open"))
        assert isinstance(refused, ConfigError)
        assert "ssl_certfile" in str(refused)


async def test_a_port_that_answers_without_tls_is_a_mistake(attempt: Callable[..., Any], tag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        answering = threading.Thread(target=_answer_in_plain, args=(plain,))
        answering.start()
        refused = await attempt(f"rediss://127.0.0.1:{plain.getsockname()[1]}", charge(tag))
        answering.join()
    assert isinstance(refused, ConfigError)
    assert "names a port that speaks it" in str(refused)


def _answer_in_plain(listener: socket.socket) -> None:
    near, _ = listener.accept()
    with near, contextlib.suppress(OSError):
        near.recv(65536)
        near.sendall(b"-ERR unknown command\r\n" * 8)
        near.recv(65536)


def test_the_tickets_of_a_session_are_no_reply_nobody_waits_for(
    serve: Callable[..., Forwarder], authority: Authority
) -> None:
    place = serve(*authority.issue("good", "127.0.0.1"))
    url = f"rediss://127.0.0.1:{place.near}?ssl_ca_certs={authority.ca}"
    with connect(url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        for _ in range(20):
            connection = client.connection_pool.get_connection()
            time.sleep(0.005)  # for the tickets to arrive
            assert not connection.can_read()
            connection.disconnect()
            client.connection_pool.release(connection)
    assert len(place.names) == 20


async def test_a_certificate_that_was_renewed_on_disk_is_shown_from_then_on(
    serve: Callable[..., Forwarder], authority: Authority, stranger: Authority, tag: str
) -> None:
    place = serve(*authority.issue("mutual", "127.0.0.1"), asks_for=authority.ca)
    ours, key = authority.issue("renewed")
    old, old_key = stranger.issue("renewed")
    kept = ours.read_bytes(), key.read_bytes()
    ours.write_bytes(old.read_bytes())
    key.write_bytes(old_key.read_bytes())
    url = f"rediss://127.0.0.1:{place.near}?ssl_ca_certs={authority.ca}&ssl_certfile={ours}&ssl_keyfile={key}"
    with connect(url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        limiter = Limiter(client)
        with pytest.raises(ConfigError):
            limiter.reserve([charge(tag)])
        for path, text in zip((ours, key), kept, strict=True):
            path.write_bytes(text)
            os.utime(path, ns=(1, 1))
        assert limiter.reserve([charge(tag)]).admitted


@pytest.fixture
def small_cluster(
    servers: Servers, serve: Callable[..., Forwarder], authority: Authority
) -> Iterator[tuple[Cluster, str]]:
    """Two primaries that are known by ports that speak TLS."""
    made = Cluster(servers, primaries=2, replicas=0)
    issued = authority.issue("cluster", "redis.example")
    near = []
    for node in made.nodes:
        near.append(serve(*issued, port=node.port).near)
        node.client.config_set("cluster-announce-port", near[-1])
    eventually(lambda: all(_told(node) == sorted(near) for node in made.nodes))
    hosts = ",".join(f"127.0.0.1:{port}" for port in near)
    yield made, f"rediss+cluster://{hosts}?ssl_ca_certs={authority.ca}&ssl_server_name=redis.example"
    for node in made.nodes:
        node.kill()


def _told(node: Process) -> list[int]:
    slots = node.client.execute_command("CLUSTER SLOTS")
    return sorted({int(owner[1]) for _, _, owner, *_ in slots})


async def test_a_cluster_over_tls(
    small_cluster: tuple[Cluster, str], attempt: Callable[..., Any], tag: str
) -> None:
    _, url = small_cluster
    for part in range(4):
        assert (await attempt(url, charge(f"{tag}{part}"))).admitted
    refused = await attempt(url.replace("redis.example", "other.example"), charge(tag))
    assert isinstance(refused, ConfigError)
    assert "another name" in str(refused)


async def test_sentinels_over_tls(
    servers: Servers,
    serve: Callable[..., Forwarder],
    authority: Authority,
    attempt: Callable[..., Any],
    tag: str,
) -> None:
    primary = servers.start()
    sentinel = servers.start(mode="sentinel")
    issued = authority.issue("sentinel", "127.0.0.1")
    server_port = serve(*issued, port=primary.port).near
    sentinel_port = serve(*issued, port=sentinel.port).near
    sentinel.client.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", str(server_port), "1")
    eventually(lambda: sentinel.client.sentinel_masters()["main"]["flags"] == "master")
    query = f"ssl_ca_certs={authority.ca}"
    assert (await attempt(f"rediss+sentinel://127.0.0.1:{sentinel_port}/main?{query}", charge(tag))).admitted
    plain = f"rediss+sentinel://{sentinel.host}/main?{query}&sentinel_ssl=no"
    assert (await attempt(plain, charge(tag))).admitted
    refused = await attempt(f"rediss+sentinel://127.0.0.1:{sentinel_port}/main", charge(tag))
    assert isinstance(refused, ConfigError)
    assert "not trusted" in str(refused)
    sentinel.kill()
    primary.kill()

"""What a Redis URL says, and what is refused before anything connects, without telling a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh_store.model import ConfigError
from mesh_store.redis import connect, connect_async
from mesh_store.redis.servers.address import identity, parse_address, shown


def test_one_server() -> None:
    address = parse_address("redis://ada:p%40ss@redis.example:6380/3")
    assert (address.kind, address.hosts, address.tls) == ("one", (("redis.example", 6380),), False)
    assert address.options == {"username": "ada", "password": "p@ss", "db": 3}


def test_what_is_left_away_is_as_everywhere() -> None:
    assert parse_address("redis://").hosts == (("localhost", 6379),)
    assert parse_address("rediss://host").tls
    assert parse_address("redis+sentinel://host/main").hosts == (("host", 26379),)


def test_a_unix_socket_has_its_options_in_the_query() -> None:
    address = parse_address("unix:///run/my%20redis.sock?username=ada&password=p%2Fw&db=2")
    assert address.path == "/run/my redis.sock"
    assert address.options == {"username": "ada", "password": "p/w", "db": 2}


@pytest.mark.parametrize("scheme", ["redis+sentinel", "sentinel"])
def test_sentinels(scheme: str) -> None:
    address = parse_address(
        f"{scheme}://ada:pw@one:1,two,[::1]:3/main/2?sentinel_username=s&sentinel_password=t"
    )
    assert address.kind == "sentinel"
    assert address.hosts == (("one", 1), ("two", 26379), ("::1", 3))
    assert address.service == "main"
    assert address.options == {"username": "ada", "password": "pw", "db": 2}
    assert address.sentinel_options == {"username": "s", "password": "t"}
    assert not address.sentinel_tls


def test_sentinels_may_speak_without_tls_while_servers_do_not() -> None:
    assert parse_address("rediss+sentinel://one/main").sentinel_tls
    address = parse_address("rediss+sentinel://one/main?sentinel_ssl=no")
    assert (address.tls, address.sentinel_tls) == (True, False)


@pytest.mark.parametrize("scheme", ["rediss+cluster", "redis+cluster", "cluster"])
def test_a_cluster(scheme: str) -> None:
    address = parse_address(f"{scheme}://:pw@one:1,two?ssl_server_name=redis.example")
    assert (address.kind, address.hosts) == ("cluster", (("one", 1), ("two", 6379)))
    assert address.tls is (scheme == "rediss+cluster")
    assert address.options == {"password": "pw", "ssl_server_name": "redis.example"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "begins with"),
        ("http://localhost", "begins with"),
        ("redis+sentinels://h/x", "begins with"),
        ("unix+cluster:///s", "begins with"),
        ("redis://one,two", r"redis\+sentinel:// or redis\+cluster://"),
        ("redis+sentinel://one,two", "names its service"),
        ("redis+cluster://one/3", "no databases"),
        ("redis+cluster://one?sentinel_password=hunter2", "belong to"),
        ("redis://one/x", "must be a number"),
        ("redis://one?db=-1", "must be a number"),
        ("redis://one?socket_timeout=5", "socket_timeout in the Redis URL is not an option"),
        ("redis://one?retry_on_timeout=yes", "is not an option"),
        ("rediss://one?ssl_check_hostname=maybe", "yes or no"),
        ("redis://:hunter2/x@one:6379", "percent-encoded"),
        ("redis://one:sixty", "percent-encoded"),
        ("redis://one:70000", "percent-encoded"),
    ],
)
def test_what_does_not_fit_is_named_without_a_credential(url: str, says: str) -> None:
    for make in (connect, connect_async):
        with pytest.raises(ConfigError, match=says) as caught:
            make(url)
        assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_before_anything_connects(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for query, says in (
        ("ssl_ca_certs=/nonexistent/ca.pem", "ssl_ca_certs of the Redis URL cannot be read"),
        (f"ssl_ca_certs={empty}", "holds no certificates"),
        (f"ssl_certfile={empty}", "ssl_certfile, ssl_keyfile and ssl_password"),
        (f"ssl_keyfile={empty}", "needs ssl_certfile"),
        ("ssl_cert_reqs=perhaps", "ssl_cert_reqs must be"),
        ("ssl_min_version=1", "ssl_min_version"),
        ("ssl_ciphers=none-such", "ssl_ciphers"),
    ):
        for make in (connect, connect_async):
            with pytest.raises(ConfigError, match=says):
                make(f"rediss://localhost?{query}")


def test_messages_show_where_and_nothing_else() -> None:
    assert shown("redis+sentinel://ada:hunter2@one:1,two/main?sentinel_password=x") == (
        "redis+sentinel://one:1,two/main"
    )
    assert shown("unix:///run/s?password=hunter2") == "unix:///run/s"
    assert "hunter2" not in shown("hunter2")


def test_the_same_redis_is_the_same_whoever_connects_and_in_whichever_order() -> None:
    one = identity("redis+cluster://a:1,b:2")
    assert identity("rediss+cluster://ada:pw@b:2,a:1?ssl_ca_certs=/x") == one
    assert identity("redis://a:1") != one
    assert identity("redis://a:1/1") != identity("redis://a:1/2")
    assert identity("unix:///a") != identity("unix:///b")

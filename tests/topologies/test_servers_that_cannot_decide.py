"""Every way a server says no: an outage is answered by policy, a mistake never opens a limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, ConfigError, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from mesh_store.redis.acl import caller_rules
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedLimiter
from mesh_store.redis.outage import OutagePolicy
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.forwarder import Forwarder
from tests.topologies.servers import Cluster, Process, Sentinels, Servers, eventually, passed_on, replicate


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Reserve once on a server of the given url, and return the decision or the error."""

    async def reserve(url: str, one: Charge, deadline: float = 2.0) -> Any:
        try:
            if request.param == "sync":
                with connect(url, deadline=deadline) as client:
                    return Limiter(client).reserve([one])
            async with connect_async(url, deadline=deadline) as aclient:
                return await AsyncLimiter(aclient).reserve([one])
        except (ConfigError, QuotaUnavailable) as error:
            return error

    return reserve


@pytest.fixture
def other(servers: Servers) -> Iterator[Process]:
    """A server of this test's own."""
    made = servers.start()
    yield made
    made.kill()


async def test_a_server_that_loads_its_data_is_an_outage(
    other: Process, attempt: Callable[..., Any], tag: str
) -> None:
    other.client.execute_command("DEBUG POPULATE", 2_000)
    other.client.save()
    other.kill()
    other.start("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024", wait=False)
    eventually(lambda: _says(other.client, "LOADING"))
    refused = await attempt(other.url, charge(tag))
    assert isinstance(refused, QuotaUnavailable)
    assert "BusyLoadingError" in str(refused)


def _says(client: redis.Redis, word: str) -> bool:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return word == "LOADING"
    return False


async def test_a_replica_without_its_primary_is_an_outage(
    servers: Servers, attempt: Callable[..., Any], tag: str
) -> None:
    primary = servers.start()
    replica = replicate(primary, servers, "--replica-serve-stale-data", "no")
    primary.kill()
    eventually(lambda: replica.client.info("replication").get("master_link_status") == "down")
    assert isinstance(await attempt(replica.url, charge(tag)), QuotaUnavailable)
    with (
        connect(replica.url, deadline=PATIENCE) as client,
        pytest.raises(QuotaUnavailable, match="MasterDownError"),
    ):
        Limiter(client).peek([charge(tag)])
    replica.kill()


async def test_too_many_clients_are_an_outage(other: Process, attempt: Callable[..., Any], tag: str) -> None:
    other.client.ping()
    other.client.config_set("maxclients", 1)
    refused = await attempt(other.url, charge(tag))
    assert isinstance(refused, QuotaUnavailable)
    other.client.config_set("maxclients", 100)
    assert (await attempt(other.url, charge(tag))).admitted


async def test_a_full_server_still_settles_on_every_topology(
    decide: Callable[..., Any], request: pytest.FixtureRequest, url: str, tag: str
) -> None:
    one = charge(tag)
    first, second = [await decide("reserve", [one]) for _ in range(2)]
    holder = request.getfixturevalue("server") if "+" not in url else _place(request, url).holder(one.key)
    holder.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QuotaUnavailable, match="OutOfMemoryError"):
            await decide("reserve", [one])
        assert await decide("settle", first.reservation, (-1,))
        assert await decide("cancel", second.reservation.id, [one])
        assert (await decide("peek", [one])).remaining == (10,)
    finally:
        holder.client.config_set("maxmemory", 0)


def _place(request: pytest.FixtureRequest, url: str) -> Any:
    return request.getfixturevalue("cluster" if "cluster" in url else "sentinels")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_primary_that_was_demoted_is_left_in_the_same_decision(
    servers: Servers, other: Process, tag: str, colour: str
) -> None:
    successor = replicate(other, servers)
    name = Forwarder(other.port)  # a name in the network that follows the primary
    url = f"redis://127.0.0.1:{name.near}"
    with connect(url, deadline=PATIENCE) as client:
        async with connect_async(url, deadline=PATIENCE) as aclient:

            async def left() -> Any:
                if colour == "sync":
                    return Limiter(client).reserve([charge(tag)]).remaining
                return (await AsyncLimiter(aclient).reserve([charge(tag)])).remaining

            assert await left() == (9,)
            passed_on(other, successor)
            successor.client.execute_command("REPLICAOF NO ONE")
            other.client.replicaof("127.0.0.1", successor.port)
            name.port = successor.port
            assert await left() == (8,)
    name.close()
    successor.kill()


async def test_a_demoted_primary_that_nobody_replaced_is_an_outage(
    servers: Servers, other: Process, attempt: Callable[..., Any], tag: str
) -> None:
    replica = replicate(other, servers)
    refused = await attempt(replica.url, charge(tag))
    assert isinstance(refused, QuotaUnavailable)
    assert "ReadOnlyError" in str(refused)
    replica.kill()


@pytest.mark.parametrize("deadline", [0.1])
async def test_a_half_open_connection_costs_two_deadlines_and_counts_once(
    request: pytest.FixtureRequest, url: str, tag: str, deadline: float
) -> None:
    one = charge(tag)
    holder = request.getfixturevalue("server") if "+" not in url else _place(request, url).holder(one.key)
    with connect(url, deadline=deadline, connect_deadline=deadline) as client:
        limiter = Limiter(client)
        eventually(lambda: _admitted(limiter, one))
        holder.pause()
        began = time.monotonic()
        try:
            with pytest.raises(QuotaUnavailable):
                limiter.reserve([one], reservation_id=f"{tag}-half")
            took = time.monotonic() - began
        finally:
            holder.resume()
        # Two attempts: a reply each, a connection, and whom else to ask where there are others.
        assert took < 100 * deadline
        left = eventually(lambda: _peeked(limiter, one))
        replayed = eventually(lambda: _admitted(limiter, one, f"{tag}-half"))
        assert replayed.admitted
        assert _peeked(limiter, one) in (left, left - 1)
        assert limiter.reserve([one], reservation_id=f"{tag}-half").remaining == replayed.remaining


def _admitted(limiter: Limiter, one: Charge, owner: str | None = None) -> Any:
    with contextlib.suppress(QuotaUnavailable):
        return limiter.reserve([one], reservation_id=owner)


def _peeked(limiter: Limiter, one: Charge) -> int | None:
    with contextlib.suppress(QuotaUnavailable):
        return limiter.peek([one]).remaining[0]
    return None


async def test_no_password_where_one_is_asked_for_is_a_mistake(
    other: Process, attempt: Callable[..., Any], tag: str
) -> None:
    other.client.config_set("requirepass", "secret")
    open_limit = charge(tag, on_outage="open")
    for url in (other.url, f"redis://:wrong@{other.host}"):
        refused = await attempt(url, open_limit)
        assert isinstance(refused, ConfigError)
        assert "MESH_REDIS_URL" in str(refused)
        assert "wrong@" not in str(refused)
    assert (await attempt(f"redis://:secret@{other.host}", open_limit)).admitted


@pytest.fixture
def narrow(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Make a user on every server of the cluster; returns the cluster's URL for it."""

    def make(*rules: str) -> str:
        for node in cluster.nodes:
            node.client.execute_command("ACL SETUSER", "narrow", "reset", "on", ">pw", *rules)
        return cluster.url.replace("://", "://narrow:pw@")

    yield make
    for node in cluster.nodes:
        node.client.execute_command("ACL DELUSER", "narrow")


async def test_a_caller_of_least_privilege_counts_on_a_cluster(
    narrow: Callable[..., str], attempt: Callable[..., Any], tag: str
) -> None:
    url = narrow(*caller_rules([tag]))
    assert (await attempt(url, charge(tag))).admitted
    refused = await attempt(url, charge(f"{tag}-of-others", on_outage="open"))
    assert isinstance(refused, ConfigError)


async def test_a_user_who_may_not_ask_for_slots_is_a_mistake(
    narrow: Callable[..., str], attempt: Callable[..., Any], tag: str
) -> None:
    refused = await attempt(narrow("~*", "+@all", "-cluster"), charge(tag, on_outage="open"))
    assert isinstance(refused, ConfigError)
    assert "mesh acl" in str(refused)


async def test_a_wrong_password_is_a_mistake_on_clusters_and_sentinels(
    cluster: Cluster, sentinels: Sentinels, attempt: Callable[..., Any], tag: str
) -> None:
    for url in (cluster.url, sentinels.url):
        refused = await attempt(url.replace("://", "://nobody:wrong@"), charge(tag, on_outage="open"))
        assert isinstance(refused, ConfigError)
    wrong_there = f"{sentinels.url}?sentinel_username=nobody&sentinel_password=wrong"
    assert isinstance(await attempt(wrong_there, charge(tag, on_outage="open")), ConfigError)


def test_a_guard_never_opens_for_a_mistake(cluster: Cluster, tag: str) -> None:
    guard = Guard(Breaker(), OutagePolicy(lambda: 1))
    with connect(cluster.url.replace("://", "://nobody:wrong@"), deadline=PATIENCE) as client:
        limiter = GuardedLimiter(client, guard)
        for _ in range(8):
            with pytest.raises(ConfigError):
                limiter.reserve([charge(tag, on_outage="open")])
    assert guard.health().state == "closed"
    assert guard.health().admitted_unenforced == 0


def test_a_busy_server_of_a_cluster_is_an_outage_for_its_teams_only(cluster: Cluster, tag: str) -> None:
    mine = charge(tag)
    busy = cluster.holder(mine.key)
    elsewhere = next(
        other for n in range(100) if cluster.holder((other := charge(f"{tag}{n}")).key) is not busy
    )
    busy.client.config_set("busy-reply-threshold", 1)
    with connect(cluster.url, deadline=2) as client:
        limiter = Limiter(client)
        limiter.peek([mine])
        stuck = threading.Thread(target=_spin, args=(busy,))
        stuck.start()
        try:
            eventually(lambda: _is_busy(busy))
            with pytest.raises(QuotaUnavailable, match="BUSY"):
                limiter.reserve([mine])
            assert limiter.reserve([elsewhere]).admitted
        finally:
            redis.Redis(port=busy.port, socket_timeout=5).script_kill()
            stuck.join()
            busy.client.config_set("busy-reply-threshold", 5000)


def _spin(server: Process) -> None:
    with contextlib.suppress(redis.RedisError), redis.Redis(port=server.port) as client:
        client.eval("while true do end", 0)


def _is_busy(server: Process) -> bool:
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        try:
            client.ping()
        except redis.ResponseError as error:
            return str(error).startswith("BUSY")
        return False

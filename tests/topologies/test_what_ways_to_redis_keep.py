"""What clients of a cluster and of sentinels keep, ask for again and let go of; in both colours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio

from mesh_store.model import ConfigError, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from mesh_store.redis.client import adrop_idle, drop_idle
from mesh_store.redis.servers.routing import slot_of
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.servers import Cluster, Process, Sentinels, Servers, eventually
from tests.topologies.test_slots_move_while_calls_are_made import Move


class Way:
    """A client of one colour, so that one test holds for both."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._waits = isinstance(client, redis.asyncio.Redis)

    async def reserve(self, one: Any) -> Any:
        if self._waits:
            return await AsyncLimiter(self.client).reserve([one])
        return Limiter(self.client).reserve([one])

    async def pipelined(self, *commands: tuple[Any, ...]) -> Any:
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute() if self._waits else pipeline.execute()

    async def run(self, *command: Any) -> Any:
        done = self.client.execute_command(*command)
        return await done if self._waits else done

    async def drop_idle(self) -> None:
        if self._waits:
            await adrop_idle(self.client)
        else:
            drop_idle(self.client)

    async def close(self) -> None:
        if self._waits:
            await self.client.aclose()
        else:
            self.client.close()


@pytest.fixture(params=["sync", "async"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Way]]:
    """Make a client of either colour; closed in the end."""
    made = []

    def make(url: str, deadline: float = PATIENCE) -> Way:
        open_it: Any = connect if request.param == "sync" else connect_async
        made.append(Way(open_it(url, deadline=deadline, connect_deadline=deadline)))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def silent() -> Iterator[Callable[[], Silent]]:
    """Make servers that take connections and say nothing."""
    with contextlib.ExitStack() as stack:

        def make() -> Silent:
            made = Silent()
            stack.callback(made.close)
            return made

        yield make


class Silent:
    """A port where nobody answers, and how many knocked."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._socket.setblocking(False)
        self._taken: list[socket.socket] = []
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def knocked(self) -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._taken.append(self._socket.accept()[0])
        return len(self._taken)

    def close(self) -> None:
        for each in (*self._taken, self._socket):
            each.close()


def visitors(server: Process) -> int:
    """How many clients are connected to a server, replicas and sentinels aside."""
    seen = server.client.client_list()
    return sum(each["flags"] == "N" and "sentinel" not in each["name"] for each in seen)


async def test_no_connection_to_a_sentinel_stays_open(
    sentinels: Sentinels, way: Callable[..., Way], tag: str
) -> None:
    before = [visitors(each) for each in sentinels.sentinels]
    assert (await way(sentinels.url).reserve(charge(tag))).admitted
    eventually(lambda: [visitors(each) for each in sentinels.sentinels] == before)


async def test_the_sentinel_that_knew_is_asked_first_from_then_on(
    sentinels: Sentinels, way: Callable[..., Way], silent: Callable[[], Silent], tag: str
) -> None:
    mute = silent()
    url = sentinels.url.replace("redis+sentinel://", f"redis+sentinel://{mute.host},")
    client = way(url, 0.5)
    for expected in (9, 8):
        decision = await _patiently(client, charge(tag))
        assert decision.remaining == (expected,)
        await client.drop_idle()  # the next connection asks where the primary is
    assert mute.knocked == 1


async def _patiently(client: Way, one: Any) -> Any:
    """Reserve; what the machine's slowness makes an outage is tried again."""
    for _ in range(20):
        with contextlib.suppress(QuotaUnavailable):
            return await client.reserve(one)
    raise AssertionError("never decided")


async def test_a_primary_that_its_sentinel_thinks_is_down_is_not_called(
    servers: Servers, way: Callable[..., Way], tag: str
) -> None:
    primary, sentinel = servers.start(), servers.start(mode="sentinel")
    run = sentinel.client.execute_command
    run("SENTINEL", "MONITOR", "alone", "127.0.0.1", str(primary.port), "2")
    run("SENTINEL", "SET", "alone", "down-after-milliseconds", "200")
    primary.pause()
    try:
        eventually(lambda: "s_down" in sentinel.client.sentinel_masters()["alone"]["flags"])
        with pytest.raises(QuotaUnavailable, match="no sentinel knows a primary of 'alone' that is up"):
            await way(f"redis+sentinel://{sentinel.host}/alone", 0.5).reserve(charge(tag))
    finally:
        primary.resume()
        sentinel.kill()
        primary.kill()


async def test_a_sentinel_that_refuses_us_is_a_mistake_although_others_would_answer(
    servers: Servers, sentinels: Sentinels, way: Callable[..., Way], tag: str
) -> None:
    guarded = servers.start(mode="sentinel")
    guarded.client.execute_command("ACL SETUSER", "default", "resetpass", ">secret")
    url = sentinels.url.replace("redis+sentinel://", f"redis+sentinel://{guarded.host},")
    with pytest.raises(ConfigError):
        await way(url).reserve(charge(tag))
    guarded.kill()


async def test_what_is_closed_leaves_no_connection_to_any_server(
    cluster: Cluster, way: Callable[..., Way], tag: str
) -> None:
    before = [visitors(node) for node in cluster.nodes]
    client = way(cluster.url)
    for number in range(20):
        await client.reserve(charge(f"{tag}{number}"))
    assert [visitors(node) for node in cluster.nodes] != before
    await client.drop_idle()
    eventually(lambda: [visitors(node) for node in cluster.nodes] == before)
    for number in range(20):
        await client.reserve(charge(f"{tag}{number}"))
    await client.close()
    eventually(lambda: [visitors(node) for node in cluster.nodes] == before)


async def test_what_a_pipeline_asks_of_a_key_on_its_way_is_sent_after_it(
    cluster: Cluster, way: Callable[..., Way], tag: str
) -> None:
    key = f"{{{tag}}}:q:moves"
    client = way(cluster.url)
    await client.run("SET", key, "there")
    move = Move(cluster, key)
    move.begin()
    try:
        for each in move.left():
            move.carry(each)
        assert await client.pipelined(("GET", key), ("STRLEN", key)) == [b"there", 5]
    finally:
        move.end()


async def test_who_holds_what_is_asked_again_after_a_pipeline_met_a_dead_server(
    cluster: Cluster, way: Callable[..., Way], tag: str
) -> None:
    key = f"{{{tag}}}:q:dead"
    client = way(cluster.url, 1.0)
    await client.run("SET", key, "1")
    holder = cluster.holder(key)
    replica = cluster.replica_of(holder)
    eventually(lambda: replica.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot_of(key)) == 1)
    holder.kill()
    eventually(lambda: replica.client.role()[0] == b"master")
    with pytest.raises(redis.RedisError):
        await client.pipelined(("GET", key))
    eventually(lambda: client.client._slots.shall_ask())
    cluster.settled_without(holder)
    assert await client.pipelined(("GET", key)) == [b"1"]


async def test_servers_that_say_nothing_are_not_all_waited_for(
    way: Callable[..., Way], silent: Callable[[], Silent], tag: str
) -> None:
    mute = [silent() for _ in range(12)]
    client = way("redis+cluster://" + ",".join(each.host for each in mute), 0.1)
    with pytest.raises(QuotaUnavailable):
        await client.reserve(charge(tag))
    assert sum(each.knocked > 0 for each in mute) < 10


async def test_a_server_that_says_nothing_is_passed_over_when_asked_who_holds_what(
    cluster: Cluster, way: Callable[..., Way], silent: Callable[[], Silent], tag: str
) -> None:
    client = way(f"redis+cluster://{silent().host},{cluster.nodes[0].host}", 1.0)
    assert (await client.reserve(charge(tag))).admitted


def test_threads_that_ask_a_sentinel_at_once_do_not_cut_each_other_off(
    sentinels: Sentinels, tag: str
) -> None:
    with connect(sentinels.url, deadline=2.0, connect_deadline=2.0) as client:
        limiter = Limiter(client)

        def often(_: int) -> None:
            for _ in range(40):
                limiter.peek([charge(tag)])
                drop_idle(client)  # the next connection asks where the primary is

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(often, range(8)))


async def test_so_do_tasks(sentinels: Sentinels, tag: str) -> None:
    async with connect_async(sentinels.url, deadline=2.0, connect_deadline=2.0) as client:
        limiter = AsyncLimiter(client)

        async def often() -> None:
            for _ in range(40):
                await limiter.peek([charge(tag)])
                await adrop_idle(client)

        await asyncio.gather(*(often() for _ in range(8)))

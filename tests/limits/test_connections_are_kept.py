"""The limiter keeps a few of its client's connections, and stays as good a guest as the client itself."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from mesh_store.redis.lines import MOST_KEPT, AsyncLine, Line

HOUR_US = 3_600_000_000


@pytest.fixture
def charge(tag: str) -> Charge:
    return Charge(f"{{{tag}}}:q:key:k1:requests", Limit(amount=100, period_us=HOUR_US), 1)


def connections(client: redis.Redis, name: str) -> list[str]:
    return [found["id"] for found in client.client_list() if found["name"] == name]


async def settled(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


@pytest.fixture(params=["sync", "async"])
async def named(request: pytest.FixtureRequest, server: Any, tag: str) -> Any:
    """A limiter of either colour, and how its client is closed; its connections bear the tag as name."""
    if request.param == "sync":
        made = connect(server.url, deadline=5, client_name=tag)
        yield Limiter(made), made.close
        made.close()
    else:
        amade = connect_async(server.url, deadline=5, connect_deadline=5, client_name=tag)
        yield AsyncLimiter(amade), amade.aclose
        await amade.aclose()


async def test_one_connection_serves_call_after_call(
    named: Any, charge: Charge, client: redis.Redis, tag: str
) -> None:
    limiter, _ = named
    await settled(limiter.reserve([charge]))
    [first] = connections(client, tag)
    for _ in range(20):
        await settled(limiter.reserve([charge]))
    assert connections(client, tag) == [first]


async def test_closing_the_client_closes_what_was_kept(
    named: Any, charge: Charge, client: redis.Redis, tag: str
) -> None:
    limiter, close = named
    await settled(limiter.reserve([charge]))
    assert len(connections(client, tag)) == 1
    await settled(close())
    for _ in range(500):
        if not connections(client, tag):
            break
        await asyncio.sleep(0.01)
    assert connections(client, tag) == []


@pytest.mark.parametrize("idle_s", [0.0, 0.15], ids=["at once", "after a pause"])
async def test_a_connection_the_server_closed_costs_no_caller_anything(
    named: Any, charge: Charge, client: redis.Redis, tag: str, idle_s: float
) -> None:
    limiter, _ = named
    await settled(limiter.reserve([charge]))
    for number in connections(client, tag):
        client.client_kill_filter(_id=number)
    await asyncio.sleep(idle_s)
    assert (await settled(limiter.reserve([charge]))).remaining == (98,)


async def test_a_silent_server_is_given_up_within_two_deadlines(proxy: Any, charge: Charge) -> None:
    async with connect_async(proxy.url, deadline=0.05) as client:
        limiter = AsyncLimiter(client)
        proxy.silent, proxy.lose = True, 10**6
        started = time.monotonic()
        with pytest.raises(QuotaUnavailable):
            await limiter.reserve([charge])
        assert time.monotonic() - started < 4.5, "redis-py's own patience is five seconds"


async def test_a_loop_that_others_hold_up_calls_no_healthy_server_away(server: Any, charge: Charge) -> None:
    async with connect_async(server.url, deadline=0.25, connect_deadline=5) as client:
        limiter, done = AsyncLimiter(client), asyncio.Event()

        async def computes() -> None:
            while not done.is_set():
                time.sleep(0.4)  # noqa: ASYNC251 - holds the loop, as a model's reply being parsed does
                await asyncio.sleep(0)

        computing = asyncio.create_task(computes())
        try:
            assert [(await limiter.reserve([charge])).admitted for _ in range(3)] == [True] * 3
        finally:
            done.set()
            await computing


async def test_a_reply_that_came_too_late_is_nobody_elses(proxy: Any, charge: Charge) -> None:
    async with connect_async(proxy.url, deadline=1, connect_deadline=5) as client:
        limiter = AsyncLimiter(client)
        await limiter.peek([charge])
        proxy.delay = 1.5
        with pytest.raises(QuotaUnavailable):
            await limiter.reserve([charge])
        proxy.delay = 0.0
        assert [(await limiter.peek([charge])).remaining for _ in range(3)] == [(99,)] * 3


def test_limiters_that_come_and_go_share_their_clients_connections(server: Any, charge: Charge) -> None:
    with connect(server.url, deadline=5, max_connections=4 * MOST_KEPT) as client:
        for _ in range(40):
            assert Limiter(client).reserve([charge]).admitted
        assert client.ping()


def test_a_forked_child_opens_a_connection_of_its_own(
    server: Any, charge: Charge, client: redis.Redis, tag: str
) -> None:
    with connect(server.url, deadline=5, client_name=tag) as mine:
        limiter = Limiter(mine)
        limiter.reserve([charge])
        before = connections(client, tag)
        child = os.fork()
        if child == 0:
            ok = limiter.reserve([charge]).remaining == (98,)
            os._exit(0 if ok and not set(connections(client, tag)) <= set(before) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert limiter.reserve([charge]).remaining == (97,)
        assert set(before) <= set(connections(client, tag))


def make(**options: Any) -> Callable[[str], redis.Redis]:
    return lambda url: connect(url, **options)


@pytest.mark.parametrize(
    "client_of",
    [
        make(protocol=3),
        make(max_connections=2),
        make(health_check_interval=5),
        lambda url: redis.Redis.from_url(url, single_connection_client=True, protocol=2),
        lambda url: type("Traced", (redis.Redis,), {}).from_url(url, protocol=2),
    ],
    ids=["RESP3", "a small pool", "health checks", "one connection", "a subclass"],
)
def test_other_clients_are_asked_themselves(
    server: Any, charge: Charge, client_of: Callable[[str], redis.Redis]
) -> None:
    with client_of(server.url) as other:
        assert Line.of(other) is None
        assert Limiter(other).reserve([charge]).admitted


async def test_our_own_clients_are_not(server: Any) -> None:
    with connect(server.url) as client:
        assert Line.of(client) is Line.of(client) is not None
    async with connect_async(server.url) as aclient:
        assert AsyncLine.of(aclient) is AsyncLine.of(aclient) is not None


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_connection_that_was_closed_does_not_cost_the_one_replay(
    proxy: Any, charge: Charge, client: redis.Redis, tag: str, colour: str
) -> None:
    with connect(proxy.url, deadline=5, client_name=tag) as made:
        async with connect_async(proxy.url, deadline=5, connect_deadline=5, client_name=tag) as amade:
            limiter: Any = Limiter(made) if colour == "sync" else AsyncLimiter(amade)
            await settled(limiter.reserve([charge]))
            for number in connections(client, tag):
                client.client_kill_filter(_id=number)
            await asyncio.sleep(0.15)
            proxy.lose = 1
            assert (await settled(limiter.reserve([charge]))).remaining == (98,)
            assert proxy.lost == 1


@pytest.mark.parametrize("made_by", [connect, connect_async])
@pytest.mark.parametrize(
    ("patience", "seconds"),
    [({}, 0.25), ({"deadline": 5.0}, 5.0), ({"deadline": 5.0, "connect_deadline": 1.0}, 1.0)],
    ids=["usually", "with a patient caller", "as said"],
)
def test_a_new_connection_may_take_as_long_as_a_reply(made_by: Any, patience: Any, seconds: float) -> None:
    client = made_by("unix:///nowhere", **patience)
    assert client.connection_pool.connection_kwargs["socket_connect_timeout"] == seconds

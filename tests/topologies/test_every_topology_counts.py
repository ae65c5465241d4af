"""The limiter over one server, sentinels and a cluster: the same decisions, in both colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model import Charge, ConfigError, Limit
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from tests.topologies.conftest import HOUR, PATIENCE, charge
from tests.topologies.servers import Cluster, Process, Sentinels


async def test_a_limit_is_reserved_settled_and_refused(decide: Callable[..., Any], tag: str) -> None:
    first = await decide("reserve", [charge(tag, 4, of=10)])
    assert first.admitted
    assert first.remaining == (6,)
    assert not (await decide("reserve", [charge(tag, 7, of=10)])).admitted
    assert await decide("settle", first.reservation, (-3,))
    assert not await decide("settle", first.reservation, (-3,))
    assert (await decide("peek", [charge(tag, 1, of=10)])).remaining == (9,)


async def test_every_kind_of_limit_shares_one_call(decide: Callable[..., Any], tag: str) -> None:
    slots = Charge(f"{{{tag}}}:q:team:t:concurrency", Limit(amount=2, period_us=HOUR, kind="slots"), 1)
    charges = [charge(tag, of=3), slots]
    held = [await decide("reserve", charges) for _ in range(2)]
    assert all(decision.admitted for decision in held)
    assert (await decide("reserve", charges)).binding == 1
    assert await decide("renew", [held[0].reservation]) == [True]
    assert await decide("cancel", held[0].reservation.id, charges)
    assert (await decide("reserve", charges)).admitted


async def test_tags_that_lie_apart_are_one_decision(decide: Callable[..., Any], tag: str) -> None:
    charges = [charge(f"{tag}-{part}", 2, of=4) for part in range(6)]
    decision = await decide("reserve", charges)
    assert decision.remaining == (2,) * 6
    refused = await decide("reserve", [*charges[:5], charge(f"{tag}-5", 3, of=4)])
    assert not refused.admitted
    assert refused.binding == 5
    assert refused.remaining == (2,) * 6
    assert await decide("settle", decision.reservation, (-2,) * 6)
    assert (await decide("peek", charges)).remaining == (4,) * 6


async def test_a_script_nobody_knows_any_more_is_sent_again(
    decide: Callable[..., Any], tag: str, request: pytest.FixtureRequest
) -> None:
    await decide("reserve", [charge(tag)])
    for node in _servers(request):
        node.client.script_flush()
    assert (await decide("reserve", [charge(tag)])).remaining == (8,)


def _servers(request: pytest.FixtureRequest) -> list[Process]:
    place = request.getfixturevalue("url")
    if "cluster" in place:
        return request.getfixturevalue("cluster").primaries()  # type: ignore[no-any-return]
    if "sentinel" in place:
        return [request.getfixturevalue("sentinels").primary()]
    return [request.getfixturevalue("server")]


def test_a_cluster_under_the_url_of_one_server_is_a_mistake(cluster: Cluster, tag: str) -> None:
    other = next(node for node in cluster.primaries() if node is not cluster.holder(charge(tag).key))
    with (
        connect(other.url, deadline=PATIENCE) as client,
        pytest.raises(ConfigError, match=r"redis\+cluster://"),
    ):
        Limiter(client).reserve([charge(tag)])


def test_one_server_under_the_url_of_a_cluster_is_a_mistake(server: Process, tag: str) -> None:
    with (
        connect(f"redis+cluster://{server.host}", deadline=PATIENCE) as client,
        pytest.raises(ConfigError, match="not part of a cluster"),
    ):
        Limiter(client).reserve([charge(tag)])


def test_a_service_no_sentinel_knows_is_a_mistake(sentinels: Sentinels, tag: str) -> None:
    url = sentinels.url.replace(sentinels.service, "another")
    with connect(url, deadline=PATIENCE) as client, pytest.raises(ConfigError, match="they know: mymaster"):
        Limiter(client).reserve([charge(tag)])


def test_a_server_under_the_url_of_sentinels_is_a_mistake(server: Process, tag: str) -> None:
    with (
        connect(f"redis+sentinel://{server.host}/x", deadline=PATIENCE) as client,
        pytest.raises(ConfigError),
    ):
        Limiter(client).reserve([charge(tag)])


async def test_mistakes_of_the_url_are_told_on_an_event_loop_too(
    sentinels: Sentinels, server: Process, tag: str
) -> None:
    unknown = sentinels.url.replace(sentinels.service, "another")
    for url, says in (
        (unknown, r"they know: mymaster\. Check MESH_REDIS_URL"),
        (f"redis+cluster://{server.host}", "not part of a cluster"),
        (f"redis+sentinel://{server.host}/x", "will not by itself"),
    ):
        async with connect_async(url, deadline=PATIENCE) as client:
            with pytest.raises(ConfigError, match=says):
                await AsyncLimiter(client).reserve([charge(tag)])

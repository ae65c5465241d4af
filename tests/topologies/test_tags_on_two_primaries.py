"""A team's limit on one primary of the cluster and one that spans teams on another, which is away.

The outcome is what the limits' own policies say; whatever it is, nothing stays charged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from mesh_store.model import Charge, QuotaUnavailable
from mesh_store.redis import Limiter, connect, connect_async
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedAsyncLimiter, GuardedLimiter
from mesh_store.redis.outage import OutagePolicy
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.servers import Cluster, Process, eventually, passed_on

MONTH = 30 * 86_400_000_000


class Apart(NamedTuple):
    """Two tags on two primaries."""

    team: str
    wide: str
    holder: Process


@pytest.fixture
def apart(cluster: Cluster, tag: str) -> Apart:
    home = cluster.holder(charge(tag).key)
    for n in range(100):
        wide = f"{tag}-wide{n}"
        holder = cluster.holder(charge(wide).key)
        if holder is not home:
            return Apart(tag, wide, holder)
    raise AssertionError("one primary holds a hundred tags")


def charges(apart: Apart, **policy: Any) -> list[Charge]:
    return [charge(tag, 2, of=10, period_us=MONTH, **policy) for tag in (apart.team, apart.wide)]


@pytest.fixture(params=["sync", "async"])
async def reserve(request: pytest.FixtureRequest, cluster: Cluster) -> Any:
    """Reserve through a guard of one process, in either colour."""
    guard = Guard(Breaker(), OutagePolicy(lambda: 1))
    rules = {"deadline": 0.3, "connect_deadline": 0.3}
    with connect(cluster.url, **rules) as client:
        async with connect_async(cluster.url, **rules) as aclient:
            limiter, alimiter = GuardedLimiter(client, guard), GuardedAsyncLimiter(aclient, guard)
            limiter.peek([charge("warm")])
            await alimiter.peek([charge("warm")])

            async def call(asked: list[Charge], **options: Any) -> Any:
                if request.param == "sync":
                    return limiter.reserve(asked, **options)
                return await alimiter.reserve(asked, **options)

            yield call


@pytest.fixture
def away(cluster: Cluster, apart: Apart) -> Iterator[Callable[[], None]]:
    """Take the wide limit's primary away, and let nobody take its place; give it back in the end."""
    replica = cluster.replica_of(apart.holder)

    def take() -> None:
        replica.pause()
        apart.holder.kill()

    yield take
    replica.resume()


def untouched(cluster: Cluster, asked: list[Charge]) -> bool:
    with contextlib.suppress(QuotaUnavailable), connect(cluster.url, deadline=PATIENCE) as client:
        return Limiter(client).peek(asked).remaining == (10,) * len(asked)
    return False


async def test_closed_limits_refuse_and_the_first_tag_gets_its_charge_back(
    cluster: Cluster, apart: Apart, away: Callable[[], None], reserve: Callable[..., Any]
) -> None:
    asked = charges(apart, on_outage="closed")
    away()
    with pytest.raises(QuotaUnavailable, match="closed while it cannot be checked"):
        await reserve(asked)
    assert untouched(cluster, asked[:1])


async def test_only_the_limits_nobody_could_check_go_by_their_policies(
    cluster: Cluster, apart: Apart, away: Callable[[], None], reserve: Callable[..., Any]
) -> None:
    home, wide = charges(apart, on_outage="closed")[0], charges(apart, on_outage="open")[1]
    away()
    decision = await reserve([home, wide])
    assert (decision.admitted, decision.enforced) == (True, False)
    assert (decision.remaining, decision.unseen) == ((8, 0), (1,))
    # The limit that is there goes on refusing, whatever the other's policy says.
    for _ in range(4):
        await reserve([home, wide])
    refused = await reserve([home, wide])
    assert (refused.admitted, refused.binding, refused.unseen) == (False, 0, (1,))
    with connect(cluster.url, deadline=PATIENCE) as client:
        assert Limiter(client).peek([home]).remaining == (0,)


@pytest.mark.parametrize("first", ["home", "wide"])
async def test_a_share_is_spent_where_only_one_primary_is_away(
    cluster: Cluster, apart: Apart, away: Callable[[], None], first: str
) -> None:
    now = [5_000_000]
    guard = Guard(Breaker(), OutagePolicy(lambda: 2, clock_us=lambda: now[0]))
    asked = charges(apart, on_outage="share")
    asked = asked if first == "home" else asked[::-1]
    with connect(cluster.url, deadline=0.5, connect_deadline=0.5) as client:
        limiter = GuardedLimiter(client, guard)
        limiter.peek([charge("warm")])
        away()
        with pytest.raises(QuotaUnavailable, match="share"):
            limiter.reserve(asked)
        # Two units of this process' half of ten a month.
        now[0] += 2 * MONTH // 5
        decision = limiter.reserve(asked)
        assert (decision.admitted, decision.enforced) == (True, False)
        with pytest.raises(QuotaUnavailable, match="share"):
            limiter.reserve(asked)
    home = asked[0] if first == "home" else asked[1]
    with connect(cluster.url, deadline=PATIENCE) as client:
        # Granted once; what a share refused was given back.
        assert Limiter(client).peek([home]).remaining == (8,)


async def test_tenants_of_other_primaries_notice_nothing(
    cluster: Cluster, apart: Apart, away: Callable[[], None]
) -> None:
    guard = Guard(Breaker(), OutagePolicy(lambda: 1))
    home, wide = charges(apart, on_outage="closed")
    with connect(cluster.url, deadline=0.5, connect_deadline=0.5) as client:
        limiter = GuardedLimiter(client, guard)
        limiter.peek([charge("warm")])
        away()
        for _ in range(8):
            with pytest.raises(QuotaUnavailable):
                limiter.reserve([wide])
        assert guard.health().opened == 1
        assert guard.health().skipped > 0
        for _ in range(5):
            decision = limiter.reserve([home])
            assert (decision.admitted, decision.enforced) == (True, True)
        assert guard.health().state != "closed"


async def test_what_the_other_primary_did_unheard_can_be_given_back_when_it_is_there_again(
    cluster: Cluster, apart: Apart, away: Callable[[], None], reserve: Callable[..., Any]
) -> None:
    asked = charges(apart, on_outage="closed")
    apart.holder.pause()  # it will do what it was asked, later, and nobody hears of it
    try:
        with pytest.raises(QuotaUnavailable):
            await reserve(asked, reservation_id=f"{apart.team}-unheard")
    finally:
        apart.holder.resume()

    def given_back() -> bool:
        # What the ring does with the id: again and again until somebody answers.
        with contextlib.suppress(QuotaUnavailable), connect(cluster.url, deadline=PATIENCE) as client:
            Limiter(client).cancel(f"{apart.team}-unheard", asked)
            return True
        return False

    eventually(given_back)
    eventually(lambda: untouched(cluster, asked))


async def test_a_reservation_is_settled_on_both_when_the_other_is_there_again(
    cluster: Cluster, apart: Apart, reserve: Callable[..., Any]
) -> None:
    asked = charges(apart)
    decision = await reserve(asked)
    assert decision.remaining == (8, 8)
    passed_on(apart.holder, cluster.replica_of(apart.holder))
    apart.holder.kill()
    with connect(cluster.url, deadline=0.5, connect_deadline=0.5) as client:
        limiter = Limiter(client)

        def settled() -> bool:
            with contextlib.suppress(QuotaUnavailable):
                limiter.settle(decision.reservation, (-2, -2))
                return True
            return False

        eventually(settled)
    assert untouched(cluster, asked)

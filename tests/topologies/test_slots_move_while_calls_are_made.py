"""A slot moves to another server of the cluster under eight callers, and parts of a cluster are away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from mesh_store.model import Charge, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from mesh_store.redis.servers.cluster import Cluster as Client
from mesh_store.redis.servers.routing import slot_of
from mesh_store.redis.servers.slots import Slots
from tests.topologies.callers import Callers
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.servers import Cluster, Process, eventually

MONTH = 30 * 86_400_000_000


class Move:
    """A slot on its way, as ``redis-cli --cluster reshard`` moves it."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self.cluster, self.slot = cluster, slot_of(key)
        self.source = cluster.holder(key)
        self.target = next(node for node in cluster.primaries() if node is not self.source)

    def begin(self) -> None:
        ids = self.cluster.id_of
        self._set(self.target, "IMPORTING", ids(self.source))
        self._set(self.source, "MIGRATING", ids(self.target))

    def carry(self, key: bytes) -> None:
        self.source.client.execute_command("MIGRATE", "127.0.0.1", self.target.port, key, 0, 5000)

    def left(self) -> list[bytes]:
        found: list[bytes] = self.source.client.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 100)
        return found

    def end(self) -> None:
        while keys := self.left():
            for key in keys:
                self.carry(key)
        for node in (self.target, self.source, *self.cluster.primaries()):
            self._set(node, "NODE", self.cluster.id_of(self.target))
        eventually(lambda: self.cluster._holder(self.slot) is self.target)

    def _set(self, node: Process, word: str, owner: str) -> None:
        node.client.execute_command("CLUSTER SETSLOT", self.slot, word, owner)


def test_callers_follow_a_slot_and_nothing_counts_twice(cluster: Cluster, tag: str) -> None:
    limit = 800
    one = charge(tag, of=limit, period_us=MONTH)
    move = Move(cluster, one.key)
    callers = Callers(cluster.url, one)
    with callers.running():
        callers.wait_for(lambda seen: len(seen.granted) >= limit // 4)
        move.begin()
        move.end()
        moved = time.monotonic()
        callers.wait_for(lambda seen: seen.heard_since(moved) >= limit // 8)
        callers.wait_for(lambda seen: seen.refused == 8)
    assert cluster.holder(one.key) is move.target
    with connect(cluster.url, deadline=PATIENCE) as client:
        limiter = Limiter(client)
        for owner in callers.unsure:
            limiter.cancel(owner, [one])
        assert limiter.peek([one]).remaining == (limit - len(callers.granted),)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_key_that_has_gone_ahead_is_asked_for_where_it_is(
    cluster: Cluster, tag: str, colour: str
) -> None:
    one = charge(tag, of=10, period_us=MONTH)
    move = Move(cluster, one.key)
    with connect(cluster.url, deadline=PATIENCE) as client:
        limiter = Limiter(client)
        decision = limiter.reserve([one])
        assert decision.reservation
        move.begin()
        for key in move.left():
            move.carry(key)
        # Both keys are there, the slot is not: the server sends us on, for this once (ASK).
        if colour == "sync":
            assert limiter.settle(decision.reservation, (-1,))
        else:
            async with connect_async(cluster.url, deadline=PATIENCE) as aclient:
                assert await AsyncLimiter(aclient).settle(decision.reservation, (-1,))
        move.end()
        # From now on for good (MOVED).
        assert limiter.peek([one]).remaining == (10,)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_keys_that_are_apart_are_an_outage_within_the_deadline(
    cluster: Cluster, tag: str, colour: str
) -> None:
    one = charge(tag, of=10, period_us=MONTH)
    move = Move(cluster, one.key)
    with connect(cluster.url, deadline=0.2) as client:
        limiter = Limiter(client)
        limiter.reserve([one])
        move.begin()
        # A new record lies nowhere yet: no server has all the keys of a reservation (TRYAGAIN).
        try:
            began = time.monotonic()
            with pytest.raises(QuotaUnavailable, match="TryAgainError"):
                if colour == "sync":
                    limiter.reserve([one])
                else:
                    async with connect_async(cluster.url, deadline=0.2) as aclient:
                        await AsyncLimiter(aclient).reserve([one])
            assert time.monotonic() - began < PATIENCE
        finally:
            move.end()
        assert limiter.reserve([one]).remaining == (8,)


@pytest.fixture
def unheld(cluster: Cluster, tag: str) -> Iterator[Charge]:
    """A charge whose slot no server holds."""
    one = charge(tag)
    slot = slot_of(one.key)
    holder = cluster.holder(one.key)
    for node in cluster.nodes:
        node.client.execute_command("CLUSTER DELSLOTS", slot) if node is holder else None
    for node in cluster.nodes:
        if node is not holder:
            with contextlib.suppress(Exception):
                node.client.execute_command("CLUSTER DELSLOTS", slot)
    yield one
    with contextlib.suppress(Exception):
        holder.client.execute_command("CLUSTER ADDSLOTS", slot)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_slot_nobody_holds_is_an_outage_and_told_at_once(
    cluster: Cluster, unheld: Charge, colour: str
) -> None:
    began = time.monotonic()
    with pytest.raises(QuotaUnavailable, match="ClusterDownError"):
        if colour == "sync":
            with connect(cluster.url, deadline=PATIENCE) as client:
                Limiter(client).reserve([unheld])
        else:
            async with connect_async(cluster.url, deadline=PATIENCE) as aclient:
                await AsyncLimiter(aclient).reserve([unheld])
    assert time.monotonic() - began < PATIENCE


def test_a_client_learns_of_a_cluster_from_any_server_that_is_left(cluster: Cluster, tag: str) -> None:
    holder = cluster.holder(charge(tag).key)
    dead = next(node for node in cluster.primaries() if node is not holder)
    dead.kill()
    seeds = f"redis+cluster://{dead.host},{holder.host}"
    with connect(seeds, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        assert Limiter(client).reserve([charge(tag)]).admitted
        assert isinstance(client, Client)


def test_slots_are_asked_for_once_and_again_when_in_doubt() -> None:
    now = [100.0]
    slots = Slots([("seed", 1)], clock=lambda: now[0])
    assert slots.shall_ask()
    assert slots.whom_to_ask() == [("seed", 1)]
    slots.learn([[0, 16383, [b"one", 1, b"id"], [b"", 2, b"id"]]], ("seed", 1))
    assert slots.servers == {("seed", 1), ("one", 1), ("seed", 2)}
    assert not slots.shall_ask()
    slots.doubt(("one", 1))
    assert not slots.shall_ask()  # asked a moment ago
    now[0] += 0.2
    assert slots.shall_ask()
    assert slots.whom_to_ask()[-1] == ("one", 1)
    assert not slots.shall_ask()
    assert slots.owner(5) == ("one", 1)

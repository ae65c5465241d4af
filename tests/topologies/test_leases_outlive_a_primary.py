"""Callers with live leases over a cluster and over sentinels, also while a primary dies under them.

A slice that the replica knew of is spent on while nobody answers, and what is left of it goes back to the
successor. One it never heard of is spent all the same: that, and what else replication lost, is all that
may be spent beyond a limit; and its end returns nothing, because the successor never gave it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from mesh_store.model import Charge
from mesh_store.redis import Limiter, connect
from tests.limits.lease_holder import Holder, tuple_of
from tests.topologies.conftest import PATIENCE
from tests.topologies.servers import Cluster, Process, eventually, passed_on

HOLDERS = 3


@pytest.fixture(params=["sentinels", "cluster"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@contextmanager
def calling(holders: Sequence[Holder]) -> Iterator[None]:
    """Let each call until it is refused; ends when all were."""
    threads = [threading.Thread(target=holder.until_refused, daemon=True) for holder in holders]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(90)
    assert all(holder.refused for holder in holders)


@contextmanager
def held_still(holders: Sequence[Holder]) -> Iterator[None]:
    """Nothing is spent, asked for, ended or on its way to Redis, while every slice stays alive."""
    with ExitStack() as held:
        for holder in holders:
            held.enter_context(holder.gate)
            held.enter_context(holder.book._lock)
        assert all(holder.recorder.flush(30) for holder in holders)
        yield


def until(holds: Callable[[], bool], holders: Sequence[Holder]) -> None:
    """Wait for something while calls are made."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        assert not any(holder.refused for holder in holders), "the limits were used up before"
        time.sleep(0.002)


def left(url: str, charges: Sequence[Charge], holders: Sequence[Holder]) -> tuple[int, ...]:
    """Units left of every limit once all was given back."""
    for holder in holders:
        holder.close()
    with connect(url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        limiter = Limiter(client)
        for holder in holders:
            for owner in holder.unsure:
                limiter.cancel(owner, charges)
        return limiter.peek(charges).remaining


def unspent(holder: Holder, known: set[str]) -> int:
    """Units that may still be drawn from slices taken since some were known, of which some was spent."""
    leases = [lease for desk in holder.book.desks() for lease in desk.leases if holder.live]
    return sum(min(lease.left) for lease in leases if lease.drawn and lease.slice.id not in known)


def cut_off(primary: Process, replica: Process) -> None:
    """Make a replica miss what its primary does from now on."""
    replica.pause()
    primary.client.execute_command("CLIENT KILL TYPE replica")


def tags_apart(cluster: Cluster) -> list[str]:
    """Hash tags that live on different primaries, one on each."""
    apart: dict[int, str] = {}
    while len(apart) < len(cluster.primaries()):
        tag = uuid.uuid4().hex[:12]
        apart.setdefault(cluster.holder(f"{{{tag}}}").port, tag)
    return list(apart.values())


def test_slices_of_limits_on_three_primaries_are_spent_and_come_back(cluster: Cluster) -> None:
    units = 1_500
    charges = tuple_of(units, *tags_apart(cluster))
    holders = [Holder(cluster.url, charges, holders=HOLDERS) for _ in range(HOLDERS)]
    with calling(holders):
        pass
    granted = sum(holder.granted for holder in holders)
    assert min(holder.leased for holder in holders) > 0
    assert left(cluster.url, charges, holders) == (units - granted, units - granted, 900) * 3


@pytest.mark.parametrize("units", [2_000, pytest.param(20_000, marks=pytest.mark.full)])
def test_nothing_is_overspent_when_the_replica_knew_of_the_slices(place: Any, tag: str, units: int) -> None:
    charges = tuple_of(units, tag)
    holders = [Holder(place.url, charges, holders=HOLDERS) for _ in range(HOLDERS)]
    primary = place.holder(charges[0].key)
    with calling(holders):
        until(lambda: all(holder.leased for holder in holders), holders)
        until(lambda: any(holder.live for holder in holders), holders)
        with held_still(holders):
            passed_on(primary, place.replica_of(primary))
            before = sum(holder.leased for holder in holders)
            primary.kill()
        eventually(lambda: place.holder(charges[0].key) is not primary)
    granted = sum(holder.granted for holder in holders)
    assert sum(holder.leased for holder in holders) > before
    soft, hard, slots = left(place.url, charges, holders)
    kept = sum(holder.abandoned for holder in holders)
    assert granted <= units
    assert units - kept <= granted + soft <= units
    assert units - kept <= granted + hard <= units
    assert slots == 900


def test_a_slice_the_successor_never_heard_of_is_overspent_once_and_returns_nothing(
    place: Any, tag: str
) -> None:
    units = 2_000
    charges = tuple_of(units, tag)
    holders = [Holder(place.url, charges, holders=HOLDERS) for _ in range(HOLDERS)]
    primary = place.holder(charges[0].key)
    replica = place.replica_of(primary)
    with calling(holders):
        until(lambda: all(holder.leased for holder in holders), holders)
        with held_still(holders):
            passed_on(primary, replica)
            cut_off(primary, replica)
            known = {one for holder in holders for one in holder.slices}
            direct = sum(holder.direct for holder in holders)
        until(lambda: any(unspent(holder, known) > 20 for holder in holders), holders)
        with held_still(holders):
            lost = {one for holder in holders for one in holder.slices} - known
            lost_calls = sum(holder.direct for holder in holders) - direct
            primary.kill()
            replica.resume()
            for holder in holders:
                holder.book.end_all()  # as when the configuration changes: with units unspent
        eventually(lambda: place.holder(charges[0].key) is not primary)
    granted = sum(holder.granted for holder in holders)
    soft, hard, _ = left(place.url, charges, holders)
    overspent = lost_calls + sum(holder.spent[one] for holder in holders for one in lost)
    kept = sum(holder.abandoned for holder in holders)
    assert max(granted + soft, granted + hard) <= units + overspent
    assert min(granted + soft, granted + hard) >= units - kept

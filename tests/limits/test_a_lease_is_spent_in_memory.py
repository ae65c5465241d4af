"""A lease: taken whole, spent in memory, given back exactly, divided among the calls that outlive it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model import Charge, Limit
from mesh_store.model.facts import Cancel, LeaseAsked, LeaseEnded
from mesh_store.model.limits import Reservation
from mesh_store.redis.lease_desk import Lease
from mesh_store.redis.leasing import Grant
from tests.limits.leasing_world import Process, World

DAY_US = 86_400_000_000
REQUESTS = Limit(amount=6_000, period_us=60_000_000, burst=600)
HARD = Limit(amount=6_000, period_us=60_000_000, burst=600, hard=True)
SLOTS = Limit(amount=200, period_us=60_000_000, kind="slots")
MONEY = Limit(amount=10**13, period_us=DAY_US, kind="window")


@pytest.fixture
def world(client: redis.Redis) -> World:
    return World(client, 1)


def four(tag: str) -> list[Charge]:
    return [
        Charge(f"{{{tag}}}:q:requests", REQUESTS, 1),
        Charge(f"{{{tag}}}:q:hard", HARD, 1),
        Charge(f"{{{tag}}}:q:slots", SLOTS, 1),
        Charge(f"{{{tag}}}:q:usd", MONEY, 10**9),
    ]


def hot(world: World, charges: list[Charge], **options: Any) -> Process:
    """A process that holds a lease: it called, ended its calls, and everything was settled."""
    for charge in charges:
        world.client.set(f"{{{charge.key[1:].split('}')[0]}}}:tracked", 0)
    process = Process(world, charges, **options)
    for _ in range(10):
        call = process.call()
        assert call is not None
        process.finish(call)
        world.passes(10_000)
    process.ship()
    process.keeper.turn()
    return process


def taken(world: World, charges: list[Charge]) -> list[int]:
    """Units gone from each limit, as Redis sees it."""
    decision = world.limiter.peek(
        [msgspec.structs.replace(c, amount=0) for c in charges], now_us=world.now_us
    )
    full = [charge.limit.burst if charge.limit.kind == "rate" else charge.limit.amount for charge in charges]
    return [most - left for most, left in zip(full, decision.remaining, strict=True)]


def entries(world: World, charges: list[Charge]) -> dict[bytes, bytes]:
    """What is open in the budget, by reservation."""
    [key] = world.client.keys(f"{charges[3].key}:w:*")
    found = world.client.hgetall(key)
    return {name: value for name, value in found.items() if name.startswith(b"r:")}


def soft(amounts: Sequence[int]) -> tuple[Charge, ...]:
    return tuple(Charge(f"{{t}}:q:{place}", REQUESTS, amount) for place, amount in enumerate(amounts))


@given(st.lists(st.tuples(*[st.tuples(st.integers(0, 50), st.integers(0, 80))] * 3), min_size=1, max_size=8))
def test_soft_rates_are_trued_up_together_as_one_by_one(calls: list[tuple[tuple[int, int], ...]]) -> None:
    grant = Grant(Reservation("lease", soft([600] * 3), 1, 1), 0, (1,) * 3, (1,) * 3, 10**12)
    together, apart = Lease(grant, 9, 0), Lease(grant, 9, 0)
    assert together.plain
    for call in calls:
        charges, actual = soft([estimate for estimate, _ in call]), [took for _, took in call]
        together.true_up_all(charges, actual)
        for place, charge in enumerate(charges):
            apart.true_up(place, charge, actual[place], 5)
    assert (together.left, together.refunded) == (apart.left, apart.refunded)


@pytest.mark.parametrize("other", [HARD, SLOTS, MONEY])
def test_what_does_not_simply_come_back_is_trued_up_one_by_one(other: Limit) -> None:
    charges = (*soft([600]), Charge("{t}:q:other", other, 100))
    grant = Grant(Reservation("lease", charges, 1, 1), 0, (1,) * 2, (1,) * 2, 10**12)
    assert not Lease(grant, 9, 0).plain


def test_a_call_under_a_lease_asks_nobody(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    before = world.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    call = process.call()
    assert call is not None
    assert world.leased == 1
    process.finish(call)
    assert world.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before


def test_a_slice_leaves_what_others_may_want(world: World, tag: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    [desk] = process.book.desks()
    [lease] = desk.leases
    # One live process: twice the slice was free of every limit.
    for charge, held, gone in zip(charges, lease.slice.charges, taken(world, charges), strict=True):
        full = charge.limit.burst if charge.limit.kind == "rate" else charge.limit.amount
        assert 0 < 2 * held.amount <= full - gone + held.amount


def test_a_slice_is_there_before_the_last_is_spent(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    [desk] = process.book.desks()
    [first] = desk.leases
    while first.drawn < first.low:
        assert desk.due(process.clock()) is False
        process.call()
    process.keeper.turn()
    assert [lease.drawn for lease in desk.leases] == [first.low, 0]
    assert not first.spent


def test_a_lease_is_not_spent_beyond_its_ttl(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    [desk] = process.book.desks()
    world.passes(desk.ttl_us - 1)
    process.call()
    assert world.leased == 1
    world.passes(1)
    process.call()
    assert world.leased == 1


def test_a_lease_is_not_spent_beyond_the_window_of_its_budget(world: World, tag: str) -> None:
    midnight = world.now_us - world.now_us % DAY_US + DAY_US
    world.now_us = midnight - 300_000
    process = hot(world, four(tag))
    assert midnight - 250_000 < world.now_us < midnight
    process.call()
    assert world.leased == 1
    world.now_us = midnight
    call = process.call()
    assert world.leased == 1
    assert call is not None
    assert call.reserved_at_us == midnight


def test_what_drained_before_it_was_spent_is_not_there_twice(world: World, tag: str) -> None:
    """Directly and leased at one moment: never more than the burst."""
    limit = Limit(amount=1_000, period_us=1_000_000, burst=1_000)
    charge, ttl_us = Charge(f"{{{tag}}}:q:a", limit, 1), 125_000
    from mesh_store.redis.leasing import lease

    course = lease([charge], [(units,) for units in range(1000, 0, -1)], 1, "L", ttl_us, now_us=world.now_us)
    grant = world.limiter._driver.follow(course)
    world.passes(ttl_us)
    spent = grant.reservation.charges[0].amount
    while world.limiter.reserve([charge], now_us=world.now_us).admitted:
        spent += 1
    assert spent == limit.burst


def test_what_calls_did_not_take_is_for_the_next_call(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    [desk] = process.book.desks()
    [lease] = desk.leases
    left = list(lease.left)
    call = process.call()
    assert call is not None
    process.finish(call, [0, 0, 0, 10**8])
    assert lease.left == [left[0], left[1], left[2], left[3] - 10**8]
    call = process.call()
    assert call is not None
    process.finish(call, [3, 1, 0, 0])
    assert lease.left == [left[0] - 3, left[1] - 1, left[2], left[3] - 10**8]


def test_the_end_gives_back_the_rest_and_keeps_what_runs(world: World, tag: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    running, ended = process.call(), process.call()
    assert running is not None
    assert ended is not None
    process.finish(ended, [1, 1, 0, 5 * 10**8])
    process.book.end_all()
    process.ship()
    # Ten calls before at 10 ms each have drained but for what the slice stood on: a tenth of a second.
    gone = taken(world, charges)
    assert gone[2:] == [1, 11 * 10**9 + 5 * 10**8]
    assert entries(world, charges)[b"r:" + running.id.encode()] == b"1000:0"
    # From here on it is a call like any other: trued up once, its slot freed, its money exact.
    process.finish(running, [0, 0, 0, 10**8])
    process.ship(twice=True)
    after = taken(world, charges)
    assert [one - other for one, other in zip(gone, after, strict=True)] == [1, 1, 1, 9 * 10**8]
    assert entries(world, charges)[b"r:" + running.id.encode()] == b"100:0"


def test_ending_twice_gives_back_once(world: World, tag: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    process.call()
    process.book.end_all()
    process.ship(twice=True)
    gone = taken(world, charges)
    assert gone[2:] == [1, 11 * 10**9]
    once = hot(World(world.client, 1), four(tag + "2"))
    once.call()
    once.book.end_all()
    once.ship()
    assert taken(once.world, once.charges) == gone


def test_many_calls_outlive_one_lease(world: World, tag: str) -> None:
    wide = [Charge(f"{{{tag}}}:q:a", Limit(amount=10**6, period_us=60_000_000), 3)]
    process = hot(world, wide)
    calls = [process.call() for _ in range(200)]
    assert world.leased > 100
    process.book.end_all()
    process.ship()
    before = taken(world, wide)
    for call in calls:
        assert call is not None
        process.finish(call, [1])
    process.ship()
    assert before[0] - taken(world, wide)[0] == 400


def test_a_slot_that_is_freed_is_had_again_at_once(world: World, tag: str) -> None:
    """A call older than the lease ends: the next one in this process takes its slot without asking."""
    charges = four(tag)
    process = hot(world, charges)
    old = process.call()
    assert old is not None
    process.book.end_all()
    process.ship()
    for _ in range(10):
        call = process.call()
        assert call is not None
        process.finish(call)
        world.passes(10_000)
    process.ship()
    process.keeper.turn()
    [desk] = process.book.desks()
    [lease] = desk.leases
    slots = lease.left[2]
    process.finish(old)
    assert lease.left[2] == slots + 1
    held = taken(world, charges)[2]
    process.ship()
    assert taken(world, charges)[2] == held
    process.book.end_all()
    process.ship()
    assert taken(world, charges)[2] == 0


@pytest.mark.parametrize("when", ["asked", "granted", "drawn"])
def test_a_killed_holder_leaves_its_money_exact(world: World, tag: str, when: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    if when == "asked":
        # The grant was never heard.
        while not isinstance(process.ring.pop(), LeaseAsked):
            pass
    running = process.call() if when == "drawn" else None
    ended = process.call() if when == "drawn" else None
    if ended is not None:
        process.finish(ended, [1, 1, 0, 7 * 10**8])
    process.drain()
    found = entries(world, charges)
    assert len(found) == 10 + (2 if when == "drawn" else 0)
    assert taken(world, charges)[2] == 0
    money = taken(world, charges)[3]
    assert money == 10 * 10**9 + (17 * 10**8 if running else 0)


def test_until_the_ring_is_drained_its_money_is_not_spent_again(world: World, tag: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    [desk] = process.book.desks()
    [lease] = desk.leases
    process.call()
    world.passes(3_600_000_000)
    assert taken(world, charges)[3] >= 10 * 10**9 + lease.slice.charges[3].amount


def test_another_limit_under_the_same_key_is_not_drawn_from(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    process.charges = [
        msgspec.structs.replace(charge, limit=msgspec.structs.replace(charge.limit, amount=5_999))
        if charge.limit is REQUESTS
        else charge
        for charge in process.charges
    ]
    process.call()
    assert world.leased == 0


def test_a_cancelled_call_gives_all_it_drew_back(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    [desk] = process.book.desks()
    [lease] = desk.leases
    left = list(lease.left)
    call = process.call()
    assert call is not None
    assert process.book.cancel(Cancel(call.id, call.charges))
    assert lease.left == left
    assert not process.book.cancel(Cancel(call.id, call.charges))


def test_what_a_process_hoards_comes_back_before_it_is_refused(world: World, tag: str) -> None:
    charges = four(tag)
    process = hot(world, charges)
    assert process.book.give_back(charges[0].key)
    assert isinstance(process.ring[-1], LeaseEnded)
    assert not process.book.give_back(charges[0].key)
    # And for a while nothing is leased: near the limit every call is decided by Redis.
    for _ in range(20):
        process.call()
    process.keeper.turn()
    assert world.leased == 0


SMALL: list[Callable[[str], Charge]] = [
    lambda tag: Charge(f"{{{tag}}}:q:a", Limit(amount=60, period_us=60_000_000, burst=6), 1),
    lambda tag: Charge(f"{{{tag}}}:q:a", Limit(amount=1_000_000, period_us=60_000_000, burst=6_000), 1),
    lambda tag: Charge(f"{{{tag}}}:q:a", Limit(amount=10, period_us=60_000_000, kind="slots"), 4),
    lambda tag: Charge(f"{{{tag}}}:q:a", REQUESTS, 1, enforce=False),
    lambda tag: Charge(f"{{{tag}}}:q:a", msgspec.structs.replace(REQUESTS, lease=False), 1),
    lambda tag: Charge(f"{{{tag}}}:q:a", Limit(amount=10_000, period_us=DAY_US, kind="distinct"), 7),
]


@pytest.mark.parametrize("number", range(len(SMALL)), ids=["small", "fast", "few", "shadow", "off", "apart"])
def test_a_limit_without_room_to_spare_is_not_leased(world: World, tag: str, number: int) -> None:
    process = Process(world, [SMALL[number](tag)])
    for _ in range(12):
        call = process.call()
        if call is not None:
            process.finish(call)
        process.ship()
        process.keeper.turn()
    assert world.leased == 0


def test_a_crowd_seen_once_does_not_keep_out_what_is_hot(world: World, tag: str) -> None:
    crowded = Process(world, [])
    for number in range(1_100):
        crowded.book.draw([Charge(f"{{{tag}}}:q:{number}", REQUESTS, 1)], f"c{number}")
    world.passes(1_000_000)
    crowded.charges = four(tag)
    world.client.set(f"{{{tag}}}:tracked", 0)
    for _ in range(10):
        call = crowded.call()
        assert call is not None
        crowded.finish(call)
    crowded.ship()
    crowded.keeper.turn()
    crowded.call()
    assert world.leased == 1


def test_a_desk_forgets_without_io_after_a_fork(world: World, tag: str) -> None:
    process = hot(world, four(tag))
    records = len(process.ring)
    process.book._begin()
    process.call()
    assert world.leased == 0
    assert len(process.ring) == records

"""Concurrent checks of one team travel together, first come first served, each all or nothing."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, joining
from mesh_store.redis.answers import Answer
from mesh_store.redis.asks import Ask, asks_of
from mesh_store.redis.joining import Joiner

YEAR = 365 * 86_400_000_000


def calls(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


@pytest.fixture
def charge(tag: str) -> Callable[..., Charge]:
    # A year's million drains 0.03 a second: nothing worth counting while a test runs.
    return lambda amount=1, name="key", limit=10**6: Charge(
        f"{{{tag}}}:q:{name}:requests", Limit(amount=limit, period_us=YEAR), amount
    )


async def test_64_callers_of_four_limits_share_one_call(
    alimiter: AsyncLimiter, charge: Callable[..., Charge], client: redis.Redis
) -> None:
    four = [charge(name=f"limit{number}") for number in range(4)]
    # The first of a burst goes ahead; after it whole turns of the loop go together.
    await asyncio.gather(*[alimiter.reserve(four) for _ in range(3)])
    before = calls(client)
    decisions = await asyncio.gather(*[alimiter.reserve(four) for _ in range(64)])
    assert calls(client) - before == 1
    assert sorted(decision.remaining[0] for decision in decisions) == list(range(10**6 - 67, 10**6 - 3))


async def test_no_call_carries_more_than_256_charges(
    alimiter: AsyncLimiter, charge: Callable[..., Charge], client: redis.Redis
) -> None:
    eight = [charge(name=f"limit{number}") for number in range(8)]
    await asyncio.gather(*[alimiter.reserve(eight) for _ in range(3)])
    before = calls(client)
    await asyncio.gather(*[alimiter.reserve(eight) for _ in range(64)])
    assert calls(client) - before == 2


async def test_joined_callers_are_served_in_their_order(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    one = charge(limit=1_000)
    await alimiter.reserve([charge(1_000, limit=1_000)])
    booked = await asyncio.gather(*[alimiter.reserve([one], max_wait_us=YEAR) for _ in range(150)])
    waits = [decision.wait_us for decision in booked]
    assert waits == sorted(waits)
    assert len(set(waits)) == 150


async def test_a_refused_caller_costs_the_others_of_its_call_nothing(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    sizes = [3, 50, 3, 50, 3]
    decisions = await asyncio.gather(*[alimiter.reserve([charge(size, limit=10)]) for size in sizes])
    assert [decision.admitted for decision in decisions] == [True, False, True, False, True]
    assert decisions[4].remaining == (1,)


async def test_callers_who_know_different_limits_do_not_share_a_call(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    old, new = charge(limit=10), charge(limit=20)
    decisions = await asyncio.gather(*[alimiter.reserve([one]) for one in (old, new, old, new)])
    # Each change of the limit keeps the debt in units.
    assert [decision.remaining for decision in decisions] == [(9,), (18,), (7,), (16,)]


async def test_the_same_id_asked_twice_at_once_counts_once(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    twice = await asyncio.gather(*[alimiter.reserve([charge()], reservation_id="same") for _ in range(2)])
    assert twice[0] == twice[1]
    assert (await alimiter.peek([charge()])).remaining == (10**6 - 1,)


async def storm(limiter: AsyncLimiter, charge: Callable[..., Charge], callers: int, seed: int) -> None:
    rng = random.Random(seed)
    held: dict[str, int] = {}

    async def call(number: int) -> None:
        amount = 1 + number % 7
        decision = await limiter.reserve([charge(amount)], reservation_id=f"call{number}")
        assert decision.reservation
        # A crossed reply would carry another caller's id or amount.
        assert decision.reservation.id == f"call{number}"
        held[decision.reservation.id] = decision.reservation.charges[0].amount

    async def cancelled(number: int) -> None:
        task = asyncio.create_task(call(number))
        if rng.random() < 0.7:
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])

    for first in range(0, callers, 200):
        await asyncio.gather(*[cancelled(number) for number in range(first, first + 200)])
    await limiter.aclose()
    left = (await limiter.peek([charge()])).remaining[0]
    assert left == 10**6 - sum(held.values())
    assert 0 < len(held) < callers


async def test_cancelling_the_first_of_a_burst_touches_nobody_else(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    first = asyncio.create_task(alimiter.reserve([charge()]))
    await asyncio.sleep(0)
    others = [asyncio.create_task(alimiter.reserve([charge()])) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert all(decision.admitted for decision in await asyncio.gather(*others))
    assert first.cancelled()
    await alimiter.aclose()
    assert (await alimiter.peek([charge()])).remaining == (10**6 - 5,)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_storm_of_cancellations_leaves_no_charge_without_a_holder(
    alimiter: AsyncLimiter, charge: Callable[..., Charge], seed: int
) -> None:
    await storm(alimiter, charge, 600, seed)


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_ten_thousand_cancellations_leave_no_charge_without_a_holder(
    alimiter: AsyncLimiter, charge: Callable[..., Charge]
) -> None:
    await storm(alimiter, charge, 10_000, 4)


def test_threads_join_behind_a_call_under_way(
    proxy: Any, charge: Callable[..., Charge], client: redis.Redis
) -> None:
    with connect(proxy.url, deadline=5) as slow:
        limiter = Limiter(slow)
        limiter.reserve([charge()])
        proxy.delay = 0.05
        before = calls(client)
        with ThreadPoolExecutor(16) as pool:
            decisions = list(pool.map(lambda _: limiter.reserve([charge()]), range(16)))
        assert calls(client) - before <= 4
        assert sorted(decision.remaining[0] for decision in decisions) == list(range(10**6 - 17, 10**6 - 1))


def ask(name: str) -> Ask:
    [made] = asks_of([Charge("{t}:q", Limit(amount=1, period_us=1), 1)], name, 1, 1, 0)
    return made


class Gate:
    """Decides when it is told to; the first caller may be interrupted instead."""

    def __init__(self, *, interrupt_first: bool) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.interrupt_first = interrupt_first
        self.batches: list[list[str]] = []

    def decide(self, asks: Sequence[Ask], now_us: int) -> list[Answer]:
        self.batches.append([ask.id for ask in asks])
        if len(self.batches) == 1:
            self.entered.set()
            self.open.wait(60)
            if self.interrupt_first:
                raise KeyboardInterrupt
        return [Answer(ask, [1, now_us, 0, 0, 0, 0]) for ask in asks]


def waiting(joiner: Joiner, count: int) -> None:
    while sum(map(len, joiner._lanes.values())) < count:
        time.sleep(0.001)


def test_an_interrupted_thread_leaves_its_place_to_the_next() -> None:
    gate = Gate(interrupt_first=True)
    joiner = Joiner(gate.decide)  # type: ignore[arg-type]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(joiner.ask, ask("a"), 0)
        gate.entered.wait(60)
        others = [pool.submit(joiner.ask, ask(name), 0) for name in "bc"]
        waiting(joiner, 2)
        gate.open.set()
        assert [other.result(10).status for other in others] == [1, 1]  # type: ignore[union-attr]
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
    assert joiner.ask(ask("d"), 0).status == 1  # type: ignore[union-attr]
    assert not joiner._lanes


def test_members_of_an_interrupted_call_are_told_that_nobody_knows() -> None:
    gate = Gate(interrupt_first=False)
    joiner = Joiner(gate.decide)  # type: ignore[arg-type]
    second = threading.Event()
    decide = gate.decide

    def interrupted(asks: Sequence[Ask], now_us: int) -> list[Answer]:
        answers = decide(asks, now_us)
        if len(asks) == 2:
            second.set()
            raise KeyboardInterrupt
        return answers

    joiner._decide = interrupted
    with ThreadPoolExecutor(3) as pool:
        pool.submit(joiner.ask, ask("a"), 0)
        gate.entered.wait(60)
        others = [pool.submit(joiner.ask, ask(name), 0) for name in "bc"]
        waiting(joiner, 2)
        gate.open.set()
        assert second.wait(60)
        outcomes = [other.exception(10) or other.result(10) for other in others]
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {KeyboardInterrupt, QuotaUnavailable}


def test_a_thread_whose_caller_vanished_asks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "PATIENCE", 0.05)
    gate = Gate(interrupt_first=False)
    joiner = Joiner(gate.decide)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(joiner.ask, ask("a"), 0)
        gate.entered.wait(60)
        assert pool.submit(joiner.ask, ask("b"), 0).result(10).status == 1
        gate.open.set()
        assert first.result(10).status == 1  # type: ignore[union-attr]
        assert pool.submit(joiner.ask, ask("c"), 0).result(10).status == 1


def test_the_main_thread_neither_waits_for_others_nor_lets_others_wait_for_it() -> None:
    assert threading.current_thread() is threading.main_thread()
    gate, waited, asked = Gate(interrupt_first=False), [], threading.Event()
    joiner = Joiner(gate.decide)  # type: ignore[arg-type]

    def opens_when_somebody_waits() -> None:
        while not asked.is_set() and not waited:
            if any(joiner._lanes.values()):
                waited.append(True)
                gate.open.set()
            time.sleep(0.001)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(joiner.ask, ask("a"), 0)
        gate.entered.wait(60)
        joiner._decide = lambda asks, now_us: [Answer(ask, [1, 0, 0, 0, 0, 0]) for ask in asks]
        watching = pool.submit(opens_when_somebody_waits)
        assert joiner.ask(ask("b"), 0).status == 1  # type: ignore[union-attr]
        asked.set()
        watching.result(60)
        gate.open.set()
        assert first.result(60).status == 1  # type: ignore[union-attr]
    assert waited == []

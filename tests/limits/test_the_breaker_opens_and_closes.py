"""After five failures in a row nobody waits for Redis, until one probe gets through."""

import logging
import time

import pytest

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import connect
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedLimiter
from mesh_store.redis.outage import OutagePolicy


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.changes: list[bool] = []
        self.breaker = Breaker(self.changes.append, clock=lambda: self.now, jitter=lambda: 0.0)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.breaker.may_ask()
            self.breaker.failed(OSError("away"))


@pytest.fixture
def world() -> World:
    return World()


def test_four_failures_in_a_row_are_not_enough(world: World) -> None:
    world.fail(4)
    world.breaker.answered()
    world.fail(4)
    assert world.breaker.state == "closed"


def test_the_fifth_opens_it_and_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mesh.limits"):
        world.fail(5)
        assert not world.breaker.may_ask()
        world.now += 1.01
        world.fail()
    assert world.breaker.state == "open"
    assert (world.changes, world.breaker.opened, world.breaker.skipped) == ([True], 1, 1)
    assert len(caplog.records) == 1
    assert "away" in caplog.text


def test_one_probe_goes_at_a_time(world: World) -> None:
    world.fail(5)
    world.now += 1.01
    assert world.breaker.may_ask()
    assert world.breaker.state == "probing"
    assert not world.breaker.may_ask()
    world.breaker.given_up()
    assert world.breaker.may_ask()


def test_pauses_double_up_to_half_a_minute(world: World) -> None:
    world.fail(5)
    pauses = []
    for _ in range(7):
        pauses.append(round(world.breaker.retry_after_s, 6))
        world.now += world.breaker.retry_after_s
        world.fail()
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_pauses_differ_by_chance() -> None:
    pauses = set()
    for _ in range(20):
        breaker = Breaker(clock=lambda: 0.0)
        for _ in range(5):
            breaker.failed(OSError("away"))
        pauses.add(breaker.retry_after_s)
    assert len(pauses) > 10
    assert all(0.8 <= pause <= 1.2 for pause in pauses)


def test_an_answer_closes_it_and_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fail(5)
    world.now += 2
    assert world.breaker.may_ask()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mesh.limits"):
        world.breaker.answered()
        world.breaker.answered()
    assert (world.breaker.state, world.changes, len(caplog.records)) == ("closed", [True, False], 1)
    world.fail(5)
    assert world.breaker.retry_after_s == 1.0


def test_while_open_decisions_take_less_than_a_millisecond_and_ask_nobody() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(OSError("away"))
    limiter = GuardedLimiter(connect("unix:///nonexistent/socket"), Guard(breaker, OutagePolicy()))
    charge = Charge("{t}:q:a", Limit(amount=1, period_us=1_000_000, on_outage="closed"), 1)
    took = []
    for _ in range(200):
        started = time.perf_counter()
        with pytest.raises(QuotaUnavailable) as caught:
            limiter.reserve([charge])
        took.append(time.perf_counter() - started)
    assert sorted(took)[100] < 0.001
    assert caught.value.asked is False
    assert breaker.failures == 5

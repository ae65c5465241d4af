"""The limiter in memory and the one over Redis keep one contract: what a test saw holds in production."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_plugins.testing.limiter import MemoryLimiter
from mesh_store.model.limits import Charge, Decision, Limit, Reservation
from mesh_store.redis import Budgets, Limiter, connect
from tests.engines import Engines

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
T0 = 1_000_000_000


class InMemory:
    """The limiter of `MemoryMesh`, on a clock of the test's."""

    def __init__(self) -> None:
        self.now_us = T0
        self._limiter = MemoryLimiter(lambda: self.now_us)
        self.reserve, self.peek, self.settle = (
            self._limiter.reserve,
            self._limiter.peek,
            self._limiter.settle,
        )

    def counted(self, charge: Charge) -> None:
        """In memory every window is counted."""


class OverRedis:
    """The limiter of `Mesh`: the same verbs, the clock handed to the script."""

    def __init__(self, client: redis.Redis) -> None:
        self.now_us = T0
        self._limiter, self._budgets = Limiter(client), Budgets(client)

    def reserve(self, charges: Sequence[Charge], **options: Any) -> Decision:
        return self._limiter.reserve(charges, now_us=self.now_us, **options)

    def peek(self, charges: Sequence[Charge]) -> Decision:
        return self._limiter.peek(charges, now_us=self.now_us)

    def settle(self, reservation: Reservation, deltas: Sequence[int] = ()) -> bool:
        return self._limiter.settle(reservation, deltas, now_us=self.now_us)

    def counted(self, charge: Charge) -> None:
        """Do as a collector that found nothing spent in the charge's window."""
        self._budgets.commit(
            charge.key, charge.limit, self.now_us, spent_pico=0, version=1, now_us=self.now_us
        )


@pytest.fixture(scope="module")
def client(mesh_engines: Engines) -> Iterator[redis.Redis]:
    with connect(mesh_engines.redis_url, deadline=5.0) as client:
        yield client


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest, client: redis.Redis) -> Any:
    return InMemory() if request.param == "memory" else OverRedis(client)


@pytest.fixture
def charge() -> Callable[..., Charge]:
    return charges_of(uuid.uuid4().hex[:12])


def charges_of(tag: str) -> Callable[..., Charge]:
    def charge(name: str, limit: Limit, amount: int = 1, **more: Any) -> Charge:
        return Charge(f"{{{tag}}}:q:{name}:requests", limit, amount, **more)

    return charge


def test_all_are_taken_or_none(limiter, charge):
    wide, narrow = Limit(amount=100, period_us=MINUTE_US), Limit(amount=2, period_us=MINUTE_US)
    charges = [charge("team", wide), charge("key", narrow)]
    assert [limiter.reserve(charges).admitted for _ in range(3)] == [True, True, False]
    refused = limiter.reserve(charges)
    assert (refused.binding, refused.retry_after_us) == (1, MINUTE_US // 2)
    assert refused.reservation is None
    assert limiter.peek(charges).remaining == (98, 0)


def test_what_is_given_back_can_be_taken_again_and_only_once(limiter, charge):
    tokens = charge("key", Limit(amount=100, period_us=MINUTE_US), 80)
    reservation = limiter.reserve([tokens]).reservation
    assert limiter.settle(reservation, (-70,)) is True
    assert limiter.settle(reservation, (-70,)) is False
    assert limiter.peek([tokens]).remaining == (90,)


def test_a_settlement_may_take_more_than_was_reserved(limiter, charge):
    tokens = charge("key", Limit(amount=100, period_us=MINUTE_US), 10)
    limiter.settle(limiter.reserve([tokens]).reservation, (110,))
    assert limiter.peek([tokens]).remaining == (0,)
    assert limiter.reserve([tokens]).retry_after_us == 18_000_000  # 120 taken: thirty units to come back


def test_a_settlement_without_figures_is_as_reserved(limiter, charge):
    tokens = charge("key", Limit(amount=100, period_us=MINUTE_US), 30)
    assert limiter.settle(limiter.reserve([tokens]).reservation) is True
    assert limiter.peek([tokens]).remaining == (70,)


def test_the_same_id_is_answered_the_same_and_takes_nothing_more(limiter, charge):
    one = charge("key", Limit(amount=2, period_us=MINUTE_US))
    name = str(uuid.uuid4())
    first = limiter.reserve([one], reservation_id=name)
    again = limiter.reserve([one], reservation_id=name)
    assert (again.admitted, again.reservation.id) == (True, first.reservation.id)
    assert limiter.peek([one]).remaining == (1,)


def test_more_than_fits_at_all_never_will(limiter, charge):
    big = charge("key", Limit(amount=60, period_us=MINUTE_US, burst=5), 6)
    refused = limiter.reserve([big], max_wait_us=10 * MINUTE_US)
    assert (refused.admitted, refused.retry_after_us) == (False, None)


def test_a_wait_is_booked_and_the_next_one_waits_behind_it(limiter, charge):
    one = charge("key", Limit(amount=6, period_us=MINUTE_US, burst=1))
    waits = [limiter.reserve([one], max_wait_us=MINUTE_US).wait_us for _ in range(3)]
    assert waits == [0, MINUTE_US // 6, MINUTE_US // 3]


def test_time_brings_room(limiter, charge):
    one = charge("key", Limit(amount=6, period_us=MINUTE_US, burst=1))
    assert limiter.reserve([one]).admitted
    refused = limiter.reserve([one])
    limiter.now_us += refused.retry_after_us - 1
    assert not limiter.reserve([one]).admitted
    limiter.now_us += 1
    assert limiter.reserve([one]).admitted


def test_shadow_limits_never_refuse_and_never_overshoot(limiter, charge):
    charges = [charge("key", Limit(amount=1, period_us=MINUTE_US), enforce=False)]
    assert limiter.reserve(charges).shadow_denied == ()
    denied = limiter.reserve(charges)
    assert (denied.admitted, denied.shadow_denied) == (True, (0,))
    assert limiter.settle(denied.reservation, (-1,)) is True
    assert limiter.peek(charges).remaining == (0,)


def test_a_budget_is_spent_by_the_calendar_day_and_comes_back_at_midnight(limiter, charge):
    budget = Limit(amount=5_000_000, period_us=DAY_US, kind="window", tz="Europe/Berlin")
    call, rest = charge("usd", budget, 3_000_000), charge("usd", budget, 2_000_000)
    limiter.now_us += DAY_US
    limiter.counted(call)
    limiter.settle(limiter.reserve([call]).reservation, (0,))
    refused = limiter.reserve([call])
    assert (refused.admitted, refused.remaining) == (False, (2_000_000,))
    # It is 01:16:40 in Berlin, in winter.
    assert refused.retry_after_us == DAY_US - T0 - 3_600_000_000
    assert limiter.reserve([rest]).admitted
    limiter.now_us += refused.retry_after_us
    limiter.counted(call)
    assert limiter.reserve([call]).admitted


def test_what_a_call_spent_belongs_to_the_day_it_was_reserved_on(limiter, charge):
    budget = Limit(amount=5_000_000, period_us=DAY_US, kind="window")
    call = charge("usd", budget, 1_000_000)
    limiter.counted(call)
    late = limiter.reserve([call]).reservation
    limiter.now_us += DAY_US
    limiter.counted(call)
    limiter.settle(late, (3_000_000,))
    assert limiter.peek([call]).remaining == (5_000_000,)


def test_more_than_a_budget_never_fits(limiter, charge):
    call = charge("usd", Limit(amount=5, period_us=DAY_US, kind="window"), 6)
    limiter.counted(call)
    assert limiter.reserve([call]).retry_after_us is None
    slots = charge("slots", Limit(amount=1, period_us=MINUTE_US, kind="slots"), 2)
    assert limiter.reserve([slots]).retry_after_us is None


@pytest.mark.parametrize("deltas", [(-1,), (0,), ()])
def test_a_slot_is_free_again_when_its_call_is_settled(limiter, charge, deltas):
    slot = charge("slots", Limit(amount=1, period_us=MINUTE_US, kind="slots"))
    held = limiter.reserve([slot])
    assert (held.admitted, limiter.reserve([slot]).admitted) == (True, False)
    limiter.settle(held.reservation, deltas)
    assert limiter.reserve([slot]).admitted


LIMITS = (
    Limit(amount=7, period_us=1_000_000, burst=3),
    Limit(amount=100, period_us=MINUTE_US, burst=10),
    Limit(amount=3, period_us=10_000, burst=1),
)
_step = st.tuples(
    st.sampled_from(["reserve", "reserve", "peek", "settle"]),
    st.integers(0, 400_000),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=3, unique_by=lambda p: p[0]
    ),
    st.sampled_from([0, 0, 1_000_000]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_step, min_size=1, max_size=12))
def test_any_history_of_rates_is_decided_alike(client, steps):
    charge = charges_of(uuid.uuid4().hex[:12])
    both = (InMemory(), OverRedis(client))
    held: list[tuple[Reservation, Reservation]] = []
    for verb, passed, asked, wait in steps:
        for limiter in both:
            limiter.now_us += passed
        charges = [charge(str(which), LIMITS[which], amount) for which, amount in asked]
        if verb == "settle" and held:
            pair = held.pop(0)
            deltas = tuple(asked[0][1] - each.amount for each in pair[0].charges)
            assert both[0].settle(pair[0], deltas) == both[1].settle(pair[1], deltas)
            continue
        if verb == "reserve":
            one, other = (limiter.reserve(charges, max_wait_us=wait) for limiter in both)
            if one.reservation and other.reservation:
                held.append((one.reservation, other.reservation))
        else:
            one, other = (limiter.peek(charges) for limiter in both)
        assert told(one) == told(other)


def told(decision: Decision) -> tuple[Any, ...]:
    """What a decision says, without ids."""
    said = (decision.remaining, decision.reset_after_us, decision.retry_after_us, decision.wait_us)
    return (decision.admitted, *said, decision.shadow_denied)

"""A world of processes in virtual time: real scripts, real books and keepers, rings that are lists."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import redis

from mesh_store.model import Charge, Limit
from mesh_store.model.facts import LeaseAsked, LeaseEnded, Settlement, SlotsMoved
from mesh_store.model.limits import Reservation
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_keeper import LeaseKeeper
from mesh_store.redis.leasing import Grant, LeasingLimiter
from mesh_store.redis.leasing import end as end_course
from mesh_store.redis.leasing import lease as lease_course
from mesh_store.redis.steps import mint_id

#: 2001-09-09, so that every time is whole and far from 0.
BEGAN_US = 10**15


class World:
    """The server and the one true time.

    Attributes:
        now_us: the time.
        spent: what calls took, by limit key: (when, units).
        greedy: True when slices take all there is.
    """

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self.limiter = LeasingLimiter(client)
        self.client = client
        self.random = random.Random(seed)
        self.now_us = BEGAN_US
        self.spent: dict[str, list[tuple[int, int]]] = {}
        self.greedy = False
        self.leased = self.direct = self.refused = 0

    def passes(self, us: int) -> None:
        self.now_us += us


class Process:
    """One process: a book, its keeper, a ring, calls that run."""

    def __init__(
        self, world: World, charges: Sequence[Charge], *, leases: bool = True, skew_us: int = 0
    ) -> None:
        self.world, self.charges, self.leases = world, charges, leases
        self.ring: deque[Any] = deque()
        self.running: list[Reservation] = []
        self.clock: Callable[[], int] = lambda: world.now_us - BEGAN_US + 10**9 + skew_us
        self.book = LeaseBook(clock_us=self.clock)
        self.book.ledger = self
        self.keeper = LeaseKeeper(
            self.book, lambda: self, lambda: 1, clock_us=self.clock, wall_us=lambda: world.now_us
        )
        self.book.wanted = lambda: None

    # What a ledger and a limiter are to the book and its keeper.

    def lease(self, *asked: Any) -> Any:
        if len(asked) == 1:
            self.ring.append(asked[0])
            return True
        charges, slices, share, *rest = asked
        if self.world.greedy:
            # As much as there is, and nothing left for others: only the bound itself holds it back.
            slices = [tuple([4 * units for units in slices[0]]), *slices[1:]]
            share = 1
        course = lease_course(charges, slices, share, *rest, now_us=self.world.now_us)
        grant: Grant | None = self.world.limiter._driver.follow(course)
        return grant

    # What calls do.

    def call(self, amounts: Sequence[int] | None = None) -> Reservation | None:
        world = self.world
        charges = [
            Charge(charge.key, charge.limit, amounts[place] if amounts else charge.amount, charge.enforce)
            for place, charge in enumerate(self.charges)
        ]
        owner = mint_id()
        decision = self.book.draw(charges, owner) if self.leases else None
        if decision is not None:
            world.leased += 1
        else:
            decision = world.limiter.reserve(charges, reservation_id=owner, now_us=world.now_us)
            world.direct += decision.admitted
            world.refused += not decision.admitted
        if decision.reservation is None:
            return None
        self.running.append(decision.reservation)
        return decision.reservation

    def finish(self, reservation: Reservation, actual: Sequence[int] | None = None) -> None:
        self.running.remove(reservation)
        amounts = actual or [charge.amount for charge in reservation.charges]
        self.book.settle(Settlement(reservation, tuple(amounts)), self.ring.append)

    def spend(self, amounts: Sequence[int] | None = None) -> Reservation | None:
        """Call, and note what was spent just now."""
        reservation = self.call(amounts)
        for charge in reservation.charges if reservation else ():
            self.world.spent.setdefault(charge.key, []).append((self.world.now_us, charge.amount))
        return reservation

    # What the shipper does.

    def ship(self, most: int = 10**6, *, twice: bool = False) -> None:
        for _ in range(min(most, len(self.ring))):
            record = self.ring.popleft()
            for _ in range(1 + twice):
                self._apply(record)

    def _apply(self, record: Any) -> None:
        limiter, now = self.world.limiter, self.world.now_us
        if isinstance(record, Settlement):
            limiter.settle(record.reservation, record.deltas, now_us=now)
        elif isinstance(record, LeaseEnded):
            limiter._driver.follow(end_course(record, now_us=now))
        elif isinstance(record, SlotsMoved):
            limiter.move_slots(record, now_us=now)

    def drain(self) -> None:
        """What somebody else does with the ring of a dead process."""
        asked = {record.lease.id: record.lease for record in self.ring if isinstance(record, LeaseAsked)}
        ended = {record.lease.id for record in self.ring if isinstance(record, LeaseEnded)}
        self.ship()
        for reservation in self.running:
            self.world.limiter.settle(reservation, now_us=self.world.now_us)
        self.running.clear()
        for lease_id, lease in asked.items():
            if lease_id not in ended:
                self._apply(LeaseEnded.abandoned(lease))


def excess(spent: list[tuple[int, int]], limit: Limit) -> Fraction:
    """Return by how many units any stretch of time exceeded burst + rate * T; at most 0 when none did."""
    rate = Fraction(limit.amount - limit.burst if limit.hard else limit.amount, limit.period_us)
    lowest, worst, total = Fraction(0), Fraction(-limit.burst), 0
    first = spent[0][0] if spent else 0
    for at_us, units in sorted(spent):
        drained = rate * (at_us - first)
        lowest = min(lowest, total - drained)
        total += units
        worst = max(worst, total - drained - lowest - limit.burst)
    return worst


def most_in_a_period(spent: list[tuple[int, int]], limit: Limit) -> int:
    spent = sorted(spent)
    worst = start = total = 0
    for at_us, units in spent:
        total += units
        while spent[start][0] <= at_us - limit.period_us:
            total -= spent[start][1]
            start += 1
        worst = max(worst, total)
    return worst

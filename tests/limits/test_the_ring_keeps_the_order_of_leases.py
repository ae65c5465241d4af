"""The shipper ends a lease after the calls that ended under it, and before those that outlived it."""

from typing import Any

import msgspec

from mesh_store.model import Charge, Limit
from mesh_store.model.facts import Settlement
from mesh_store.redis import Limiter, connect
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_keeper import LeaseKeeper
from mesh_store.redis.leasing import LeasingLimiter
from mesh_store.telemetry import Recorder

DAY_US = 86_400_000_000
TOKENS = Limit(amount=10**6, period_us=DAY_US, burst=10**6)
MONEY = Limit(amount=10**13, period_us=DAY_US, kind="window")


def test_a_call_that_outlives_its_lease_is_trued_up_all_the_same(
    server: Any, limiter: Limiter, tag: str
) -> None:
    limiter._driver._client.set(f"{{{tag}}}:tracked", 0)
    charges = (Charge(f"{{{tag}}}:q:t", TOKENS, 100), Charge(f"{{{tag}}}:q:usd", MONEY, 10**9))
    book = LeaseBook()
    recorder = Recorder(None, server.url, leases=book)
    keeper = LeaseKeeper(book, lambda: LeasingLimiter(connect(server.url, deadline=5)), lambda: 1)
    book.wanted = lambda: None
    for number in range(10):
        assert book.draw(charges, f"{tag}{number}") is None
    keeper.turn()
    early, late = book.draw(charges, f"{tag}early"), book.draw(charges, f"{tag}late")
    assert early is not None
    assert late is not None
    recorder.settle(Settlement(early.reservation, (60, 10**8)))
    book.end_all()
    recorder.settle(Settlement(late.reservation, (10, 10**8)))
    assert recorder.flush(10)
    asked = [msgspec.structs.replace(charge, amount=0) for charge in charges]
    left = limiter.peek(asked).remaining
    # What the slice stood on is a second at the most: 12 tokens of a million a day.
    assert 70 <= TOKENS.burst - left[0] <= 70 + 12
    assert MONEY.amount - left[1] == 2 * 10**8
    recorder.close()

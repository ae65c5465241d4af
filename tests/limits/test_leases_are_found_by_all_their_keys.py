"""Calls that share the ends of their tuples with others draw from their own slices and no one else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mesh_store.model import Charge, Limit
from mesh_store.model.limits import Reservation
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_desks import MOST_DESKS
from mesh_store.redis.leasing import Grant

LIMIT = Limit(amount=1_000, period_us=1_000_000)


class Nothing:
    def lease(self, record: object) -> bool:
        return True


def tuple_of(*names: str, limit: Limit = LIMIT, amount: int = 1) -> tuple[Charge, ...]:
    return tuple(Charge(f"{{t}}:q:{name}", limit, amount) for name in names)


@pytest.fixture
def book() -> LeaseBook:
    book = LeaseBook(clock_us=lambda: 0)
    book.ledger = Nothing()
    return book


@pytest.fixture
def hold(book: LeaseBook) -> Callable[[Sequence[Charge], int], None]:
    """Have so many units of each limit of a tuple in memory."""

    def hold(charges: Sequence[Charge], units: int) -> None:
        assert book.draw(charges, "opens a desk") is None
        desk = book._desks[tuple(charge.key for charge in charges)]
        whole = tuple(Charge(charge.key, charge.limit, units) for charge in charges)
        count = len(charges)
        grant = Grant(Reservation(f"of {whole[1].key}", whole, 1, 1), 0, (0,) * count, (0,) * count, 10**6)
        book.install(desk, grant, units, 0)

    return hold


def test_though_only_the_middle_differs(book: LeaseBook, hold: Callable[..., None]) -> None:
    one, other = tuple_of("team", "alias-1", "key"), tuple_of("team", "alias-2", "key")
    hold(one, 3)
    hold(other, 2)
    drawn = [book.draw(each, f"r{at}") for at, each in enumerate([one, other] * 4)]
    assert [found.lease.slice.id if found else None for found in drawn] == [
        "of {t}:q:alias-1", "of {t}:q:alias-2", "of {t}:q:alias-1", "of {t}:q:alias-2",
        "of {t}:q:alias-1", None, None, None,
    ]  # fmt: skip


def test_one_more_limit_in_between_is_another_tuple(book: LeaseBook, hold: Callable[..., None]) -> None:
    hold(tuple_of("team", "alias", "key"), 5)
    assert book.draw(tuple_of("team", "key"), "fewer") is None
    assert book.draw(tuple_of("team", "alias", "user", "key"), "more") is None
    assert book.draw(tuple_of("team", "alias", "key"), "the same") is not None


def test_a_changed_limit_draws_nothing_and_an_equal_one_does(
    book: LeaseBook, hold: Callable[..., None]
) -> None:
    hold(tuple_of("team", "alias", "key"), 5)
    assert (
        book.draw(tuple_of("team", "alias", "key", limit=Limit(amount=999, period_us=1_000_000)), "r") is None
    )
    equal = Limit(amount=1_000, period_us=1_000_000)
    assert book.draw(tuple_of("team", "alias", "key", limit=equal), "r") is not None


def test_what_does_not_cover_all_is_not_drawn_in_part(book: LeaseBook, hold: Callable[..., None]) -> None:
    charges = tuple_of("team", "alias", "key")
    hold(charges, 5)
    assert book.draw((*charges[:2], Charge(charges[2].key, LIMIT, 6)), "too much") is None
    assert [book.draw(charges, f"r{at}") is not None for at in range(6)] == [True] * 5 + [False]


def test_nothing_is_drawn_where_all_was_let_go(book: LeaseBook, hold: Callable[..., None]) -> None:
    charges = tuple_of("team", "alias", "key")
    hold(charges, 5)
    assert book.draw(charges, "before") is not None
    book.end_all()
    assert book.draw(charges, "after") is None
    assert book.draw((), "of nothing") is None


def test_a_crowd_seen_once_is_forgotten_whole() -> None:
    clock = [0]
    book = LeaseBook(clock_us=lambda: clock[0])
    book.ledger = Nothing()
    for at in range(2 * MOST_DESKS):
        clock[0] += 10_000
        book.draw(tuple_of("team", f"user-{at}", "key"), "r")
        book.draw(tuple_of("team", f"user-{at}", "key"), "r")
    assert len(book._desks) <= MOST_DESKS
    assert len(book._desks.near) <= 1

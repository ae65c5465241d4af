"""Teams whose calls cost money and hold slots, so that whatever is lost or left behind shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from tests.conftest import World
from tests.faults import books

#: Wide enough for every test; each counts exactly or holds something while a call runs.
LIMITS = ("100k requests/day", "100M tokens/day", "400 concurrent", "$500/day")


class Priced(NamedTuple):
    """A team and its alias.

    Attributes:
        world: the team.
        alias: what its callers call.
    """

    world: World
    alias: str

    def asked(self, user: str) -> dict[str, Any]:
        """Return the arguments of a call that the provider's log and the facts will show as ``user``'s."""
        ask = [{"role": "user", "content": f"tell {user} something true"}]
        return {"alias": self.alias, "messages": ask, "max_tokens": 8, "user": user}

    def sent(self) -> Counter[str]:
        """Requests that reached the provider, by whom they were for."""
        bodies = [request.json for request in self.world.provider.requests]
        ours = [body["user"] for body in bodies if isinstance(body, dict) and "user" in body]
        return Counter(user for user in ours if user.startswith(self.world.team))

    def check(self) -> Counter[str]:
        """Collect, and hold the books against each other; returns how calls ended, by outcome."""
        self.world.collect()
        ended = books.each_call_is_one_call(self.world)
        books.all_that_was_sent_is_told(self.world, self.sent())
        books.sums_are_those_of_the_rows(self.world)
        books.money_is_exact(self.world)
        return ended


@pytest.fixture
def make_priced(make_world: Callable[..., World]) -> Callable[..., Priced]:
    """Make teams of priced calls; arguments are those of ``make_world``."""

    def make(limits: tuple[str, ...] = LIMITS, **options: Any) -> Priced:
        world = make_world(limits=limits, **options)
        alias = world.alias()
        world.run(
            lambda admin: admin.set_price(
                provider=world.name("local"), model="small", input=Decimal("0.25"), output=Decimal(2)
            )
        )
        world.collect()  # seeds the budget's window
        return Priced(world, alias)

    return make


@pytest.fixture
def priced(make_priced: Callable[..., Priced]) -> Priced:
    """One team of priced calls."""
    return make_priced()

"""One request as it travels: what `templates` remembers, and what is this request's own."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from mesh_store.model.limits import Charge
from mesh_store.redis.templates import Part, template_of

_amount = attrgetter("amount")


class Ask:
    """The charges of one request that share a hash tag.

    Attributes:
        id: the reservation's id.
        part: the limits.
        charges: the caller's list.
        amounts: units to take of each limit of the part.
        at_us: the moment whose calendar windows are charged.
        lifetime_ms: how long the record is kept.
        max_wait_us: the longest wait that may be booked.
        grace_us: how long after its end a window is still taken.
        request: what the script is sent when the limits are numbered in their order.
    """

    __slots__ = (
        "amounts", "at_us", "charges", "grace_us", "id", "lifetime_ms", "max_wait_us", "part", "request",
    )  # fmt: skip

    def __init__(
        self,
        reservation_id: str,
        part: Part,
        charges: Sequence[Charge],
        at_us: int,
        lifetime_ms: int = 1,
        max_wait_us: int = 0,
    ) -> None:
        self.id, self.part, self.charges, self.at_us, self.grace_us = reservation_id, part, charges, at_us, 0
        self.lifetime_ms, self.max_wait_us = lifetime_ms, max_wait_us
        if len(part.terms) == len(charges):
            self.amounts = tuple(map(_amount, charges))
        else:
            self.amounts = tuple([charges[position].amount for position in part.positions])
        self.request = part.request(lifetime_ms, max_wait_us, self.amounts)

    @property
    def own(self) -> list[Charge]:
        """The charges of this part, as the caller made them."""
        return [self.charges[position] for position in self.part.positions]


def asks_of(
    charges: Sequence[Charge], reservation_id: str, at_us: int, lifetime_ms: int, max_wait_us: int
) -> list[Ask]:
    """Group the charges of a call by hash tag, in the order the tags first appear.

    Raises:
        ValueError: a key appears twice, or an amount or limit cannot be counted exactly.
    """
    parts = template_of(charges).parts
    return [Ask(reservation_id, part, charges, at_us, lifetime_ms, max_wait_us) for part in parts]


def split(charges: Sequence[Charge], reservation_id: str, at_us: int, lifetime_ms: int = 1) -> list[Ask]:
    """Group charges that were reserved before, perhaps by another process, by hash tag."""
    return [Ask(reservation_id, part, charges, at_us, lifetime_ms) for part in template_of(charges).parts]

"""Limits and what calls take from them.

A *limit* is an amount per period of one dimension. A *charge* is what one call takes from one
limit, kept under one Redis key. A *decision* answers a list of charges, all or none. A
*reservation* is an admitted list of charges that a settlement will true up later; it is a value
that can be written into a ring and settled by another process.

Units: amounts are whole units of the dimension (requests, tokens, pico-USD, slots); times are
integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

#: The largest integer Lua's doubles hold exactly; no amount, period or debt may exceed it.
MAX_EXACT = 2**53 - 1

#: The largest amount of a ``window`` limit, 9.2 million USD in pico-USD: what 64-bit integers hold. (2^53
#: would end budgets at 9,007 USD; the window script counts in pairs instead.)
MAX_PICO = 2**63 - 1

#: How soon to ask again while a budget's window waits for a collector to count it, microseconds.
SEEDING_US = 1_000_000

Dimension = Literal["requests", "input_tokens", "output_tokens", "tokens", "usd", "concurrency"]
Kind = Literal["rate", "window", "slots", "distinct"]
OnOutage = Literal["closed", "share", "open"]


class Limit(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """An amount per period of one dimension.

    Attributes:
        amount: units per period, sustained (``rate``), per calendar window (``window``) or held
            at once (``slots``).
        period_us: the period in microseconds; for ``slots`` the lease of one slot.
        burst: units that may be taken at once; at most this many are ever available. Defaults to
            ``amount``, or a tenth of it when ``hard``.
        kind: ``rate`` (GCRA), ``window`` (calendar budget), ``slots`` (concurrency), or ``distinct``: how
            many different members may be seen in a period, of which each charge's amount names one.
        hard: True promises at most ``amount`` in *every* window of one period, by sustaining
            ``amount - burst`` per period and by reserving upper bounds.
        on_outage: what answers when Redis cannot: ``closed`` refuses, ``share`` spends this
            process's share of the rate, ``open`` admits.
        tz: IANA time zone of calendar windows.
        lease: False has every call decided by Redis; else slices of a hot limit may be taken ahead and
            spent in memory, which keeps every bound.
    """

    amount: int
    period_us: int
    burst: int = 0
    kind: Kind = "rate"
    hard: bool = False
    on_outage: OnOutage = "share"
    tz: str = "UTC"
    lease: bool = True

    def __post_init__(self) -> None:
        for name in ("amount", "period_us", "burst"):
            value = getattr(self, name)
            most = MAX_PICO if self.kind == "window" and name != "period_us" else MAX_EXACT
            if type(value) is not int or not 0 <= value <= most:
                raise ValueError(f"limit.{name} must be a whole number from 0 to {most}, not {value!r}")
        if self.period_us == 0:
            raise ValueError("limit.period_us must be at least 1 microsecond")
        if self.burst == 0:
            # A hard limit sustains what its burst leaves of the amount; a tenth leaves most of it.
            burst = -(-self.amount // 10) if self.hard and self.kind == "rate" else self.amount
            msgspec.structs.force_setattr(self, "burst", burst)


class Charge(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """What one call takes from one limit.

    Attributes:
        key: the Redis key of the limit's state; its hash tag (``{…}``) says which charges can be
            decided in one atomic call.
        limit: the limit.
        amount: units to take; 0 asks without taking.
        enforce: False takes only what fits and never refuses (shadow mode).
    """

    key: str
    limit: Limit
    amount: int
    enforce: bool = True


class Reservation(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """An admitted list of charges, as the ring and Redis remember it.

    Attributes:
        id: minted by the client; the same id replays the recorded answer.
        charges: what was taken, in the order of the request.
        reserved_at_us: server time of the grant, microseconds since the epoch.
        expires_at_us: server time until which a settlement still finds the record.
    """

    id: str
    charges: tuple[Charge, ...]
    reserved_at_us: int
    expires_at_us: int


@dataclass(slots=True, kw_only=True)
class Decision:
    """The answer to a list of charges: all were admitted, or none was taken. Treat it as frozen.

    Attributes:
        admitted: True when every charge fits.
        remaining: units left of each limit, in the order of the charges, never negative.
        retry_after_us: 0 when admitted; else microseconds until the same request fits; None when
            it never can (it is larger than a burst).
        reset_after_us: microseconds until each limit is full again, in the order of the charges.
        binding: index of the charge that refused (the one with the longest wait), or None.
        wait_us: microseconds the caller must sleep before it may go on; non-zero only when a
            booked wait was asked for.
        reservation: what to settle; None when refused.
        enforced: False when a failure policy answered instead of Redis.
        granted: how many units `at_most` took; None for every other question.
        shadow_denied: indexes of charges that are not enforced, were not taken, and would have refused.
        unseen: indexes of charges whose limits could not be looked at; nothing is said to remain of them.
    """

    admitted: bool
    remaining: tuple[int, ...]
    retry_after_us: int | None
    reset_after_us: tuple[int, ...]
    binding: int | None = None
    wait_us: int = 0
    reservation: Reservation | None = None
    enforced: bool = True
    granted: int | None = None
    shadow_denied: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()

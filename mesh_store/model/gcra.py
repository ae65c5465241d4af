"""Exact GCRA arithmetic: what a rate limit is in microseconds, and the law its script obeys.

A limit of ``amount`` units per ``period_us`` spaces its units ``period_us / amount`` microseconds
apart. That fraction, reduced, is the *rate*: ``micros / units``. What has been taken and not yet
drained is the *debt*, a time: whole microseconds plus a remainder counted in ``1/units`` of one.
Both parts are whole numbers, so nothing is ever rounded: 3 per 10 ms with a burst of 1 admits
every third of 10 ms, where bare microseconds would admit never.

Conversions between units and debt happen here, in Python's integers; the script only adds and
compares. `drain`, `take` and `give` say in ten lines what the script does: leases and the
``share`` policy spend with them, and tests hold the script against them.

Law: in any time T the units admitted, net of refunds, are at most ``burst + T / (period/amount)``.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from mesh_store.model.limits import MAX_EXACT, Limit

#: No debt grows beyond this: two of them still add up exactly in Lua's doubles (143 years).
DEBT_CAP = 2**52

#: The longest time a full burst may take to drain (71 years), so that debt + burst stays exact.
TAU_CAP = 2**51


class Rate(NamedTuple):
    """A rate limit in the script's terms.

    Attributes:
        micros: numerator of the reduced time between two units, in microseconds.
        units: its denominator; remainders are counted in ``1/units`` microseconds.
        burst: units that may be taken at once.
        tau: whole microseconds a full burst takes to drain.
        tau_rem: the rest of it, in ``1/units`` microseconds.
        text: ``"micros/units"``, the fingerprint kept beside a debt.
    """

    micros: int
    units: int
    burst: int
    tau: int
    tau_rem: int
    text: str


class Debt(NamedTuple):
    """What was taken from a rate limit and is not drained yet.

    Attributes:
        at_us: when this was true, microseconds since the epoch.
        micros: whole microseconds of debt.
        rem: the rest of it, in ``1/rate.units`` microseconds.
        rate: the rate it is counted in.
    """

    at_us: int
    micros: int
    rem: int
    rate: Rate


@lru_cache(maxsize=4096)
def rate_of(limit: Limit) -> Rate:
    """Reduce a limit to its rate.

    Raises:
        ValueError: the limit cannot be kept exactly, or could never refill; names the field.
    """
    sustained = _sustained(limit)
    shared = gcd(limit.period_us, sustained)
    micros, units = limit.period_us // shared, sustained // shared
    if units > DEBT_CAP:
        raise ValueError(f"limit.amount of {limit.amount} is too fine to count exactly; at most {DEBT_CAP}")
    tau, tau_rem = divmod(limit.burst * micros, units)
    if tau > TAU_CAP:
        years = tau // (365 * 86_400_000_000)
        raise ValueError(
            f"limit.burst of {limit.burst} would take {years} years to refill at {limit.amount} per "
            f"{limit.period_us} us; lower limit.burst, raise limit.amount or shorten limit.period_us"
        )
    return Rate(micros, units, limit.burst, tau, tau_rem, f"{micros}/{units}")


def _sustained(limit: Limit) -> int:
    """Units per period that drain: for a hard limit, what the burst leaves of the amount."""
    if limit.amount == 0:
        if limit.burst:
            raise ValueError("limit.amount of 0 never refills a limit.burst; set both to 0 to refuse all")
        return 1
    if not limit.hard:
        return limit.amount
    # One unit per period with a burst of one already keeps to one in every window of one period.
    if limit.amount == 1 and limit.burst == 1:
        return 1
    if limit.burst >= limit.amount:
        raise ValueError(
            f"limit.burst of {limit.burst} leaves nothing to sustain of a hard limit.amount of "
            f"{limit.amount}; set limit.burst to about a tenth of it"
        )
    return limit.amount - limit.burst


def debt_of(rate: Rate, units: int) -> tuple[int, int]:
    """Convert units to debt: whole microseconds and the remainder.

    A debt that could never fit is cut at `DEBT_CAP`, which no burst reaches.
    """
    micros, rem = divmod(units * rate.micros, rate.units)
    return (micros, rem) if micros < DEBT_CAP else (DEBT_CAP, 0)


def units_left(rate: Rate, micros: int, rem: int) -> int:
    """Whole units that still fit beside a debt."""
    return max(0, rate.burst - -(-(micros * rate.units + rem) // rate.micros))


def wait_for(rate: Rate, micros: int, rem: int, units: int) -> int | None:
    """Microseconds until units fit beside a debt: 0 when they do, None when they never will."""
    if units > rate.burst:
        return None
    excess = micros * rate.units + rem + (units - rate.burst) * rate.micros
    return max(0, -(-excess // rate.units))


def drained_after(micros: int, rem: int) -> int:
    """Microseconds until a debt is gone."""
    return micros + (rem > 0)


def drain(debt: Debt | None, rate: Rate, now_us: int) -> Debt:
    """Bring a debt to the present and to a rate.

    A clock that went back drains nothing and moves the debt's time back with it, so that the
    jump costs nobody more than the debt itself. A changed rate keeps the debt in units, rounded
    up to the next ``1/rate.units`` microsecond, which no whole unit can tell.
    """
    if debt is None:
        return Debt(now_us, 0, 0, rate)
    micros, rem = debt.micros - max(0, now_us - debt.at_us), debt.rem
    if micros < 0:
        micros = rem = 0
    if debt.rate.text != rate.text:
        owed = (micros * debt.rate.units + rem) * rate.micros
        micros, rem = divmod(-(-owed // debt.rate.micros), rate.units)
        if micros >= DEBT_CAP:
            micros, rem = DEBT_CAP, 0
    return Debt(now_us, micros, rem, rate)


def take(debt: Debt, units: int, max_wait_us: int = 0) -> tuple[Debt, int | None]:
    """Take units from a drained debt, now or by booking a wait of at most ``max_wait_us``.

    Returns:
        The debt afterwards, unchanged when refused, and the microseconds to wait (0 when the
        units fit now, None when they never will).
    """
    wait = wait_for(debt.rate, debt.micros, debt.rem, units)
    if wait is None or wait > max_wait_us:
        return debt, wait
    return add(debt, units), wait


def add(debt: Debt, units: int) -> Debt:
    """Add units to a debt whether they fit or not, as a settlement above the estimate does."""
    micros, rem = debt_of(debt.rate, units)
    carry, rem = divmod(debt.rem + rem, debt.rate.units)
    micros += debt.micros + carry
    if micros >= DEBT_CAP:
        micros, rem = DEBT_CAP, 0
    return debt._replace(micros=micros, rem=rem)


def give(debt: Debt, units: int, drained_us: int = 0) -> Debt:
    """Give units back; what drained since they were taken is not given again.

    Args:
        debt: the debt, brought to the present.
        units: units to give back.
        drained_us: for hard limits the microseconds since the units were taken, else 0.
    """
    micros, rem = debt_of(debt.rate, units)
    micros -= drained_us
    if micros < 0:
        return debt
    left = (debt.micros - micros) * debt.rate.units + debt.rem - rem
    micros, rem = divmod(max(0, left), debt.rate.units)
    return debt._replace(micros=micros, rem=rem)


def check_units(name: str, units: int, most: int = MAX_EXACT) -> int:
    """Refuse what is not a whole number of units (`True` is not 1).

    Raises:
        ValueError: names the field.
    """
    if type(units) is not int or not 0 <= units <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}, not {units!r}")
    return units

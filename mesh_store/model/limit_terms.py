"""What a limit's text says, and the one way to write it; `mesh_store.model.limit_text` reads it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from mesh_store.model.limits import MAX_EXACT, MAX_PICO, Dimension, Kind, Limit, OnOutage
from mesh_store.model.money import PICO

SECOND = 1_000_000
#: Microseconds of every period that has a name. A calendar month or year is told from the 30 or 365
#: days that stand for it here; only ``window`` limits take it to be the real one.
PERIODS = {
    "ms": 1_000,
    "s": SECOND,
    "min": 60 * SECOND,
    "hour": 3_600 * SECOND,
    "day": 86_400 * SECOND,
    "week": 604_800 * SECOND,
    "month": 30 * 86_400 * SECOND,
    "year": 365 * 86_400 * SECOND,
}
#: Requests that may come at once, as far as the amount goes, where nobody said and a tenth is fewer.
SMALL_BURST = 10
#: A slot whose holder was killed is free again after this long.
SLOT_LEASE_US = 60 * SECOND


class LimitTerms(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """What a limit's text says, before the burst is known.

    Attributes:
        dimension: what it counts.
        amount: units per period; USD for ``usd``.
        period_us: the period, or a slot's lease.
        burst: units at once, or None for the rule of thumb.
        kind, hard, on_outage, tz, lease: see `Limit`.
    """

    dimension: Dimension
    amount: Decimal
    period_us: int
    burst: Decimal | None = None
    kind: Kind = "rate"
    hard: bool = False
    on_outage: OnOutage = "share"
    tz: str = "UTC"
    lease: bool = True

    def limit(self, context_window: int = 0) -> Limit:
        """Return the limit in whole units, pico-USD for money.

        Args:
            context_window: tokens of the largest call the subject can make, or 0 when unknown.
        """
        amount = _units(self.dimension, self.amount)
        if self.burst is not None:
            burst = _units(self.dimension, self.burst)
        elif self.kind == "rate":
            burst = default_burst(self.dimension, amount, context_window, hard=self.hard)
        else:
            burst = amount
        return Limit(
            amount=amount,
            period_us=self.period_us,
            burst=burst,
            kind=self.kind,
            hard=self.hard,
            on_outage=self.on_outage,
            tz=self.tz,
            lease=self.lease,
        )

    @property
    def text(self) -> str:
        """The limit in canonical form; parsing it gives these terms again."""
        words = [_amount_text(self.dimension, self.amount)]
        if self.burst is not None:
            words.append(f"burst {_amount_text(self.dimension, self.burst).split(' ')[0]}")
        if self.hard:
            words.append("hard")
        usual: Kind = usual_kind(self.dimension)
        if self.kind != usual:
            words.append("calendar" if self.kind == "window" else "rolling")
        if self.tz != "UTC":
            words.append(f"tz {self.tz}")
        if self.on_outage != usual_outage(self.kind):
            words.append(f"on outage {self.on_outage}")
        if not self.lease:
            words.append("lease off")
        if self.kind != "slots":
            words[0] += f"/{_period_text(self.period_us)}"
        return ", ".join(words)


def default_burst(dimension: Dimension, amount: int, context_window: int = 0, *, hard: bool = False) -> int:
    """Return the units that may be taken at once where nobody said.

    A tenth of the amount; of requests at least ten, as far as there are ten, so that "10 requests/hour"
    lets ten through as they come; of tokens at least the largest call that the subject can make, so that
    an ordinary call always fits; slots and money all at once. Any period sees at most burst + amount.

    A hard limit sustains what its burst leaves of the amount: it keeps to a tenth of requests, and to half
    of tokens whatever the context.
    """
    tenth = max(1, -(-amount // 10))
    if dimension == "requests":
        return min(amount, tenth if hard else max(SMALL_BURST, tenth))
    if dimension in ("input_tokens", "output_tokens", "tokens"):
        burst = min(amount, max(tenth, context_window))
        return min(burst, max(1, amount // 2)) if hard else burst
    return max(1, amount // 2) if hard and amount else amount


def usual_kind(dimension: Dimension) -> Kind:
    """Return how a dimension is counted where nobody said."""
    if dimension == "concurrency":
        return "slots"
    return "window" if dimension == "usd" else "rate"


def usual_outage(kind: Kind) -> OnOutage:
    """Return what answers when Redis cannot, where nobody said."""
    return "closed" if kind == "window" else "share"


def _units(dimension: Dimension, amount: Decimal) -> int:
    units = amount * PICO if dimension == "usd" else amount
    if units != units.to_integral_value():
        smallest = "a millionth of a millionth of a dollar" if dimension == "usd" else "one"
        raise ValueError(f"{amount} is finer than {smallest}")
    bound = MAX_PICO if dimension == "usd" else MAX_EXACT
    if units > bound:
        most = f"${Decimal(bound) / PICO:,.2f}" if dimension == "usd" else str(bound)
        raise ValueError(f"{amount} is more than a limit can hold, which is {most}")
    return int(units)


def _amount_text(dimension: Dimension, amount: Decimal) -> str:
    if dimension == "usd":
        exact = amount.normalize()
        return f"${exact:f}" if exact.as_tuple().exponent != -1 else f"${exact:.2f}"
    whole, unit = int(amount), "concurrent" if dimension == "concurrency" else dimension.replace("_", " ")
    if whole >= 10**6 and whole % 10**4 == 0:
        return f"{(Decimal(whole) / 10**6).normalize():f}M {unit}"
    if whole >= 10**4 and whole % 100 == 0:
        return f"{(Decimal(whole) / 1000).normalize():f}k {unit}"
    return f"{whole} {unit}"


def _period_text(period_us: int) -> str:
    for name, length in reversed(PERIODS.items()):
        if period_us % length == 0:
            count = period_us // length
            return name if count == 1 else f"{count} {name}"
    return f"{period_us / 1000:g} ms"

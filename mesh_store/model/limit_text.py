"""Limits as people write them: ``600 requests/min``, ``100k tokens/hour``, ``$50/day``, ``20 concurrent``.

::

    <amount> <unit> / [<count>] <period> [, burst <amount>] [, hard] [, calendar | rolling]
                                         [, tz <zone>] [, on outage closed | share | open]
                                         [, lease off]

No unit means requests. Money counts calendar windows, everything else flows (GCRA), unless
``rolling`` or ``calendar`` says otherwise. ``burst`` is what may be taken at once; without it the rule
of thumb in `mesh_store.model.limit_terms.default_burst` applies. A flowing limit lets at most burst + amount
through in any one period, a ``hard`` one never more than the amount.
"""

from __future__ import annotations

import re
import zoneinfo
from decimal import Decimal

import msgspec

from mesh_store.model.errors import Rejected
from mesh_store.model.gcra import rate_of
from mesh_store.model.limit_terms import (
    PERIODS,
    SECOND,
    SLOT_LEASE_US,
    LimitTerms,
    default_burst,
    usual_kind,
    usual_outage,
)
from mesh_store.model.limits import MAX_EXACT, Kind, Limit
from mesh_store.model.money import PICO
from mesh_store.model.snapshot import Dimension

__all__ = [
    "PERIODS",
    "SECOND",
    "SLOT_LEASE_US",
    "LimitTerms",
    "default_burst",
    "limit_text",
    "parse_limit",
    "parse_period_us",
    "parse_terms",
]

_SPELLINGS = {
    "ms": "ms millisecond milliseconds",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "hour": "h hr hrs hour hours",
    "day": "d day days",
    "week": "w week weeks",
    "month": "mo month months",
    "year": "y year years",
}
_PERIOD_WORDS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}
_UNITS: dict[str, Dimension] = {
    "input tokens": "input_tokens",
    "input_tokens": "input_tokens",
    "output tokens": "output_tokens",
    "output_tokens": "output_tokens",
    "tokens": "tokens",
    "token": "tokens",
    "requests": "requests",
    "request": "requests",
    "calls": "requests",
    "usd": "usd",
    "concurrent": "concurrency",
    "concurrency": "concurrency",
}
_SHORT = {  # the trade's abbreviations: rpm, tpd, …
    dimension_letter + "p" + period_letter: (dimension, period)
    for dimension_letter, dimension in (("r", "requests"), ("t", "tokens"))
    for period_letter, period in (("s", "s"), ("m", "min"), ("h", "hour"), ("d", "day"))
}
_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_NUMBER = r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d[\d_]*(?:\.\d+)?)(?:([kmb])(?![a-z]))?"
_EXAMPLES = "'600 requests/min', '100k tokens/hour', '$50/day' or '20 concurrent'"


def parse_terms(text: object) -> LimitTerms:
    """Read a limit's text.

    Raises:
        Rejected: says what cannot be read, and shows how limits are written.
    """
    if not isinstance(text, str):
        raise Rejected(f"a limit is text like {_EXAMPLES}, not {type(text).__name__}", field="limit")
    if len(text) > 200:
        raise Rejected(f"a limit is at most 200 characters long, not {len(text)}", field="limit")
    try:
        return _Reader(text).terms()
    except ValueError as error:
        raise Rejected(f"limit {text!r}: {error}; write it like {_EXAMPLES}", field="limit") from None


def parse_limit(text: str) -> tuple[Dimension, Limit]:
    """Read a limit's text to what it counts and how much; the burst is the rule of thumb's.

    Raises:
        Rejected: says what cannot be read.
    """
    terms = parse_terms(text)
    return terms.dimension, terms.limit()


def limit_text(dimension: Dimension, limit: Limit) -> str:
    """Write a limit in canonical form; a burst is shown when it is not the rule of thumb's."""
    usual = default_burst(dimension, limit.amount, hard=limit.hard) if limit.kind == "rate" else limit.amount
    scale = PICO if dimension == "usd" else 1
    return LimitTerms(
        dimension=dimension,
        amount=Decimal(limit.amount) / scale,
        period_us=limit.period_us,
        burst=None if limit.burst == usual else Decimal(limit.burst) / scale,
        kind=limit.kind,
        hard=limit.hard,
        on_outage=limit.on_outage,
        tz=limit.tz,
        lease=limit.lease,
    ).text


def parse_period_us(text: str) -> int:
    """Read a duration such as ``90d``, ``12 h`` or ``30 min`` to microseconds.

    Raises:
        ValueError: says which part cannot be read.
    """
    match = re.fullmatch(r"(\d{1,9})\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in _PERIOD_WORDS:
        raise ValueError(f"{text[:40]!r} is not a duration; write it like '90d', '12h' or '30 min'")
    return int(match[1]) * PERIODS[_PERIOD_WORDS[match[2]]]


class _Reader:
    """Takes one word after the other off the text."""

    def __init__(self, text: str) -> None:
        self._rest = text.strip()

    def terms(self) -> LimitTerms:
        money = self._take(r"\$|usd(?![a-z])")
        amount = self._amount()
        dimension, period_us = self._unit(money=money is not None)
        if period_us is None:
            period_us = self._period(dimension)
        kind, options = self._options(dimension)
        terms = msgspec.convert(
            {
                "dimension": dimension,
                "amount": amount,
                "period_us": period_us,
                "kind": kind,
                "on_outage": usual_outage(kind),
                **options,
            },
            LimitTerms,
        )
        limit = terms.limit()
        if limit.kind == "rate":
            rate_of(limit)
        return terms

    def _take(self, pattern: str) -> re.Match[str] | None:
        match = re.compile(pattern, re.IGNORECASE | re.ASCII).match(self._rest)
        if match is not None:
            self._rest = self._rest[match.end() :].lstrip()
        return match

    def _amount(self) -> Decimal:
        match = self._take(_NUMBER)
        if match is None:
            shown = self._rest[:20]
            raise ValueError(f"{shown!r} is not an amount" if shown else "the amount is missing")
        digits = match[1].replace(",", "").replace("_", "")
        return Decimal(digits) * _MULTIPLES[(match[2] or "").lower()]

    def _unit(self, *, money: bool) -> tuple[Dimension, int | None]:
        if money:
            return "usd", None
        if match := self._take(r"([rt]p[smhd])(?![a-z])"):
            dimension, period = _SHORT[match[1].lower()]
            return _UNITS[dimension], PERIODS[period]
        match = self._take(r"((?:input|output)\s+tokens|(?!per\b)[a-z_]+)")
        if match is None:
            return "requests", None
        unit = " ".join(match[1].lower().split())
        if unit not in _UNITS:
            known = "requests, tokens, input tokens, output tokens, usd, concurrent"
            raise ValueError(f"{unit!r} is not something to count (known: {known})")
        return _UNITS[unit], None

    def _period(self, dimension: Dimension) -> int:
        if dimension == "concurrency":
            if self._take(r"/|per\b"):
                raise ValueError("a number of concurrent calls has no period")
            return SLOT_LEASE_US
        if not self._take(r"/|per\b"):
            raise ValueError("the period is missing ('/min')")
        count = self._take(r"\d{1,9}")
        word = self._take(r"[a-z]+")
        if word is None or word[0].lower() not in _PERIOD_WORDS:
            shown = word[0] if word else self._rest[:20]
            raise ValueError(f"{shown!r} is not a period (known: {', '.join(PERIODS)})")
        period_us = int(count[0] if count else "1") * PERIODS[_PERIOD_WORDS[word[0].lower()]]
        if not 1 <= period_us <= MAX_EXACT:
            raise ValueError("the period must be between 1 ms and 285 years")
        return period_us

    def _options(self, dimension: Dimension) -> tuple[Kind, dict[str, object]]:
        kind, options = usual_kind(dimension), dict[str, object]()
        while self._rest:
            self._take(",")
            if self._take(r"burst\b"):
                options["burst"] = self._amount()
            elif self._take(r"hard\b"):
                options["hard"] = True
            elif dimension != "concurrency" and (word := self._take(r"(calendar|rolling)\b")):
                kind = "window" if word[1].lower() == "calendar" else "rate"
            elif self._take(r"tz\b"):
                options["tz"] = self._zone()
            elif word := self._take(r"on\s+outage\s+(closed|share|open)\b"):
                options["on_outage"] = word[1].lower()
            elif word := self._take(r"lease\s+(on|off)\b"):
                options["lease"] = word[1].lower() == "on"
            else:
                raise ValueError(f"{self._rest[:20]!r} is not understood")
        return kind, options

    def _zone(self) -> str:
        word = self._take(r"[a-z0-9_/+-]+")
        if word is None or word[0] not in zoneinfo.available_timezones():
            raise ValueError(f"{(word[0] if word else '')!r} is not a time zone such as 'Europe/Berlin'")
        return word[0]

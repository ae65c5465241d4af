"""Calendar windows: which day, week, month or year of a budget a moment belongs to.

A ``window`` limit's ``period_us`` names the calendar unit it stands for, in the limit's time zone:

=====================  ==========================================================
28 to 31 days          the calendar month
365 or 366 days        the calendar year
7 days                 the week, from Monday
other whole days       that many days, counted from 1970-01-01
a divisor of one day   that share of the day, from local midnight; a day of 23 or
                       25 hours ends its last share early or adds one
anything else          that long, counted from 1970-01-01 UTC
=====================  ==========================================================

Windows follow each other without gap or overlap, across changes of daylight saving time too.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mesh_store.model.limits import Limit

DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


class Window(NamedTuple):
    """A half-open span of time, ``start_us <= t < end_us``, microseconds since the epoch."""

    start_us: int
    end_us: int


def window_of(limit: Limit, at_us: int) -> Window:
    """Return the calendar window of a budget that a moment belongs to."""
    window = _recent.get(limit)
    if window is None or not window.start_us <= at_us < window.end_us:
        if len(_recent) > 4096:
            _recent.clear()
        window = _recent[limit] = _window(limit.period_us, limit.tz, at_us)
    return window


#: The window last asked for, by limit: calls come in order of time.
_recent: dict[Limit, Window] = {}


def _window(period_us: int, zone: str, at_us: int) -> Window:
    if DAY_US % period_us and period_us % DAY_US:
        start = at_us - at_us % period_us
        return Window(start, start + period_us)
    tz = _zone(zone)
    today = datetime.fromtimestamp(at_us // 1_000_000, tz).date()
    if period_us < DAY_US:
        midnight, next_midnight = _midnight(today, tz), _midnight(today + timedelta(days=1), tz)
        start = at_us - (at_us - midnight) % period_us
        return Window(start, min(start + period_us, next_midnight))
    first, after = _days(today, period_us // DAY_US)
    return Window(_midnight(first, tz), _midnight(after, tz))


def _days(today: date, days: int) -> tuple[date, date]:
    """Return the first day of the window and the first day after it."""
    if days in (28, 29, 30, 31):
        first = today.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    if days in (365, 366):
        return today.replace(month=1, day=1), today.replace(year=today.year + 1, month=1, day=1)
    # 1970-01-01 was a Thursday; weeks begin on Monday.
    shift = 3 if days == 7 else 0
    first = today - timedelta(days=((today - _EPOCH).days + shift) % days)
    return first, first + timedelta(days=days)


def _midnight(day: date, tz: ZoneInfo) -> int:
    local = datetime(day.year, day.month, day.day, tzinfo=tz)
    return int(local.astimezone(UTC).timestamp()) * 1_000_000


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)

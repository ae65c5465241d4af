"""Calendar windows tile time: no gap, no overlap, the calendar of the limit's own zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model import Limit
from mesh_store.model.windows import DAY_US, window_of

HOUR_US = DAY_US // 24
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Asia/Kathmandu", "Pacific/Apia"]
PERIODS = [HOUR_US, 6 * HOUR_US, 7 * HOUR_US, DAY_US, 2 * DAY_US, 7 * DAY_US, 30 * DAY_US, 365 * DAY_US]


def budget(period_us: int, tz: str = "UTC") -> Limit:
    return Limit(amount=1, period_us=period_us, kind="window", tz=tz)


def local(us: int, tz: str) -> str:
    return datetime.fromtimestamp(us / 1e6, ZoneInfo(tz)).strftime("%Y-%m-%d %H:%M")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@given(st.sampled_from(PERIODS), st.sampled_from(ZONES), st.integers(at("1990-01-01"), at("2040-01-01")))
def test_windows_tile_time(period_us: int, tz: str, at_us: int) -> None:
    limit = budget(period_us, tz)
    window = window_of(limit, at_us)
    assert window.start_us <= at_us < window.end_us
    assert window_of(limit, window.start_us) == window
    assert window_of(limit, window.end_us - 1) == window
    assert window_of(limit, window.end_us).start_us == window.end_us
    assert window_of(limit, window.start_us - 1).end_us == window.start_us


@pytest.mark.parametrize(
    ("days", "tz", "moment", "start", "end"),
    [
        (1, "UTC", "2031-03-05T12:00", "2031-03-05 00:00", "2031-03-06 00:00"),
        (1, "Asia/Kathmandu", "2031-03-05T18:20", "2031-03-06 00:00", "2031-03-07 00:00"),
        (1, "Europe/Berlin", "2031-03-30T12:00", "2031-03-30 00:00", "2031-03-31 00:00"),
        (7, "UTC", "2031-03-05T12:00", "2031-03-03 00:00", "2031-03-10 00:00"),
        (30, "UTC", "2032-02-29T23:59", "2032-02-01 00:00", "2032-03-01 00:00"),
        (31, "America/Sao_Paulo", "2031-01-01T01:00", "2030-12-01 00:00", "2031-01-01 00:00"),
        (365, "UTC", "2032-12-31T23:59", "2032-01-01 00:00", "2033-01-01 00:00"),
    ],
)
def test_periods_stand_for_calendar_units(days: int, tz: str, moment: str, start: str, end: str) -> None:
    window = window_of(budget(days * DAY_US, tz), at(moment))
    assert (local(window.start_us, tz), local(window.end_us, tz)) == (start, end)


def test_a_day_that_loses_an_hour_is_23_hours_long() -> None:
    window = window_of(budget(DAY_US, "Europe/Berlin"), at("2031-03-30T12:00"))
    assert window.end_us - window.start_us == 23 * HOUR_US

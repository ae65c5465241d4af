"""Budget alerts: once per window at 50, 80 and 100 %, to a webhook and to plugins' sinks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from mesh_store.model.money import usd
from mesh_store.model.windows import window_of
from mesh_store.postgres.usage_budgets import BudgetState, Spent

log = logging.getLogger(__name__)

THRESHOLDS = (50, 80, 100)
#: Seconds a webhook may take.
DEADLINE_S = 5.0
#: Told on: raises when it could not.
Tell = Callable[["Alert"], Awaitable[None]]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A budget passed a threshold.

    Attributes:
        limit_id: the budget.
        whose: the subject as people call it, such as ``team research``.
        percent: the threshold: 50, 80 or 100.
        spent_usd, limit_usd: decimal text, exact.
        window_start_us, window_end_us: the calendar window, microseconds since the epoch.
    """

    limit_id: str
    whose: str
    percent: int
    spent_usd: str
    limit_usd: str
    window_start_us: int
    window_end_us: int


def due(state: BudgetState, spent: Spent, at_us: int) -> Alert | None:
    """Return the alert for the highest threshold a budget has passed in its window of a moment, or None."""
    passed = [percent for percent in THRESHOLDS if spent.pico_usd * 100 >= percent * state.cap_pico_usd]
    if not passed or spent.pico_usd <= 0:
        return None
    window = window_of(state.budget.limit, at_us)
    return Alert(
        limit_id=state.id,
        whose=state.label,
        percent=passed[-1],
        spent_usd=f"{usd(spent.pico_usd).normalize():f}",
        limit_usd=f"{usd(state.cap_pico_usd).normalize():f}",
        window_start_us=window.start_us,
        window_end_us=window.end_us,
    )


class Alerts:
    """Tells each alert once, however many processes watch; one that nobody took is told again.

    Args:
        client: the limits' Redis, where it is remembered what was told.
        tell: where alerts go.
    """

    def __init__(self, client: Redis, tell: Sequence[Tell]) -> None:
        self._client = client
        self._tell = tell

    async def check(self, found: Sequence[tuple[BudgetState, Spent]], now_us: int) -> list[Alert]:
        """Tell what is due; return what was told."""
        told = []
        for state, spent in found:
            alert = due(state, spent, now_us)
            if alert is not None and await self._claim(alert, now_us):
                if await self._tell_all(alert):
                    told.append(alert)
                else:
                    await self._client.delete(_key(alert))
        return told

    async def _claim(self, alert: Alert, now_us: int) -> bool:
        seconds = max(60, (alert.window_end_us - now_us) // 1_000_000 + 3600)
        return bool(await self._client.set(_key(alert), "1", nx=True, ex=seconds))

    async def _tell_all(self, alert: Alert) -> bool:
        """Tell everybody; one that fails never keeps it from the others."""
        good = 0
        for tell in self._tell:
            try:
                await tell(alert)
                good += 1
            except Exception:
                log.exception("a budget alert of %s could not be told", alert.whose)
        return good > 0


def webhook(url: str) -> Tell:
    """Return what posts an alert as JSON; redirects are not followed."""

    async def post(alert: Alert) -> None:
        import httpx

        async with httpx.AsyncClient(timeout=DEADLINE_S, follow_redirects=False) as client:
            answer = await client.post(
                url, content=msgspec.json.encode(alert), headers={"content-type": "application/json"}
            )
            answer.raise_for_status()

    return post


def to_sink(sink: Any) -> Tell:
    """Return what gives an alert to a plugin's sink, where it takes any."""

    async def give(alert: Alert) -> None:
        sink.budget_alert(alert)

    return give


def _key(alert: Alert) -> str:
    return f"mesh:alerted:{alert.limit_id}:{alert.window_start_us}:{alert.percent}"

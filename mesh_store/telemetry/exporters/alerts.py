"""Budget alerts: once per window at 50, 80 and 100 %, to webhooks and to plugins' sinks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import msgspec

from mesh_store.model.money import usd
from mesh_store.model.windows import window_of
from mesh_store.postgres import budget_alerts, usage_budgets
from mesh_store.postgres.budget_alerts import Told
from mesh_store.postgres.usage_budgets import BudgetState, Spent

log = logging.getLogger(__name__)

THRESHOLDS = (50, 80, 100)
#: Seconds a webhook may take.
DEADLINE_S = 5.0


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


class Recipient(NamedTuple):
    """Who is told of alerts.

    Attributes:
        name: the same in every process that tells it; holds no secret.
        tell: raises when it could not.
    """

    name: str
    tell: Callable[[Alert], Awaitable[None]]


class NotTold(Exception):
    """A webhook did not take an alert; says why without its URL, which may hold a secret."""


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
    """Tells each recipient each alert once, however many processes watch.

    What was told is kept in Postgres beside the ledger, and only one process tells at a time. An alert
    that a recipient did not take is told to it again; a crash between telling and noting tells it twice.
    """

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        self._recipients = recipients

    async def check(self, connection: asyncpg.Connection, now_us: int) -> list[Alert]:
        """Tell what is due; return what was told."""
        async with connection.transaction():
            if not await budget_alerts.begin(connection):
                return []  # another process is at it
            alerts = await _due(connection, now_us)
            known = await budget_alerts.told(connection)
            rows: list[Told] = []
            for recipient in self._recipients:
                rows += await _tell(recipient, alerts, known)
            await budget_alerts.note(connection, rows)
        told = {(row.limit_id, row.percent) for row in rows}
        return [alert for alert in alerts if (alert.limit_id, alert.percent) in told]


async def _due(connection: asyncpg.Connection, now_us: int) -> list[Alert]:
    states = await usage_budgets.states(connection)
    at = [(each.budget.key, window_of(each.budget.limit, now_us).start_us) for each in states]
    spent = await usage_budgets.windows(connection, at)
    pairs = zip(states, at, strict=True)
    found = [due(state, spent.get(window, Spent(0, 0)), now_us) for state, window in pairs]
    return [alert for alert in found if alert is not None]


async def _tell(recipient: Recipient, alerts: Sequence[Alert], known: set[Told]) -> list[Told]:
    """Tell one recipient what it does not know; after a failure the rest waits for the next time."""
    rows: list[Told] = []
    for alert in alerts:
        row = Told(alert.limit_id, alert.window_start_us, alert.window_end_us, alert.percent, recipient.name)
        if row in known:
            continue
        try:
            await recipient.tell(alert)
        except Exception as error:
            log.warning("%s was not told that %s passed %d %%: %s", recipient.name, *_what(alert), error)
            break
        rows.append(row)
    return rows


def webhook(url: str) -> Recipient:
    """Return what posts an alert as JSON; redirects are not followed."""

    async def post(alert: Alert) -> None:
        import httpx

        headers = {"content-type": "application/json"}
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_S, follow_redirects=False) as client:
                answer = await client.post(url, content=msgspec.json.encode(alert), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotTold(f"{type(error).__name__}") from None
        if not answer.is_success:
            raise NotTold(f"it answered {answer.status_code}")

    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Recipient(f"webhook {urlsplit(url).hostname} {digest}", post)


def to_sink(sink: Any) -> Recipient:
    """Return what gives an alert to a plugin's sink."""

    async def give(alert: Alert) -> None:
        sink.budget_alert(alert)

    return Recipient(f"sink {type(sink).__module__}.{type(sink).__qualname__}", give)


def _what(alert: Alert) -> tuple[str, int]:
    return alert.whose, alert.percent

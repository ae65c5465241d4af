"""What was committed, who hears of it, and what the page of metrics says of it."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters.prometheus import Prometheus
from mesh_store.telemetry.exporters.running import Exporter


def exposed(output: Prometheus) -> str:
    """Ask the ASGI application as a server does."""
    sent: list[Any] = []

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await output.asgi(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    return b"".join(message.get("body", b"") for message in sent).decode()


async def collect(place: Any) -> None:
    collector = Collector(
        place.engines.database_url, place.facts_url, settle_redis_url=place.engines.redis_url
    )
    await collector.collect_once()
    await collector.close()


def export(place: Any, sinks: list[Any], rounds: int = 1, **options: Any) -> Any:
    """Run an exporter beside a collector; returns what the sinks got."""

    async def run() -> None:
        given = {"database_url": place.engines.database_url} | options
        exporter = Exporter(place.facts_url, sinks, group=place.team, **given)
        await exporter.once()
        await exporter.check_budgets()
        for _ in range(rounds):
            place.send(place.fact(alias_id="a1"), place.fact(alias_id="a1"))
            await collect(place)
            await exporter.once()
        await exporter.close()

    asyncio.run(run())


class Sink:
    """A plugin's sink."""

    def __init__(self, fails: bool = False) -> None:
        self.facts: list[Any] = []
        self.alerts: list[Any] = []
        self.fails = fails

    def fact(self, fact: Any) -> None:
        if self.fails:
            raise RuntimeError("broken")
        self.facts.append(fact)

    def budget_alert(self, alert: Any) -> None:
        self.alerts.append(alert)

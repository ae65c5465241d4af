"""What a process that makes no call costs Redis: it follows the configuration, and says that it lives."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import redis
from bench_config_source import SIGNER, Source, document

from mesh_store.redis import connect_async
from mesh_store.redis.presence import Presence
from mesh_store.sync import Subscriber
from mesh_store.sync.publisher import publish
from suite import services
from suite.book import Page
from suite.processors import Work

TABLE, CASE = "Cost of an idle process", "Mesh"
PROCESSES = 40


def measure(page: Page, seconds: float) -> None:
    """Let processes' worth of followers idle on a server of their own."""
    with ExitStack() as stack:
        url = stack.enter_context(services.valkey())
        asyncio.run(_publish(url))
        for _ in range(PROCESSES):
            stack.enter_context(Subscriber(url)).snapshot()
            presence = Presence(url)
            presence.start()
            stack.callback(presence.close)
        server = stack.enter_context(redis.Redis.from_url(url))
        time.sleep(2)
        before = Work.of(server)
        time.sleep(seconds)
        done = Work.of(server).since(before)
    each = seconds * PROCESSES
    page.tell(TABLE, CASE, "server's CPU a second", "us", done.cpu_s * 1e6 / each)
    page.tell(TABLE, CASE, "commands a second", "", done.commands / each)
    page.tell(TABLE, CASE, "bytes a second", "B", (done.received + done.sent) / each)


async def _publish(url: str) -> None:
    async with connect_async(url, deadline=10) as client:
        await publish(Source(document(20, 50)), client, signer=SIGNER)

"""``mesh collect`` and ``mesh drain``: facts on their way to Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson
from mesh_plugins.cli.printing import print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(collect)
    app.command()(drain)


def collect(
    publish: Annotated[
        bool,
        typer.Option("--publish/--no-publish", help="Bring changes of the configuration to callers, too."),
    ] = True,
) -> None:
    """Bring facts from Redis to Postgres, and configuration back, until SIGTERM.

    OTEL_EXPORTER_OTLP_ENDPOINT, MESH_WEBHOOKS and MESH_PLUGINS say who else is told of facts.
    """
    from mesh_plugins.cli.control import run_async

    run_async(_collect(publish))


def drain(
    timeout: Annotated[float, typer.Option(help="Seconds for all of it.")] = 10.0, as_json: AsJson = False
) -> None:
    """Settle and ship what dead processes left in their rings under MESH_HOME."""
    from mesh_plugins.cli.control import run_async

    report = run_async(_drain(timeout))
    if as_json:
        print_json(report)
    else:
        typer.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.items()))


async def _collect(publish: bool) -> None:
    from mesh_plugins.cli.control import database, place, signer_of
    from mesh_plugins.outputs import Asked, outputs
    from mesh_store.admin.admin import PUBLISH_DEADLINE
    from mesh_store.postgres.compile import PostgresSource
    from mesh_store.redis import connect_async
    from mesh_store.sync.listening import listen_to
    from mesh_store.sync.publisher import watch_and_publish
    from mesh_store.telemetry.collector import Collector
    from mesh_store.telemetry.exporters.apart import exporting

    stop, asked = told_to_stop(), Asked.from_env()
    async with place() as found, database(found) as opened, contextlib.AsyncExitStack() as held:
        home = found.settings.home
        telemetry_url = found.telemetry_redis_url
        collector = Collector(
            found.session_url,
            telemetry_url,
            home,
            settle_redis_url=found.redis_url,
            shards=found.settings.telemetry_shards,
        )
        told = outputs(asked, found.settings, telemetry_url, found.session_url, pages=False)
        await held.enter_async_context(exporting(told.exporters))
        work = [collector.run(stop)]
        if publish:
            redis = connect_async(found.redis_url, deadline=PUBLISH_DEADLINE)
            held.push_async_callback(redis.aclose)
            source = PostgresSource(opened)
            listen = listen_to(found.session_url.replace("+asyncpg", "", 1))
            publishing = watch_and_publish(
                source,
                redis,
                stop,
                signer=signer_of(found),
                listen=listen,
                renewed=lambda: signer_of(found),  # a home's own key is a file
            )
            work.append(publishing)
        await asyncio.gather(*work)


async def _drain(timeout_s: float) -> dict[str, Any]:
    from mesh_plugins.cli.control import place
    from mesh_store.telemetry import drain as drain_rings

    async with place() as found:
        settings = found.settings
        adopted = await asyncio.to_thread(
            drain_rings,
            settings.home,
            found.redis_url,
            found.telemetry_redis_url,
            shards=settings.telemetry_shards,
            timeout_s=timeout_s,
        )
    return asdict(adopted)


def told_to_stop() -> asyncio.Event:
    """Return an event that SIGTERM and Ctrl-C set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Windows' event loop has no signal handlers: there Ctrl-C ends the program as ever.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop

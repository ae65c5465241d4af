"""``mesh serve``: the control plane's API, with publisher and collector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; anything but loopback belongs behind TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 lets the system choose.")] = 8420,
    unix: Annotated[
        Path | None, typer.Option("--unix", metavar="PATH", help="Listen on a unix socket instead.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Bring changes of the configuration to callers.")
    ] = True,
    collect: Annotated[
        bool, typer.Option("--collect/--no-collect", help="Bring facts from Redis to Postgres.")
    ] = True,
) -> None:
    """Serve the API (OpenAPI at /openapi.json) and /metrics, publish and collect, until SIGTERM.

    Requests need an admin token: `mesh token create`. Several may run at once. MESH_METRICS
    (token, open, off), OTEL_EXPORTER_OTLP_ENDPOINT, MESH_WEBHOOKS and MESH_PLUGINS say who else is
    told of facts.
    """
    import logging

    from mesh_plugins.cli.control import run_async
    from mesh_plugins.server.sockets import is_loopback

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if unix is None and not is_loopback(host):
        typer.echo(f"mesh: {host} is reachable from elsewhere: tokens travel in clear without TLS", err=True)
    run_async(_serve(host, port, unix, publish, collect))


async def _serve(host: str, port: int, unix: Path | None, publish: bool, collect: bool) -> None:
    from mesh_plugins.cli.collecting import told_to_stop
    from mesh_plugins.cli.control import database, place, signer_of
    from mesh_plugins.outputs import Asked, outputs
    from mesh_plugins.server.running import Serving
    from mesh_plugins.server.running import serve as run

    stop, asked = told_to_stop(), Asked.from_env()
    async with place() as found, database(found) as opened:
        session_url = found.session_url if collect else found.session_url_if_any
        direct_url = session_url or found.database_url
        serving = Serving(
            redis_url=found.redis_url,
            telemetry_redis_url=found.telemetry_redis_url,
            telemetry_shards=found.settings.telemetry_shards,
            home=found.settings.home,
            host=host,
            port=port,
            unix=unix,
            publish=publish,
            collect=collect,
            signer=signer_of(found),
            outputs=outputs(asked, found.settings, found.telemetry_redis_url, direct_url, pages=True),
            session_url=session_url,
        )
        await run(serving, opened, stop, lambda address: typer.echo(f"serving on {address}"))

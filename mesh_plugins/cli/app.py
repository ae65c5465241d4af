"""The command itself: its groups, what plugins add, and how an error ends it."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from mesh_store.model.errors import MeshError

#: What commands need beyond the core, and the extra it comes with.
_EXTRAS = {
    **dict.fromkeys(("alembic", "asyncpg", "genai_prices", "sqlalchemy", "yaml"), "postgres"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), "server"),
}


class MeshGroup(TyperGroup):
    """A group whose commands end with one line when Mesh refuses, and with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MeshError as error:
            typer.echo(f"mesh: {_one_line(error)}", err=True)
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            if error.name not in _EXTRAS:
                raise
            extra = _EXTRAS[error.name]
            typer.echo(f"mesh: this needs {error.name}: pip install 'mesh-plugins[{extra}]'", err=True)
            raise typer.Exit(1) from error


def build() -> typer.Typer:
    """Return the whole command, with what the plugins named in ``MESH_PLUGINS`` add."""
    app = typer.Typer(
        name="mesh",
        cls=MeshGroup,
        help="Governance for LLM calls without a gateway in the path.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    _add_commands(app)
    if os.environ.get("MESH_PLUGINS", "").strip():
        _add_plugins(app)
    return app


def _add_commands(app: typer.Typer) -> None:
    from mesh_plugins.cli import (
        acl,
        aliases,
        chat,
        collecting,
        database,
        demo,
        doctor,
        engines,
        history,
        keys,
        limits,
        manifest,
        plugins,
        prices,
        providers,
        quota,
        report,
        samples,
        secrets,
        serving,
        tail,
        teams,
        telemetry,
        tokens,
        usage,
        watch,
    )

    work = (demo, chat, usage, quota, tail, samples, report)
    entities = (teams, keys, providers, prices, aliases, limits, manifest, tokens)
    running = (engines, doctor, plugins, watch, collecting, telemetry, history, serving, database)
    for room in (*work, *entities, secrets, acl, *running):
        room.register(app)


def _add_plugins(app: typer.Typer) -> None:
    from mesh_plugins.manager import load
    from mesh_plugins.settings import Settings

    try:
        load(Settings.from_env().plugins, builtin=()).cli.every(app=app)
    except MeshError as error:
        # A plugin that is broken must not take `mesh doctor` away.
        typer.echo(f"mesh: {_one_line(error)}", err=True)


def _one_line(error: MeshError) -> str:
    return " ".join(str(error).split())

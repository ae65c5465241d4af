"""The command itself: its groups, what plugins add, and how an error ends it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from mesh_store.model.errors import MeshError

#: What commands need beyond the core, and the extra it comes with.
_EXTRAS = {
    **dict.fromkeys(("alembic", "asyncpg", "genai_prices", "sqlalchemy", "yaml"), "postgres"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), "server"),
}

#: The rooms and the commands each adds, in the order in which ``mesh --help`` shows them.
ROOMS = {
    "demo": ("demo",),
    "chat": ("chat",),
    "usage": ("usage",),
    "quota": ("quota",),
    "tail": ("tail",),
    "samples": ("samples",),
    "report": ("report",),
    "teams": ("team", "user"),
    "keys": ("key",),
    "providers": ("provider",),
    "prices": ("price",),
    "aliases": ("alias",),
    "limits": ("limit",),
    "manifest": ("plan", "apply", "export", "schema", "import"),
    "tokens": ("token",),
    "secrets": ("secret",),
    "acl": ("acl",),
    "engines": ("up", "down", "status"),
    "doctor": ("doctor",),
    "plugins": ("plugins",),
    "watch": ("watch",),
    "collecting": ("collect", "drain"),
    "telemetry": ("telemetry",),
    "history": ("history",),
    "serving": ("serve",),
    "database": ("migrate",),
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


def build(first: str | None = None) -> typer.Typer:
    """Return the whole command, with what the plugins named in ``MESH_PLUGINS`` add.

    Args:
        first: the first word said after ``mesh``. When it is one of our commands, no other room is
            imported; a plugin may add to any command, so with plugins all of them are.
    """
    app = typer.Typer(
        name="mesh",
        cls=MeshGroup,
        help="Governance for LLM calls without a gateway in the path.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_mesh)
    plugins = bool(os.environ.get("MESH_PLUGINS", "").strip())
    asked = [room for room, words in ROOMS.items() if first in words]
    for room in ROOMS if plugins or not asked else asked:
        import_module(f"mesh_plugins.cli.{room}").register(app)
    if plugins:
        _add_plugins(app)
    return app


def _mesh() -> None:
    # Typer makes a single command of an app that has one; with this it stays a group.
    pass


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

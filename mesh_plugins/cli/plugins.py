"""``mesh plugins``: what is installed, and what of it is active."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import typer

from mesh_plugins.cli.operating import listing
from mesh_plugins.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plugins")(list_plugins)


def list_plugins(as_json: AsJson = False) -> None:
    """List the plugins that are installed; those named in MESH_PLUGINS are active.

    None is loaded for it, because loading one runs its code; `mesh doctor` tries the active ones.
    """
    from mesh_plugins.manager import discovered
    from mesh_plugins.settings import Settings

    named, found = Settings.from_env().plugins, discovered()
    rows = [_row(name, found.get(name), name in named) for name in sorted({*found, *named})]
    columns = ["name", "active", "installed", "package", "version", "module"]
    listing(rows, columns, as_json=as_json, word="plugins")


def _row(name: str, point: EntryPoint | None, active: bool) -> dict[str, Any]:
    package = None if point is None or point.dist is None else point.dist
    return {
        "name": name,
        "active": active,
        "installed": point is not None,
        "package": None if package is None else package.name,
        "version": None if package is None else package.version,
        "module": None if point is None else point.value,
    }

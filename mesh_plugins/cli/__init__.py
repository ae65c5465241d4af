"""The ``mesh`` command.

One file per group of commands. Nothing is imported before the command that needs it runs, so that
``mesh --help`` answers at once and ``mesh status`` does not load a database driver.

* `app`        the command itself: its groups, plugins' commands, and how errors end it
* `printing`   tables for people, JSON for programs
* `options`    the options commands share
* `control`    a way to the database and the engines, for commands that change something
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the ``mesh`` command."""
    import gc
    import sys

    from mesh_plugins.cli.app import build

    # Most commands import, do one thing and end: looking for cycles in modules would be a tenth of it.
    gc.set_threshold(50_000, 20, 20)
    build(next(iter(sys.argv[1:]), None))(prog_name="mesh")

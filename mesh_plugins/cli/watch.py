"""``mesh watch``: revisions as clients see them."""

from __future__ import annotations

import json
import queue
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson

if TYPE_CHECKING:
    from mesh_store.model.snapshot import Snapshot


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)


def watch(
    count: Annotated[int, typer.Option("--count", help="End after so many revisions; 0 means never.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print each revision of the configuration when this process, a client like any, has it."""
    from mesh_plugins.cli.control import redis_place
    from mesh_plugins.connections import trust_of
    from mesh_plugins.settings import Settings
    from mesh_store.sync import Subscriber

    seen: queue.SimpleQueue[tuple[Snapshot | None, Snapshot]] = queue.SimpleQueue()
    trust = trust_of(Settings.from_env())
    with redis_place() as url, Subscriber(url, trust=trust, on_change=lambda old, new: seen.put((old, new))):
        printed = 0
        while not count or printed < count:
            old, new = seen.get()
            _say(old, new, as_json=as_json)
            printed += 1


def _say(old: Snapshot | None, new: Snapshot, *, as_json: bool) -> None:
    now = datetime.now().astimezone()
    if as_json:
        found = {
            "at": now.isoformat(),
            "epoch": new.epoch,
            "revision": new.revision,
            "changed": changed(old, new),
        }
        typer.echo(json.dumps(found))
        return
    what = ", ".join(changed(old, new)) or "nothing that callers see"
    typer.echo(f"{now:%H:%M:%S.%f}  revision {new.revision}  {what if old else 'first seen'}")


def changed(old: Snapshot | None, new: Snapshot) -> list[str]:
    """Return what differs between two snapshots, as ``alias fast`` or ``limit team research: …``."""
    if old is None:
        return []
    return [
        f"{word} {name}"
        for word, before, after in (
            ("team", _named(old.document.teams), _named(new.document.teams)),
            ("provider", _named(old.document.providers), _named(new.document.providers)),
            ("alias", _named(old.document.aliases), _named(new.document.aliases)),
            ("limit", _labelled(old.document.limits), _labelled(new.document.limits)),
        )
        for name in sorted(
            {value[0] for key, value in after.items() if before.get(key) != value}
            | {value[0] for key, value in before.items() if key not in after}
        )
    ]


def _named(items: Any) -> dict[str, tuple[str, Any]]:
    return {item.id: (item.name, item) for item in items}


def _labelled(items: Any) -> dict[str, tuple[str, Any]]:
    return {item.id: (f"{item.label}: {item.text}", item) for item in items}

"""``mesh key import``: many keys from a CSV file, minted a few hundred at a time."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from mesh_plugins.cli.operating import operate

if TYPE_CHECKING:
    from mesh_store.admin import Admin


def import_keys(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with a line of names: team, and any of user, description, expires and aliases, which "
            "have spaces between them.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where the keys go, readable by you alone; else to stdout."
        ),
    ] = None,
) -> None:
    """Mint a key for each line of a CSV file; the same lines come back with id and key.

    Nothing is minted unless every line is good. Interrupted, it has written every key there is.
    """
    rows = list(_rows(file))
    with _sink(out) as sink:
        operate(lambda repo: _mint(repo, rows, sink))


async def _mint(repo: Admin, rows: list[dict[str, Any]], sink: TextIO) -> None:
    from rich.console import Console
    from rich.progress import Progress

    names = ["team", "user", "description", "id", "key", "expires_at"]
    written = csv.DictWriter(sink, names)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("minting", total=len(rows))
        minted = repo.import_keys(rows, progress=lambda count: progress.update(task, completed=count))
        begun = False
        async for made, key in minted:
            if not begun:
                written.writeheader()
                begun = True
            said = {"id": made.id, "key": key.text, "expires_at": made.expires_at}
            said |= {"team": made.team, "user": made.user, "description": made.description}
            written.writerow(said)
    sink.flush()
    typer.echo(f"{len(rows)} keys are there", err=True)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    from mesh_store.model.errors import Rejected

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines, strict=True), start=1):
                if None in row or None in row.values():
                    raise Rejected(f"row {number}: it has not as many fields as the first line")
                yield _row(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Rejected(f"{file}: {error}") from None


def _row(row: dict[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {name: value for name, value in row.items() if value}
    if "aliases" in said:
        said["aliases"] = said["aliases"].split()
    if said.get("expires") == "never":
        said["expires"] = None
    return said


def _sink(out: Path | None) -> Any:
    from contextlib import nullcontext

    if out is None:
        return nullcontext(sys.stdout)
    return os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="")

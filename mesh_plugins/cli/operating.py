"""What commands that change or list things share: one transaction, then one way to say it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mesh_plugins.cli.printing import Row, print_json, show

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mesh_store.admin import Admin
    from mesh_store.model.entities import Page

_T = TypeVar("_T")

#: Items asked for at once; a listing shows all of them.
_PAGE = 1000


def operate(work: Callable[[Admin], Awaitable[_T]]) -> _T:
    """Run ``work`` as an operator; what it changed is published before this returns."""
    from mesh_plugins.cli.control import admin, run_async

    async def run() -> _T:
        async with admin() as opened:
            return await work(opened)

    return run_async(run())


def every(ask: Callable[..., Awaitable[Page[Any]]], **narrowed: Any) -> list[Row]:
    """Return every item of a paged listing as plain values.

    Args:
        ask: the repository's method; called with it as the first argument.
        narrowed: what the listing is narrowed to.
    """

    async def run(repo: Admin) -> list[Row]:
        rows: list[Row] = []
        after: str | None = None
        while True:
            page = await ask(repo, after=after, limit=_PAGE, **narrowed)
            rows.extend(plain(item) for item in page.items)
            after = page.next
            if after is None:
                return rows

    return operate(run)


def plain(entity: BaseModel) -> dict[str, Any]:
    """Return an entity as plain values."""
    return entity.model_dump(exclude_defaults=False)


def listing(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, word: str) -> None:
    """Print a listing; ``word`` names the things when there are none."""
    show(rows, columns, as_json=as_json, empty=f"no {word}")


def done(said: str, entity: BaseModel, *, as_json: bool, **more: Any) -> None:
    """Print what was done: a sentence, or the thing itself."""
    if as_json:
        print_json(plain(entity) | more)
    else:
        typer.echo(said)

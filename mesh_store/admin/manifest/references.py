"""Whether everything a manifest names will be there once it is applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh_store.admin.manifest.faults import Fault, Path
from mesh_store.admin.manifest.present import Present
from mesh_store.admin.manifest.reading import Document
from mesh_store.admin.manifest.things import Key, Kind, Thing, Things
from mesh_store.model.specs import AliasSpec


def check_references(document: Document, things: Things, present: Present, going: Things) -> Iterator[Fault]:
    """Yield a fault for every name of something that will not be there.

    Args:
        document: where they stand.
        things: what the manifest wants.
        present: what there is.
        going: what of it will be archived.
    """
    book = _Book(things, present, going)
    for thing in things["member"].values():
        yield from book.missing(document, thing, "user", (thing.key[1],), ("user",))
    for thing in things["provider"].values():
        if thing.team is not None:
            yield from book.missing(document, thing, "team", (thing.team,), ("team",))
    for thing in things["price"].values():
        yield from book.missing(document, thing, "provider", (thing.key[0],), ("provider",))
    for thing in things["alias"].values():
        yield from _of_alias(document, book, thing, thing.spec)
    for thing in things["limit"].values():
        yield from _of_limit(document, book, thing, thing.spec)


class _Book:
    """What will be there."""

    def __init__(self, things: Things, present: Present, going: Things) -> None:
        self._things, self._present, self._going = things, present.things, going
        self.keys = present.keys

    def find(self, kind: Kind, key: Key) -> Thing | None:
        """Return what a name will mean, or None."""
        if (thing := self._things[kind].get(key)) is not None:
            return thing
        return None if key in self._going[kind] else self._present[kind].get(key)

    def owner(self, provider: str) -> str | None:
        """Return a team that has an account of its own by this name, or None."""
        every = (
            *self._things["provider"],
            *sorted(self._present["provider"].keys() - self._going["provider"].keys()),
        )
        return next((str(key[1]) for key in every if key[0] == provider and len(key) > 1), None)

    def missing(
        self, document: Document, thing: Thing, kind: Kind, key: Key, within: Path
    ) -> Iterator[Fault]:
        """Yield a fault when there will be no such thing."""
        if self.find(kind, key) is None:
            goes = " (it is archived, because this file does not name it)" if key in self._going[kind] else ""
            yield document.fault((*thing.path, *within), f"there is no {kind} {key[-1]!r}{goes}")


def _of_alias(document: Document, book: _Book, thing: Thing, spec: Any) -> Iterator[Fault]:
    if spec.team is not None:
        yield from book.missing(document, thing, "team", (spec.team,), ("team",))
    for team in spec.grants or ():
        # Grants are a set, kept sorted; which line of the list it was is not known any more.
        yield from book.missing(document, thing, "team", (team,), ("grants",))
    for index, target in enumerate(spec.targets):
        yield from _of_provider(document, book, thing, target.provider, ("targets", index, "provider"))


def _of_provider(document: Document, book: _Book, thing: Thing, name: str, within: Path) -> Iterator[Fault]:
    """A team's own alias or limit may name an account that only the team has."""
    if thing.team is None and book.find("provider", (name,)) is None and (owner := book.owner(name)):
        whose = f"is an account of team {owner!r} alone: only its own aliases and limits may name it"
        yield document.fault((*thing.path, *within), f"provider {name!r} {whose}")
    elif thing.team is None or book.find("provider", (name, thing.team)) is None:
        yield from book.missing(document, thing, "provider", (name,), within)


def _of_limit(document: Document, book: _Book, thing: Thing, spec: Any) -> Iterator[Fault]:
    for kind in ("team", "user"):
        name = getattr(spec, kind)
        if name is not None:
            yield from book.missing(document, thing, kind, (name,), (kind,))
    if spec.provider is not None:
        yield from _of_provider(document, book, thing, spec.provider, ("provider",))
    if spec.key is not None and spec.key not in book.keys:
        yield document.fault((*thing.path, "key"), f"there is no live key {spec.key!r}")
    if spec.alias is None:
        return
    alias = book.find("alias", (thing.owner, spec.alias))
    if alias is None:
        yield from book.missing(document, thing, "alias", (None, spec.alias), ("alias",))
    elif spec.target is not None and isinstance(alias.spec, AliasSpec):
        targets = [f"{each.provider}/{each.model}" for each in alias.spec.targets]
        if spec.target not in targets:
            some = ", ".join(sorted(set(targets))[:10]) or "none"
            message = f"alias {spec.alias!r} has no target {spec.target!r} (it has: {some})"
            yield document.fault((*thing.path, "target"), message)

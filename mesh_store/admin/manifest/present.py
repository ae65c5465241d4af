"""What there is: the live configuration, read page by page into the form manifests are compared in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import select

from mesh_store.admin.manifest.things import KINDS, Kind, Thing, Things, key_of, meant_owner
from mesh_store.model.entities import Page
from mesh_store.model.errors import Conflict, NotFound
from mesh_store.model.specs import (
    AliasSpec,
    LimitSpec,
    MemberSpec,
    PriceSpec,
    ProviderSpec,
    Spec,
    TargetSpec,
    TeamSpec,
    UserSpec,
)
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.repository import Repository
from mesh_store.postgres.routing_tables import AliasRow, TargetRow

_PAGE = 1_000
#: How often a busy configuration is read again before somebody is told.
_TRIES = 5

_SPECS: dict[Kind, type[Spec]] = {
    "user": UserSpec,
    "team": TeamSpec,
    "member": MemberSpec,
    "provider": ProviderSpec,
    "price": PriceSpec,
    "alias": AliasSpec,
    "limit": LimitSpec,
}


@dataclass(slots=True)
class Present:
    """What there is at one revision.

    Attributes:
        revision: of the configuration.
        things: by kind and key.
        shadowed: limits that go by the same names as another one, and limits on targets of an alias that
            their team does not mean by that name any more; a manifest cannot say them.
        keys: ids of live keys, as far as they were asked for.
    """

    revision: int
    things: Things = field(default_factory=lambda: {kind: {} for kind in KINDS})
    shadowed: list[Thing] = field(default_factory=list)
    keys: frozenset[str] = frozenset()


async def read_present(repo: Repository, revision: int, keys: Iterable[str] = ()) -> Present:
    """Read everything, and whether ``keys`` are live; ``repo`` is a batch that holds all of it still."""
    present = Present(revision, keys=frozenset([key for key in set(keys) if await _is_live(repo, key)]))
    for kind, ask in _listings(repo):
        for entity in await _every(ask):
            present.things[kind].update(_thing(kind, entity))
    bindings = await _bindings(repo)
    for entity in await _every(repo.list_limits):
        _add_limit(present, _spec("limit", entity), entity.id, bindings.get(entity.id, _Binding()))
    return present


async def read_settled(repo: Repository, keys: Sequence[str] = ()) -> Present:
    """Read everything as it stands at one revision, without holding anybody up."""
    for _ in range(_TRIES):
        before = await repo.database.head()
        present = await read_present(repo, before.revision, keys)
        if await repo.database.head() == before:
            return present
    raise Conflict("the configuration changes faster than it can be read; try again in a moment")


def _listings(repo: Repository) -> tuple[tuple[Kind, Callable[..., Awaitable[Page[Any]]]], ...]:
    return (
        ("user", repo.list_users),
        ("team", repo.list_teams),
        ("member", repo.list_members),
        ("provider", repo.list_providers),
        ("price", repo.list_prices),
        ("alias", repo.list_aliases),
    )


async def _is_live(repo: Repository, key_id: str) -> bool:
    try:
        return (await repo.get_key(key_id)).revoked_at is None
    except NotFound:
        return False


class _Binding(NamedTuple):
    owner: str | None = None
    tier: int | None = None


async def _bindings(repo: Repository) -> dict[str, _Binding]:
    """Return whose alias each limit is on, and the tier of its target; names alone do not say it."""
    query = (
        select(LimitRow.id, TeamRow.name, TargetRow.tier)
        .join(AliasRow, AliasRow.id == LimitRow.alias_id)
        .outerjoin(TeamRow, TeamRow.id == AliasRow.team_id)
        .outerjoin(TargetRow, TargetRow.id == LimitRow.target_id)
        .where(LimitRow.archived_at.is_(None))
    )
    async with repo.database.connect() as connection:
        return {row[0]: _Binding(row[1], row[2]) for row in (await connection.execute(query)).all()}


def _add_limit(present: Present, spec: Any, limit_id: str, binding: _Binding) -> None:
    key = key_of("limit", spec, binding.owner)
    thing = Thing("limit", key, spec, id=limit_id, owner=binding.owner, tier=binding.tier)
    limits = present.things["limit"]
    meant = meant_owner(spec.team, spec.alias, present.things["alias"])
    other = limits.get(key)
    if spec.target is not None and binding.owner != meant:
        present.shadowed.append(thing)
    elif other is None:
        limits[key] = thing
    elif (other.owner != meant, other.tier or 0) <= (thing.owner != meant, thing.tier or 0):
        present.shadowed.append(thing)
    else:
        limits[key] = thing
        present.shadowed.append(other)


async def _every(ask: Callable[..., Awaitable[Page[Any]]]) -> list[Any]:
    items: list[Any] = []
    after: str | None = None
    while True:
        page = await ask(after=after, limit=_PAGE)
        items.extend(page.items)
        after = page.next
        if after is None:
            return items


def _thing(kind: Kind, entity: Any) -> dict[Any, Thing]:
    spec = _spec(kind, entity)
    key = key_of(kind, spec)
    return {key: Thing(kind, key, spec, id=entity.id)}


def _spec(kind: Kind, entity: BaseModel) -> Spec:
    """Return an entity without what the store adds; it was checked when it was read."""
    model = _SPECS[kind]
    values = {name: getattr(entity, name) for name in model.model_fields}
    if kind == "alias":
        names = TargetSpec.model_fields
        values["targets"] = tuple(
            TargetSpec.model_construct(**{name: getattr(target, name) for name in names})
            for target in values["targets"]
        )
    return model.model_construct(**values)

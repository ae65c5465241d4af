"""The parts of an alias, brought to what its spec says: targets keep their ids, grants come and go."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from mesh_store.model.entities import AliasSpec, TargetEntity, TargetSpec
from mesh_store.model.errors import NotFound
from mesh_store.model.ids import new_id
from mesh_store.model.patterns import check_vendor
from mesh_store.model.places import Place, kept
from mesh_store.model.shares import parse_share
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.effects import archive_limits
from mesh_store.postgres.repository.part import now
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.repository.providers import meant_provider
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import AliasGrantRow, AliasRow, ProviderRow, TargetRow


async def add_parts(work: Work, alias: AliasRow, spec: AliasSpec) -> list[TargetEntity]:
    """Give a new alias the targets and grants of its spec; the targets are returned with their ids."""
    providers = await _providers(work, alias, spec.targets)
    targets = []
    for position, target in enumerate(spec.targets):
        row = _new_target(work, alias, target)
        row.provider_id = providers[target.provider].id
        _fill(row, target, position)
        targets.append(TargetEntity(id=row.id, **target.model_dump()))
    teams = await _team_ids(work, spec.grants or ())
    work.session.add_all(AliasGrantRow(alias_id=alias.id, team_id=team_id) for team_id in sorted(teams))
    return targets


async def set_targets(work: Work, alias: AliasRow, specs: Sequence[TargetSpec]) -> None:
    """Make the live targets those of the specs, in their order.

    A target that stays keeps its id, also in another tier, and one that comes back gets its old id
    again, so that limits and health hang on. Limits of a target that goes are archived.
    """
    providers = await _providers(work, alias, specs)
    places: list[Place] = [(spec.provider, spec.model, spec.tier) for spec in specs]
    live, archived = await _known_targets(work, alias)
    staying = kept(list(live), places)
    gone = [row for place, row in live.items() if place not in staying.values()]
    for position, (place, spec) in enumerate(zip(places, specs, strict=True)):
        if place in staying:
            row = live[staying[place]]
        else:
            row = _revived(archived, place) or _new_target(work, alias, spec)
            row.provider_id = providers[spec.provider].id
        _fill(row, spec, position)
    for row in gone:
        row.archived_at = now()
    await work.flush()
    if gone:
        await archive_limits(work, LimitRow.target_id.in_([row.id for row in gone]))


async def set_grants(work: Work, alias: AliasRow, teams: Sequence[str] | None) -> None:
    """Make the alias usable by exactly these teams; None means by every team."""
    alias.everyone = teams is None
    present = set(
        (
            await work.session.execute(
                select(AliasGrantRow.team_id).where(AliasGrantRow.alias_id == alias.id)
            )
        ).scalars()
    )
    wanted = await _team_ids(work, teams or ())
    if gone := present - wanted:
        await work.session.execute(
            delete(AliasGrantRow).where(AliasGrantRow.alias_id == alias.id, AliasGrantRow.team_id.in_(gone))
        )
    work.session.add_all(
        AliasGrantRow(alias_id=alias.id, team_id=team_id) for team_id in sorted(wanted - present)
    )
    await work.flush()


def _new_target(work: Work, alias: AliasRow, spec: TargetSpec) -> TargetRow:
    row = TargetRow(id=new_id(), alias_id=alias.id, model=spec.model)
    work.session.add(row)
    return row


def _fill(row: TargetRow, spec: TargetSpec, position: int) -> None:
    row.position, row.tier, row.weight, row.params = position, spec.tier, spec.weight, dict(spec.params)
    row.max_output_tokens, row.context_window = spec.max_output_tokens, spec.context_window
    row.canary = 0 if spec.canary is None else parse_share(spec.canary)
    row.archived_at = None


async def _known_targets(
    work: Work, alias: AliasRow
) -> tuple[dict[Place, TargetRow], dict[Place, TargetRow]]:
    """Return the targets an alias has, in their order, and those it had.

    By the provider's name, so that a target stays the same when its team gets an account of its own.
    """
    query = (
        select(TargetRow, ProviderRow.name)
        .join(ProviderRow, ProviderRow.id == TargetRow.provider_id)
        .where(TargetRow.alias_id == alias.id)
        .order_by(TargetRow.position, TargetRow.id)
    )
    known = [((name, row.model, row.tier), row) for row, name in (await work.session.execute(query)).all()]
    live = {place: row for place, row in known if row.archived_at is None}
    return live, {place: row for place, row in known if row.archived_at is not None}


def _revived(archived: dict[Place, TargetRow], place: Place) -> TargetRow | None:
    """Take the target back that was in a place, else one that was in another tier."""
    found = place if place in archived else next((each for each in archived if each[:2] == place[:2]), None)
    return None if found is None else archived.pop(found)


async def _providers(work: Work, alias: AliasRow, specs: Sequence[TargetSpec]) -> dict[str, ProviderRow]:
    """Return the providers that targets name; a team's own alias may name one that only the team has."""
    try:
        names = sorted({spec.provider for spec in specs})
        providers = {name: await meant_provider(work.session, name, alias.team_id) for name in names}
    except NotFound as error:
        raise NotFound(f"alias: targets: {error}", field="targets") from None
    for spec in specs:
        check_vendor(providers[spec.provider].kind, spec.provider, spec.model)
    return providers


async def _team_ids(work: Work, names: Sequence[str]) -> set[str]:
    try:
        return {(await named.referenced(work.session, TEAM, name)).id for name in sorted(names)}
    except NotFound as error:
        raise NotFound(f"alias: grants: {error}", field="grants") from None

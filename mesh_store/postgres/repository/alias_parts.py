"""The parts of an alias, brought to what its spec says: targets keep their ids, grants come and go."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, or_, select

from mesh_store.model.entities import AliasSpec, TargetEntity, TargetSpec
from mesh_store.model.errors import NotFound
from mesh_store.model.ids import new_id
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.effects import archive_limits
from mesh_store.postgres.repository.part import now
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.repository.providers import PROVIDER
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import AliasGrantRow, AliasRow, TargetRow


async def add_parts(work: Work, alias: AliasRow, spec: AliasSpec) -> list[TargetEntity]:
    """Give a new alias the targets and grants of its spec; the targets are returned with their ids."""
    providers = await _provider_ids(work, {target.provider for target in spec.targets})
    targets = []
    for position, target in enumerate(spec.targets):
        place = (providers[target.provider], target.model, target.tier)
        row = _new_target(work, alias, place)
        _fill(row, target, position)
        targets.append(TargetEntity(id=row.id, **target.model_dump()))
    teams = await _team_ids(work, spec.grants or ())
    work.session.add_all(AliasGrantRow(alias_id=alias.id, team_id=team_id) for team_id in sorted(teams))
    return targets


async def set_targets(work: Work, alias: AliasRow, specs: Sequence[TargetSpec]) -> None:
    """Make the live targets those of the specs, in their order.

    A target that stays (same provider, model and tier) keeps its id, and one that comes back gets its
    old id again, so that limits and health hang on. Limits of a target that goes are archived.
    """
    providers = await _provider_ids(work, {spec.provider for spec in specs})
    known = await _known_targets(work, alias)
    wanted: set[str] = set()
    for position, spec in enumerate(specs):
        place = (providers[spec.provider], spec.model, spec.tier)
        row = known.get(place) or _new_target(work, alias, place)
        _fill(row, spec, position)
        wanted.add(row.id)
    gone = [row for row in known.values() if row.id not in wanted and row.archived_at is None]
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


def _new_target(work: Work, alias: AliasRow, place: tuple[str, str, int]) -> TargetRow:
    row = TargetRow(id=new_id(), alias_id=alias.id)
    row.provider_id, row.model, row.tier = place
    work.session.add(row)
    return row


def _fill(row: TargetRow, spec: TargetSpec, position: int) -> None:
    row.position, row.weight, row.params = position, spec.weight, dict(spec.params)
    row.max_output_tokens, row.context_window = spec.max_output_tokens, spec.context_window
    row.archived_at = None


async def _known_targets(work: Work, alias: AliasRow) -> dict[tuple[str, str, int], TargetRow]:
    # Live ones last, so that they win over archived ones of the same place.
    query = (
        select(TargetRow)
        .where(TargetRow.alias_id == alias.id)
        .order_by(or_(TargetRow.archived_at.is_(None)), TargetRow.id)
    )
    rows = (await work.session.execute(query)).scalars()
    return {(row.provider_id, row.model, row.tier): row for row in rows}


async def _provider_ids(work: Work, names: set[str]) -> dict[str, str]:
    try:
        return {name: (await named.referenced(work.session, PROVIDER, name)).id for name in sorted(names)}
    except NotFound as error:
        raise NotFound(f"alias: targets: {error}", field="targets") from None


async def _team_ids(work: Work, names: Sequence[str]) -> set[str]:
    try:
        return {(await named.referenced(work.session, TEAM, name)).id for name in sorted(names)}
    except NotFound as error:
        raise NotFound(f"alias: grants: {error}", field="grants") from None

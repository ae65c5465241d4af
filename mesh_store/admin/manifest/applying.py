"""Making a plan true: all of its changes in one transaction, under one revision."""

from __future__ import annotations

from typing import Any

from mesh_store.admin.manifest.document import Manifest
from mesh_store.admin.manifest.plan import Change, Plan
from mesh_store.admin.manifest.planning import make_plan
from mesh_store.admin.manifest.present import read_present, read_settled
from mesh_store.admin.manifest.reading import Document
from mesh_store.admin.manifest.things import fields_of
from mesh_store.model.errors import Conflict
from mesh_store.postgres.repository import Repository

#: How often a plan is made anew when somebody else was quicker.
_TRIES = 5


async def plan(repo: Repository, manifest: Manifest, document: Document, *, prune: bool = False) -> Plan:
    """Return what `apply` would do now.

    Raises:
        ManifestError: the manifest contradicts itself, or names what will not be there.
    """
    present = await read_settled(repo, _keys(manifest))
    return make_plan(manifest, document, present, prune=prune)


async def apply(
    repo: Repository,
    manifest: Manifest,
    document: Document,
    *,
    prune: bool = False,
    revision: int | None = None,
) -> Plan:
    """Bring the configuration to what a manifest says; doing it twice changes nothing the second time.

    Args:
        repo: whose actor is noted in the audit log.
        manifest: what should be.
        document: where it is said.
        prune: archive what the manifest does not name.
        revision: refuse unless the configuration still stands there; without it the plan is made anew
            when somebody else changes something at the same moment.

    Raises:
        ManifestError: the manifest contradicts itself, or names what will not be there.
        Conflict: the configuration is not at ``revision`` any more.
    """
    for attempt in range(_TRIES):
        pinned = revision if revision is not None else (await repo.database.head()).revision
        try:
            async with repo.batch(expected_revision=pinned) as batch:
                present = await read_present(batch, pinned, _keys(manifest))
                made = make_plan(manifest, document, present, prune=prune)
                for change in made.changes:
                    await _make(batch, change)
            return made
        except Conflict:
            if revision is not None or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _keys(manifest: Manifest) -> list[str]:
    limits = [*manifest.limits, *(limit for team in manifest.teams for limit in team.limits)]
    return [limit.key for limit in limits if limit.key is not None]


async def _make(repo: Repository, change: Change) -> None:
    match change.action:
        case "create":
            await _create(repo, change)
        case "update":
            await _update(repo, change)
        case "archive":
            await _archive(repo, change)


async def _create(repo: Repository, change: Change) -> None:
    creators: dict[str, Any] = {
        "user": repo.create_user,
        "team": repo.create_team,
        "member": repo.add_member,
        "provider": repo.create_provider,
        "price": repo.set_price,
        "alias": repo.create_alias,
        "limit": repo.create_limit,
    }
    await creators[change.thing.kind](**_fields(change))


async def _update(repo: Repository, change: Change) -> None:
    key = change.thing.key
    said = _fields(change)
    changes = {name: said[name] for name in change.fields}
    match change.thing.kind:
        case "user":
            await repo.update_user(str(key[0]), **changes)
        case "team":
            await repo.update_team(str(key[0]), **changes)
        case "member":
            await repo.update_member(str(key[0]), str(key[1]), role=str(changes["role"]))
        case "provider":
            await repo.update_provider(str(key[0]), for_team=change.thing.team, **changes)
        case "price":
            await repo.set_price(**said)
        case "alias":
            await repo.update_alias(str(key[1]), for_team=_text(key[0]), **changes)
        case "limit":
            assert change.before is not None
            await repo.update_limit(change.before.id, **changes)


async def _archive(repo: Repository, change: Change) -> None:
    key = change.thing.key
    match change.thing.kind:
        case "user":
            await repo.archive_user(str(key[0]))
        case "team":
            await repo.archive_team(str(key[0]))
        case "member":
            await repo.remove_member(str(key[0]), str(key[1]))
        case "provider":
            await repo.archive_provider(str(key[0]), team=change.thing.team)
        case "price":
            await repo.archive_price(str(key[0]), str(key[1]))
        case "alias":
            await repo.archive_alias(str(key[1]), team=_text(key[0]))
        case "limit":
            await repo.archive_limit(change.thing.id)


def _fields(change: Change) -> dict[str, Any]:
    """Return what the repository is told: plain values, which it checks itself once more."""
    said = fields_of(change.thing.spec)
    if change.thing.kind == "alias":
        said["targets"] = [fields_of(target) for target in said["targets"]]
    return said


def _text(part: str | int | None) -> str | None:
    return None if part is None else str(part)

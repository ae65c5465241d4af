"""Making a plan true: all of its changes in one transaction, under one revision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy.exc import DBAPIError

from mesh_store.admin.manifest.document import Manifest
from mesh_store.admin.manifest.foreseeing import Foreseen, foresee
from mesh_store.admin.manifest.plan import Change, Plan
from mesh_store.admin.manifest.planning import make_plan
from mesh_store.admin.manifest.present import read_present, read_settled
from mesh_store.admin.manifest.reading import Document
from mesh_store.admin.manifest.things import fields_of
from mesh_store.model.errors import Conflict
from mesh_store.postgres.repository import Repository

#: How often a plan is made anew when somebody else was quicker.
_TRIES = 5
#: SQLSTATEs of who may read but not write: a role without the right, a server that only follows another.
_READERS = ("42501", "25006")


class _Seen(Exception):
    """What was to be seen of a batch was seen; it undoes the batch, and nobody else hears of it."""


async def plan(
    repo: Repository, manifest: Manifest, document: Document, *, prune: bool = False, after: bool = False
) -> Plan:
    """Return what `apply` would do now.

    Args:
        repo: where the configuration is.
        manifest: what should be.
        document: where it is said.
        prune: archive what the manifest does not name.
        after: also look at what callers would hold then. The changes are made for it and undone again, so
            nobody else changes anything meanwhile, and what the database would refuse is refused.

    Raises:
        ManifestError: the manifest contradicts itself, or names what will not be there.
        Conflict: the configuration changes faster than it can be looked at.
    """
    for attempt in range(_TRIES):
        present = await read_settled(repo, _keys(manifest))
        made = make_plan(manifest, document, present, prune=prune)
        if not after:
            return made
        try:
            return replace(made, after=await _tried(repo, made, present.keys))
        except Conflict:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


async def _tried(repo: Repository, made: Plan, keys: frozenset[str]) -> Foreseen | None:
    """Return what callers would hold after a plan; None where this role or server writes nothing."""
    seen: Foreseen | None = None
    try:
        async with repo.batch(expected_revision=made.revision) as batch:
            for change in made.changes:
                await _make(batch, change)
            seen = await foresee(batch, await _live(batch, keys))
            raise _Seen
    except _Seen:
        return seen
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _READERS:
            raise
        return None


async def apply(
    repo: Repository,
    manifest: Manifest,
    document: Document,
    *,
    prune: bool = False,
    revision: int | None = None,
    after: bool = False,
) -> Plan:
    """Bring the configuration to what a manifest says; doing it twice changes nothing the second time.

    Args:
        repo: whose actor is noted in the audit log.
        manifest: what should be.
        document: where it is said.
        prune: archive what the manifest does not name.
        revision: refuse unless the configuration still stands there; without it the plan is made anew
            when somebody else changes something at the same moment.
        after: also look at what callers hold then.

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
                seen = await foresee(batch, await _live(batch, present.keys)) if after else None
            return replace(made, after=seen)
        except Conflict:
            if revision is not None or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _keys(manifest: Manifest) -> list[str]:
    limits = [*manifest.limits, *(limit for team in manifest.teams for limit in team.limits)]
    return [limit.key for limit in limits if limit.key is not None]


async def _live(batch: Repository, keys: frozenset[str]) -> list[str]:
    """Return those of some keys that the changes of a batch did not revoke."""
    return [key for key in sorted(keys) if (await batch.get_key(key)).revoked_at is None]


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

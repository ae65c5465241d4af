"""From a manifest to the things it wants: lists under teams unfolded, what is there twice refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh_store.admin.manifest.document import Manifest, TeamItem
from mesh_store.admin.manifest.faults import Fault, ManifestError, Path
from mesh_store.admin.manifest.reading import Document
from mesh_store.admin.manifest.things import KINDS, Key, Kind, Thing, Things, key_of, meant_owner, name_of
from mesh_store.model.specs import AliasSpec, LimitSpec, MemberSpec, Spec, TeamSpec

Said = tuple[Kind, Spec, Path]


def wanted(manifest: Manifest, document: Document, staying: Mapping[Key, Thing]) -> Things:
    """Return what the manifest wants, by kind and key.

    Args:
        manifest: what is said.
        document: where it is said.
        staying: aliases that stay though the manifest does not name them; a limit may mean one of them.

    Raises:
        ManifestError: something is there twice, or not of the team the file speaks of.
    """
    things: Things = {kind: {} for kind in KINDS}
    faults: list[Fault] = []
    for kind, spec, path in _said(manifest, document, faults):
        owner = None
        if isinstance(spec, LimitSpec) and spec.alias is not None:
            # Aliases come before limits, so the manifest's own are known by now.
            owner = meant_owner(spec.team, spec.alias, things["alias"])
            owner = owner or meant_owner(spec.team, spec.alias, staying)
        thing = Thing(kind, key_of(kind, spec, owner), spec, path, owner=owner)
        if (first := things[kind].get(thing.key)) is not None:
            faults.append(document.fault(path, _twice(thing, document.line(first.path))))
        else:
            things[kind][thing.key] = thing
    if manifest.team is not None:
        faults.extend(_foreign(manifest.team, things, document))
    if faults:
        raise ManifestError(faults)
    return things


def _said(manifest: Manifest, document: Document, faults: list[Fault]) -> Iterator[Said]:
    for index, user in enumerate(manifest.users):
        yield "user", user, ("users", index)
    for index, team in enumerate(manifest.teams):
        yield "team", _alone(team), ("teams", index)
        for place, member in enumerate(team.members):
            spec = MemberSpec(team=team.name, user=member.user, role=member.role)
            yield "member", spec, ("teams", index, "members", place)
    for index, provider in enumerate(manifest.providers):
        yield "provider", provider, ("providers", index)
    for index, price in enumerate(manifest.prices):
        yield "price", price, ("prices", index)
    for index, alias in enumerate(manifest.aliases):
        yield "alias", _stored(alias), ("aliases", index)
    yield from _limits(manifest, document, faults)


def _limits(manifest: Manifest, document: Document, faults: list[Fault]) -> Iterator[Said]:
    for index, team in enumerate(manifest.teams):
        for place, limit in enumerate(team.limits):
            path = ("teams", index, "limits", place)
            if limit.team not in (None, team.name):
                message = f"this is a list of team {team.name!r}; put it under limits: instead"
                faults.append(document.fault((*path, "team"), message))
            yield "limit", limit.model_copy(update={"team": team.name}), path
    for index, limit in enumerate(manifest.limits):
        yield "limit", limit, ("limits", index)


def _alone(team: TeamItem) -> TeamSpec:
    return TeamSpec.model_construct(**{name: getattr(team, name) for name in TeamSpec.model_fields})


def _stored(alias: AliasSpec) -> AliasSpec:
    """Return an alias as the store will hold it: times are whole microseconds."""
    return alias.model_copy(update={"timeout": round(alias.timeout * 1_000_000) / 1_000_000})


def _twice(thing: Thing, line: int) -> str:
    if thing.kind == "limit":
        return f"{name_of(thing)} has a limit of this dimension and period already, on line {line}"
    return f"{thing.kind} {name_of(thing)!r} is there already, on line {line}"


def _foreign(team: str, things: Things, document: Document) -> Iterator[Fault]:
    for kind in ("team", "provider", "price", "alias", "limit"):
        for thing in things[kind].values():
            if thing.team != team:
                whose = f"does not belong to team {team!r}, of which alone this file speaks"
                message = f"{kind} {name_of(thing)!r} {whose}"
                yield document.fault(thing.path, message)

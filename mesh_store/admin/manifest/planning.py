"""From a manifest and what there is to a plan; nothing is read and nothing changed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh_store.admin.manifest.document import Manifest
from mesh_store.admin.manifest.faults import ManifestError
from mesh_store.admin.manifest.plan import Change, Plan, usual
from mesh_store.admin.manifest.present import Present
from mesh_store.admin.manifest.reading import Document
from mesh_store.admin.manifest.references import check_references
from mesh_store.admin.manifest.things import KINDS, Key, Kind, Thing, Things, fields_of
from mesh_store.admin.manifest.wanted import wanted
from mesh_store.model.places import Place, kept
from mesh_store.model.specs import AliasSpec, LimitSpec, Spec

#: What else happens when something goes.
_CONSEQUENCES: Mapping[Kind, str] = {
    "team": "its keys are revoked",
    "user": "the user's keys are revoked",
    "member": "the member's keys of this team are revoked",
    "price": "the built-in price applies again",
}


@dataclass(frozen=True, slots=True)
class _Sides:
    """What should be and what is.

    Attributes:
        going: what is and shall not be any more.
    """

    wanted: Things
    present: Present
    going: Things


def make_plan(manifest: Manifest, document: Document, present: Present, *, prune: bool = False) -> Plan:
    """Work out what applying a manifest would change.

    Args:
        manifest: what should be.
        document: where it is said.
        present: what is.
        prune: archive what is and is not said.

    Raises:
        ManifestError: it contradicts itself, or names what will not be there.
    """
    aliases = present.things["alias"]
    staying = {key: each for key, each in aliases.items() if not prune or not _prunable(each, manifest.team)}
    things = wanted(manifest, document, staying)
    absent = {kind: _absent(present, things, kind, manifest.team) for kind in KINDS}
    going = absent if prune else {kind: {} for kind in KINDS}
    if faults := list(check_references(document, things, present, going)):
        raise ManifestError(faults)
    sides = _Sides(things, present, going)
    left = 0 if prune else sum(len(each) for each in absent.values()) + len(_shadowed(present, manifest.team))
    lost = _lost_limits(sides)
    pruned = _shadowed(present, manifest.team) if prune else []
    return Plan(present.revision, tuple(_changes(sides, lost, pruned)), left)


def _changes(sides: _Sides, lost: dict[Key, str], pruned: list[Thing]) -> Iterator[Change]:
    """Yield every change in an order in which each one finds what it needs."""
    for key, thing in sides.present.things["limit"].items():
        if key in lost or key in sides.going["limit"]:
            yield Change("archive", thing, thing, why=lost.get(key, ""))
    for thing in pruned:
        yield Change("archive", thing, thing, why="another limit goes by the same names")
    for kind in KINDS:
        if kind == "alias":
            yield from _archives(sides, kind)
        yield from _made(sides, kind, lost if kind == "limit" else {})
    for kind in ("price", "member", "provider", "user", "team"):
        yield from _archives(sides, kind)


def _archives(sides: _Sides, kind: Kind) -> Iterator[Change]:
    for thing in sides.going[kind].values():
        yield Change("archive", thing, thing, why=_CONSEQUENCES.get(kind, ""))


def _made(sides: _Sides, kind: Kind, lost: Mapping[Key, str]) -> Iterator[Change]:
    there = sides.present.things[kind]
    for key, thing in sides.wanted[kind].items():
        before = there.get(key)
        if before is None or key in lost:
            yield Change("create", thing, None, _unusual(thing))
        elif fields := _differing(before, thing):
            yield Change("update", thing, before, fields)


def _unusual(thing: Thing) -> tuple[str, ...]:
    values, model = fields_of(thing.spec), type(thing.spec).model_fields
    return tuple(name for name, value in values.items() if value != usual(model[name]))


def _differing(before: Thing, after: Thing) -> tuple[str, ...]:
    if before.spec == after.spec:
        return ()
    old, new = fields_of(before.spec), fields_of(after.spec)
    return tuple(name for name in new if old[name] != new[name])


def _absent(present: Present, things: Things, kind: Kind, team: str | None) -> dict[Key, Thing]:
    return {
        key: thing
        for key, thing in present.things[kind].items()
        if key not in things[kind] and _prunable(thing, team)
    }


def _shadowed(present: Present, team: str | None) -> list[Thing]:
    return [thing for thing in present.shadowed if _prunable(thing, team)]


def _prunable(thing: Thing, team: str | None) -> bool:
    """Tell whether a manifest may do away with a thing by not naming it.

    Keys are not in manifests, so neither are their limits; a manifest of one team speaks of what is that
    team's own, and the team itself is not its own.
    """
    if isinstance(thing.spec, LimitSpec) and thing.spec.key is not None:
        return False
    return team is None or (thing.kind in ("member", "alias", "limit") and thing.team == team)


def _lost_limits(sides: _Sides) -> dict[Key, str]:
    """Return limits that go because what they are bound to goes, by key, with the reason.

    One that the manifest wants is made anew then, on what the names mean afterwards.
    """
    lost: dict[Key, str] = {}
    for key, limit in sides.present.things["limit"].items():
        spec = limit.spec
        if not isinstance(spec, LimitSpec) or spec.alias is None:
            continue
        alias: Key = (limit.owner, spec.alias)
        after = sides.wanted["alias"].get(alias)
        if alias in sides.going["alias"]:
            lost[key] = "its alias goes"
        elif spec.target is not None and after is not None:
            before = sides.present.things["alias"].get(alias)
            if before is None or not _goes_on(before.spec, after.spec, spec.target, limit.tier):
                lost[key] = "its target leaves the alias"
    return lost


def _goes_on(before: Spec, after: Spec, target: str, tier: int | None) -> bool:
    """Tell whether a target stays in its alias, be it in another tier."""
    return any(
        f"{provider}/{model}" == target and at == tier
        for provider, model, at in kept(_places(before), _places(after)).values()
    )


def _places(alias: Spec) -> list[Place]:
    assert isinstance(alias, AliasSpec)
    return [(each.provider, each.model, each.tier) for each in alias.targets]

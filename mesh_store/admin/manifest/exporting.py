"""What there is, as a manifest: applied where it came from it changes nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mesh_store.admin.manifest.plan import plain, usual
from mesh_store.admin.manifest.present import Present
from mesh_store.admin.manifest.things import SUBJECTS, Key, Kind, Thing, fields_of
from mesh_store.admin.manifest.writing import write
from mesh_store.model.errors import NotFound
from mesh_store.model.specs import LimitSpec

_HEADER = """\
# yaml-language-server: $schema=mesh.schema.json
# What `mesh export` found; `mesh schema` writes the schema. Keys, their limits and secrets are not in here.
"""
_SECTIONS: tuple[tuple[str, Kind], ...] = (
    ("users", "user"),
    ("teams", "team"),
    ("providers", "provider"),
    ("prices", "price"),
    ("aliases", "alias"),
    ("limits", "limit"),
)


def export(present: Present, *, team: str | None = None) -> str:
    """Write the present state as a manifest.

    Args:
        present: what there is.
        team: write only what is this team's own, as a manifest that speaks of it alone.

    Raises:
        NotFound: there is no such team.
    """
    if team is not None and (team,) not in present.things["team"]:
        raise NotFound(f"there is no team {team!r}", field="team")
    parts = [_HEADER, write({"version": 1} | ({} if team is None else {"team": team}), flow=False)]
    under = _under_teams(present)
    for section, kind in _SECTIONS:
        things = [thing for thing in _sorted(present, kind) if _belongs(present, thing, team)]
        items = [{**_plain(thing), **under.get(thing.key, {})} for thing in things if _stands_alone(thing)]
        if items:
            parts.append(write({section: items}))
    return "".join(parts)


def _belongs(present: Present, thing: Thing, team: str | None) -> bool:
    if team is None:
        return True
    if thing.kind == "user":
        return (team, thing.key[0]) in present.things["member"]
    return thing.team == team


def _sorted(present: Present, kind: Kind) -> list[Thing]:
    """Return things by name, so that two databases with the same things write the same file."""
    return sorted(present.things[kind].values(), key=lambda thing: [str(part or "") for part in thing.key])


def _stands_alone(thing: Thing) -> bool:
    """Tell whether a thing has an item of its own: no limit of a key, nor one that stands under a team."""
    spec = thing.spec
    return not isinstance(spec, LimitSpec) or (spec.key is None and not _is_teams(spec))


def _under_teams(present: Present) -> dict[Key, dict[str, list[Any]]]:
    """Return what stands under each team: its members, and the limits that are the team's alone."""
    under: dict[Key, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for thing in _sorted(present, "member"):
        team, user = thing.key[0], thing.key[1]
        role = getattr(thing.spec, "role", "member")
        under[team,]["members"].append(user if role == "member" else {"user": user, "role": role})
    for thing in _sorted(present, "limit"):
        if isinstance(thing.spec, LimitSpec) and _is_teams(thing.spec):
            said = {name: value for name, value in _plain(thing).items() if name != "team"}
            under[thing.spec.team,]["limits"].append(said["limit"] if list(said) == ["limit"] else said)
    return under


def _is_teams(limit: LimitSpec) -> bool:
    return all((getattr(limit, name) is not None) == (name == "team") for name in SUBJECTS)


def _plain(thing: Thing) -> dict[str, Any]:
    """Return what is said about a thing, without what is as usual."""
    model = type(thing.spec).model_fields
    return {
        name: plain(value)
        for name, value in fields_of(thing.spec).items()
        if value != usual(model[name]) or model[name].is_required()
    }

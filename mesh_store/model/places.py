"""Which targets of an alias stay the same when its targets are said anew."""

from __future__ import annotations

from collections.abc import Sequence

#: Provider (by name or id), model and tier: what makes a target of an alias.
Place = tuple[str, str, int]


def kept(present: Sequence[Place], wanted: Sequence[Place]) -> dict[Place, Place]:
    """Return, by wanted place, the present place of the target that goes on there.

    One that stays where it is comes first; then one of the same provider and model that would have to
    leave its tier: it moved.
    """
    there = set(present)
    found = {place: place for place in wanted if place in there}
    leaving = [place for place in present if place not in found]
    for place in wanted:
        if place not in found:
            moved = next((each for each in leaving if each[:2] == place[:2]), None)
            if moved is not None:
                leaving.remove(moved)
                found[place] = moved
    return found

"""What applying a manifest would do, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel

from mesh_store.admin.manifest.foreseeing import Foreseen
from mesh_store.admin.manifest.things import Thing, fields_of

Action = Literal["create", "update", "archive"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        action: what is done.
        thing: what it is done to: as it will be, or as it was when it goes.
        before: what is there now, or None when it is made.
        fields: names of the fields that differ, in the order of the spec; of a new thing, those that
            are not as usual.
        why: what else follows, or why it happens though nobody asked; "" when nothing is to be said.
    """

    action: Action
    thing: Thing
    before: Thing | None = None
    fields: tuple[str, ...] = ()
    why: str = ""

    @property
    def differences(self) -> list[tuple[str, Any, Any]]:
        """Field, before and after, as plain values."""
        if self.action == "archive":
            return []
        old = fields_of(self.before.spec) if self.before is not None else {}
        new = fields_of(self.thing.spec)
        return [(name, plain(old.get(name)), plain(new[name])) for name in self.fields]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        said: dict[str, Any] = {"action": self.action, "kind": self.thing.kind, "name": self.thing.name}
        if self.action != "create":
            said["id"] = (self.before or self.thing).id
        if self.thing.kind == "limit":
            said["limit"] = getattr(self.thing.spec, "limit", "")
        if self.why:
            said["why"] = self.why
        said["fields"] = {name: {"before": old, "after": new} for name, old, new in self.differences}
        return said


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying would do.

    Attributes:
        revision: of the configuration it was made for.
        changes: in the order they are made.
        absent: how many live things the manifest does not name; they stay unless it is pruned.
        after: what callers would hold then; None unless it was asked for, and where only who may write
            could have seen it.
    """

    revision: int
    changes: tuple[Change, ...]
    absent: int = 0
    after: Foreseen | None = field(default=None, compare=False, repr=False)

    def count(self, action: Action) -> int:
        """Return how many changes are of a kind."""
        return sum(change.action == action for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        counts = {action: self.count(action) for action in ("create", "update", "archive")}
        changes = [change.as_json() for change in self.changes]
        return {"revision": self.revision, **counts, "absent": self.absent, "changes": changes}


def plain(value: Any) -> Any:
    """Return a field's value as JSON and YAML know it; what is as usual is left out of nested things."""
    match value:
        case BaseModel():
            fields = type(value).model_fields
            said = {name: plain(getattr(value, name)) for name in fields}
            return {name: each for name, each in said.items() if each != plain(usual(fields[name]))}
        case tuple() | list():
            return [plain(each) for each in value]
        case dict():
            return {name: plain(each) for name, each in value.items()}
        case Decimal():
            return value  # written as it is; a float would round it
        case _:
            return value


def usual(field: Any) -> Any:
    """Return the default of a pydantic field; something nothing equals where there is none."""
    return ... if field.is_required() else field.get_default(call_default_factory=True)

"""A plan as people read it: what comes, what goes, and what changes from what to what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mesh_plugins.cli.printing import console
from mesh_plugins.cli.targets import target_text

if TYPE_CHECKING:
    from rich.text import Text

    from mesh_store.admin.manifest import Change, Plan

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "archive": ("-", "red")}
#: What a thing's first line says already.
_TOLD = {"name", "team", "user", "key", "alias", "provider", "target", "model"}
#: Parts of a target that its text holds.
_IN_TEXT = {"provider", "model", "tier", "weight", "max_output_tokens", "context_window"}


def tell(plan: Plan) -> None:
    """Print every change of a plan."""
    to = console()
    for change in plan.changes:
        for line in _lines(change):
            to.print(line, soft_wrap=True)


def summary(plan: Plan, *, done: bool = False) -> str:
    """Return one line: how much changes, and what stays though the manifest does not name it."""
    counts = {"create": "created", "update": "changed", "archive": "archived"}
    parts = [f"{number} {word}" for action, word in counts.items() if (number := plan.count(action))]  # type: ignore[arg-type]
    if not parts:
        said = "nothing to change"
    elif done:
        said = f"done: {', '.join(parts)}"
    else:
        said = f"would be {', '.join(parts)} (at revision {plan.revision})"
    if plan.absent:
        said += f"; {plan.absent} not named by the manifest stay (--prune archives them)"
    return said


def _lines(change: Change) -> Iterator[Text]:
    from rich.text import Text

    sign, colour = _SIGNS[change.action]
    said = f"{sign} {change.thing.kind} {change.thing.name}"
    told = _TOLD
    if change.thing.kind == "limit" and change.action != "update":
        said += f": {getattr(change.thing.spec, 'limit', '')}"
        told = _TOLD | {"limit"}
    yield Text(f"{said}  ({change.why})" if change.why else said, style=colour)
    for name, before, after in change.differences:
        if change.action == "create":
            if name not in told:
                yield Text(f"    {name}: {_one(name, after)}")
        elif isinstance(before, list) and isinstance(after, list):
            yield Text(f"    {name}:")
            yield from _list_lines(name, before, after)
        else:
            yield Text(f"    {name}: {_one(name, before)} → {_one(name, after)}")


def _list_lines(name: str, before: list[Any], after: list[Any]) -> Iterator[Text]:
    from rich.text import Text

    old, new = ([_entry(name, each) for each in side] for side in (before, after))
    if sorted(old) == sorted(new):
        yield Text(f"      the order is now {', '.join(new)}")
    for each in old:
        if each not in new:
            yield Text(f"      - {each}", style="red")
    for each in new:
        if each not in old:
            yield Text(f"      + {each}", style="green")


def _one(name: str, value: Any) -> str:
    match value:
        case None if name == "grants":
            return "every team"
        case None:
            return "none"
        case list():
            return ", ".join(_entry(name, each) for each in value) or "none"
        case str():
            return value or "none"
        case _:
            return json.dumps(value, default=str, ensure_ascii=False)


def _entry(name: str, value: Any) -> str:
    if name != "targets":
        return str(value)
    usual: dict[str, Any] = {"weight": 1, "tier": 1, "max_output_tokens": None, "context_window": None}
    text = target_text(usual | value)
    more = {part: each for part, each in value.items() if part not in _IN_TEXT}
    return f"{text} {json.dumps(more, ensure_ascii=False)}" if more else text

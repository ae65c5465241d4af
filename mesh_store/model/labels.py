"""What callers say of their own calls, as subjects of limits: their end users, and their tags.

=====================  ==========================================================================
``end_user: "*"``      each end user by itself
``end_user: "ann"``    this one; in place of what a ``*`` limit of that dimension and period says
``tag: "batch"``       calls tagged ``batch``, whatever its value
``tag: "job=nightly"`` calls tagged ``job`` with this value; in place of what ``job=*`` says
``tag: "job=*"``       each value of ``job`` by itself
=====================  ==========================================================================

They are strangers' words: bounded where a call begins, kept apart by team, and hashed before they reach
a key in Redis. How many a limit keeps apart in a day is bounded, too: `MOST_APART`, or what its
``distinct`` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh_store.model.document import LimitRule, Subject

#: How many end users, or values of a tag, one limit keeps apart in a day unless it says otherwise.
MOST_APART = 10_000
#: For how long one that was seen counts, microseconds.
APART_US = 86_400_000_000

EACH = "*"
_EACH_VALUE = "=*"


def is_per_value(subject: Subject) -> bool:
    """Tell whether a limit counts for each end user, or each value of a tag, by itself."""
    return subject.end_user == EACH or (subject.tag is not None and subject.tag.endswith(_EACH_VALUE))


def value_of(subject: Subject, end_user: str | None, tags: Mapping[str, str]) -> str:
    """Return what a call says that a per-value limit counts by; the parts cannot run into each other."""
    said = [end_user or ""] if subject.end_user == EACH else []
    if subject.tag is not None and subject.tag.endswith(_EACH_VALUE):
        said.append(tags.get(subject.tag.removesuffix(_EACH_VALUE), ""))
    return "\0".join(said)


def opaque(rule_id: str, value: str) -> str:
    """Return what stands for a value in a key; another limit's hash of it tells nothing."""
    key = rule_id.encode()[:64]
    return hashlib.blake2b(value.encode("utf-8", "replace"), key=key, digest_size=12).hexdigest()


def member_of(rule_id: str, value: str) -> int:
    """Return what stands for a value among those seen: 52 bits, all that Lua's numbers add up exactly."""
    return int(opaque(rule_id, value)[:13], 16)


def end_users(end_user: str | None) -> tuple[str, ...]:
    """Return the ways a limit may name a call's end user."""
    return () if end_user is None else (EACH, end_user)


def tags_of(tags: Mapping[str, str]) -> Iterator[str]:
    """Yield the ways a limit may name a call's tags."""
    for name, value in tags.items():
        yield name
        yield name + _EACH_VALUE
        yield f"{name}={value}"


def named_label(rule: LimitRule, end_user: str | None, tags: Mapping[str, str]) -> str:
    """Return a per-value limit's label with the very value in place of ``*``, for messages."""
    label, subject = rule.label, rule.subject
    if subject.end_user == EACH and end_user is not None:
        label = label.replace(f"end user {EACH}", f"end user {end_user}", 1)
    if subject.tag is not None and subject.tag.endswith(_EACH_VALUE):
        name = subject.tag.removesuffix(_EACH_VALUE)
        label = label.replace(f"tag {subject.tag}", f"tag {name}={tags.get(name, '')}", 1)
    return label


def overruled(rules: list[LimitRule]) -> set[str]:
    """Return the ids of per-value limits in whose place a named one of that dimension and period stands."""
    named = {_place(rule) for rule in rules if not is_per_value(rule.subject)}
    return {rule.id for rule in rules if is_per_value(rule.subject) and _place(rule) in named}


def _place(rule: LimitRule) -> tuple[object, ...]:
    subject, limit = rule.subject, rule.limit
    others = (subject.team, subject.user, subject.key, subject.alias, subject.provider, subject.target)
    tag = None if subject.tag is None else subject.tag.partition("=")[0]
    return (others, subject.end_user is None, tag, rule.dimension, limit.kind, limit.period_us)

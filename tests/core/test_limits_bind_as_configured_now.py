"""What binds a call is worked out once per configuration, and never outlives it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_plugins.defaults.charging import Charging
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.snapshot import LimitRule, Subject

ASK = [{"role": "user", "content": "hi"}]


def rule(id: str, text: str, subject: Subject) -> LimitRule:  # noqa: A002 - the field's name
    dimension, limit = parse_limit(text)
    return LimitRule(id=id, subject=subject, dimension=dimension, limit=limit, text=text, label=id)


def bound(mesh: MemoryMesh, **options: Any) -> set[str]:
    """Return the limits the next call would take from."""
    request = mesh.request("chat", "fast", {"messages": ASK}, **options)
    return {rule.id for rule in mesh._engine.plan(request).rules}


@pytest.fixture
def mesh() -> MemoryMesh:
    return MemoryMesh(limits=["100 requests/min"])


def test_a_new_limit_binds_the_next_call(mesh: MemoryMesh) -> None:
    assert bound(mesh) == {"limit-0"}
    document = mesh.config.document
    more = (*document.limits, rule("more", "5 requests/min", Subject(alias="alias-fast")))
    mesh.config.publish(msgspec.structs.replace(document, revision=2, limits=more))
    assert bound(mesh) == {"limit-0", "more"}
    mesh.config.publish(msgspec.structs.replace(document, revision=3, limits=()))
    assert bound(mesh) == set()


def test_a_keys_other_user_is_bound_by_other_limits(mesh: MemoryMesh) -> None:
    document = mesh.config.document
    mine = rule("of-ada", "5 requests/min", Subject(user="ada"))
    mesh.config.publish(msgspec.structs.replace(document, revision=2, limits=(mine,)))
    assert bound(mesh) == set()
    [(digest, entry)] = mesh.config.entries.items()
    mesh.config.entries[digest] = msgspec.structs.replace(entry, user="ada", revision=2)
    assert bound(mesh) == {"of-ada"}


def test_what_a_call_says_of_itself_binds_that_call_alone(mesh: MemoryMesh) -> None:
    document = mesh.config.document
    nightly = rule("nightly", "5 requests/min", Subject(team="team", tag="job=nightly"))
    mesh.config.publish(msgspec.structs.replace(document, revision=2, limits=(nightly,)))
    assert bound(mesh) == set()
    assert bound(mesh, tags={"job": "nightly"}) == {"nightly"}
    assert bound(mesh) == set()


def test_what_is_kept_is_bounded(mesh: MemoryMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh_plugins.defaults.charging._MOST_KEPT", 3)
    charging = Charging()
    request = mesh.request("chat", "fast", {"messages": ASK})
    snapshot = mesh.config.snapshot()
    alias = snapshot.alias("fast", "team")
    for number in range(50):
        target = msgspec.structs.replace(alias.targets[0], id=f"t{number}")
        charging._bound(request, alias, target, snapshot)
    assert len(charging._kept[1]) <= 4

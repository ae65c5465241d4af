"""Every subject by every dimension, soft and hard, enforced and in shadow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_plugins.core.plan import plan_call
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import BudgetExceeded, QuotaExceeded
from mesh_store.model.limit_terms import usual_kind
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import (
    Alias,
    KeyEntry,
    LimitRule,
    Provider,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)
from mesh_store.model.usage import Rates

ASK = [{"role": "user", "content": "x" * 20}]
MINUTE = 60_000_000
SUBJECTS = {
    "team": {"team": "t1"},
    "team+user": {"team": "t1", "user": "u1"},
    "user": {"user": "u1"},
    "key": {"key": "mine"},
    "alias": {"alias": "a1"},
    "team+alias": {"team": "t1", "alias": "a1"},
    "provider": {"provider": "p1"},
    "target": {"alias": "a1", "target": "x1"},
    "end_user": {"team": "t1", "end_user": "*"},
    "tag": {"team": "t1", "tag": "batch"},
    "global": {},
}
#: Where another call differs in what each subject names; nobody differs from a global limit.
OTHERS = {"team": "t2", "user": "u2", "key": "other", "alias": "a2", "provider": "p2", "target": "x2"}
DIMENSIONS = ("requests", "input_tokens", "output_tokens", "tokens", "usd", "concurrency")


def world(rule: LimitRule) -> MemoryMesh:
    """A mesh with one limit, two teams, two aliases at two providers."""
    providers = tuple(
        Provider(id=f"p{n}", name=f"p{n}", kind="openai", base_url="http://memory.invalid/v1") for n in (1, 2)
    )
    aliases = tuple(
        Alias(id=f"a{n}", name=f"a{n}", targets=(Target(id=f"x{n}", provider=f"p{n}", model=f"m{n}"),))
        for n in (1, 2)
    )
    document = SnapshotDocument(
        epoch="e",
        revision=1,
        compiled_at_us=0,
        teams=(Team("t1", "one"), Team("t2", "two")),
        providers=providers,
        aliases=aliases,
        limits=(rule,),
        rates={f"x{n}": Rates(input=1_000_000, output=1_000_000) for n in (1, 2)},
    )
    mesh = MemoryMesh(document=document, now_us=lambda: 1_900_000_000_000_000)
    config: Any = mesh.config
    [digest] = config.entries
    config.entries[digest] = KeyEntry(id="mine", team="t1", user="u1")
    return mesh


def limited(name: str, dimension: Any, amount: int, *, hard: bool, enforce: bool) -> LimitRule:
    kind = usual_kind(dimension)
    if kind == "rate":
        limit = Limit(amount=amount * 2, period_us=MINUTE, burst=amount, hard=hard)
    else:
        limit = Limit(amount=amount, period_us=MINUTE, kind=kind, hard=hard)
    return LimitRule(
        id="r", subject=Subject(**SUBJECTS[name]), dimension=dimension, limit=limit, text="the limit",
        label=name, enforce=enforce,
    )  # fmt: skip


def ask(mesh: MemoryMesh, **who: Any) -> Any:
    """Plan a call of 100 tokens at most; ``who`` says in what it differs."""
    payload = {"messages": ASK, "max_tokens": 50}
    alias = "a2" if {"alias", "provider", "target"} & set(who) else "a1"
    request = mesh.request("chat", alias, payload, end_user="ann", tags=["batch"])
    entry = {name: who.pop(name) for name in ("team", "user") if name in who}
    entry |= {"id": who.pop("key")} if "key" in who else {}
    request.principal = msgspec.structs.replace(request.principal, **entry)
    return plan_call(request, mesh.config.snapshot(), mesh.hooks)


@pytest.mark.parametrize("enforce", [True, False])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_held_limit_refuses_whom_it_binds_and_nobody_else(
    name: str, dimension: str, hard: bool, enforce: bool
) -> None:
    ample = world(limited(name, dimension, 10**9, hard=hard, enforce=enforce))
    [taken] = [charge.amount for charge in ask(ample).charges if not charge.key.endswith(":distinct")]
    assert taken > 0
    # Room for one call and a half.
    mesh = world(limited(name, dimension, taken + taken // 2, hard=hard, enforce=enforce))
    plan = ask(mesh)
    assert mesh.limiter.reserve(plan.charges).admitted

    def again() -> Any:
        return mesh.chat("a1", ASK, max_tokens=50, end_user="ann", tags=["batch"])

    if not enforce:
        again()
        assert mesh.facts[-1].flags == ("shadow_denied",)
        return
    with pytest.raises(BudgetExceeded if dimension == "usd" else QuotaExceeded) as refused:
        again()
    assert refused.value.limit == "the limit"
    assert name in str(refused.value)
    for part in SUBJECTS[name]:
        if part in OTHERS:
            other = ask(mesh, **{part: OTHERS[part]})
            assert mesh.limiter.reserve(other.charges).admitted if other.charges else not other.rules

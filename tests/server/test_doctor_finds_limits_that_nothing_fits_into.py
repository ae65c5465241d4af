"""A limit into which no ordinary call fits is named before somebody's call is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mesh_plugins.cli import fitting
from mesh_plugins.cli.checks.limits import limits
from mesh_plugins.cli.fitting import look
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import QuotaExceeded
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.snapshot import (
    Alias,
    LimitRule,
    Provider,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)
from mesh_store.model.usage import Rates
from mesh_store.postgres import Database
from mesh_store.redis import connect_async


def document(text: str, cap: int | None = None, *, enforce: bool = True, **subject: str) -> SnapshotDocument:
    """A team with one limit, one alias it may use and one it may not."""
    dimension, limit = parse_limit(text)
    target = Target(id="x1", provider="p1", model="m", max_output_tokens=cap)
    return SnapshotDocument(
        epoch="e",
        revision=1,
        compiled_at_us=0,
        teams=(Team("t1", "research"), Team("t2", "sales")),
        providers=(Provider(id="p1", name="p", kind="openai", base_url="http://memory.invalid/v1"),),
        aliases=(
            Alias(id="a0", name="closed", targets=(target,), grants=("t2",)),
            Alias(id="a1", name="fast", targets=(target,), grants=("t1",)),
        ),
        limits=(
            LimitRule(
                id="r", subject=Subject(**{"team": "t1"} | subject), dimension=dimension, limit=limit,
                text=text, label="team research", enforce=enforce,
            ),
        ),
        rates={"x1": Rates(input=10**6, output=10**6)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cap", "said"),
    [
        ("1000 tokens/min, burst 1000", None, "lets 1,000 tokens through at once; a call of 'fast'"),
        ("5000 tokens/min, burst 500", None, "lets 500 tokens through at once"),
        ("9000 output tokens/min, hard", 4_096, "reserves 4,096 output tokens, and never fits"),
        ("$0.0000001/day", None, "never fits"),
    ],
)
def test_it_is_named_with_what_it_would_need_and_such_a_call_is_refused(
    text: str, cap: int | None, said: str
) -> None:
    [found] = look(document(text, cap)).unfit
    assert (found.limit, found.subject) == (text, "team research")
    assert said in found.why
    assert "max_tokens" in found.fix
    with pytest.raises(QuotaExceeded) as refused:
        MemoryMesh(document=document(text, cap)).chat("fast", [{"role": "user", "content": "hi"}])
    assert refused.value.retry_after is None or "day" in text


@pytest.mark.parametrize(
    ("text", "cap", "changes"),
    [
        ("5000 tokens/min, burst 2000", None, {}),
        ("1000 tokens/min, burst 1000", 100, {}),
        ("9000 output tokens/min, hard", 400, {}),
        ("1000 tokens/min", None, {"enforce": False}),
        ("1000 tokens/min", None, {"alias": "a0"}),
        ("1 concurrent", None, {}),
        ("0 requests/min", None, {}),
        ("$1/day", None, {}),
    ],
)
def test_others_are_not(text: str, cap: int | None, changes: dict[str, Any]) -> None:
    assert look(document(text, cap, **changes)) == ([], 0)


@pytest.mark.parametrize(
    "subject", [{"key": "k1"}, {"user": "u1"}, {"end_user": "*"}, {"tag": "batch"}, {"alias": "a1"}], ids=str
)
def test_whoever_it_binds(subject: dict[str, str]) -> None:
    assert len(look(document("1000 tokens/min", **subject)).unfit) == 1


def test_an_alias_that_only_some_may_use_is_judged_by_their_calls() -> None:
    wide, narrow = document("1000 tokens/min"), document("1000 tokens/min", cap=10)
    everybodys = msgspec.structs.replace(narrow.limits[0], subject=Subject())
    # What everybody may use fits, what is granted to the second team does not.
    mixed = msgspec.structs.replace(
        narrow,
        aliases=(wide.aliases[0], msgspec.structs.replace(narrow.aliases[1], grants=None)),
        limits=(everybodys,),
    )
    mixed = _targets_apart(mixed)
    assert "'closed'" in look(mixed).unfit[0].why
    nobodys = msgspec.structs.replace(mixed.aliases[0], grants=())
    assert look(msgspec.structs.replace(mixed, aliases=(nobodys, mixed.aliases[1]))).unfit == []


def test_more_than_can_be_looked_at_is_counted_and_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = document("1000 tokens/min")
    many = msgspec.structs.replace(made, limits=made.limits * 5)
    monkeypatch.setattr(fitting, "MOST_PLANS", 2)
    assert [len(look(many).unfit), look(many).passed_over] == [2, 3]


def _targets_apart(made: SnapshotDocument) -> SnapshotDocument:
    """Give each alias a target with an id of its own."""
    aliases = tuple(
        msgspec.structs.replace(
            alias, targets=tuple(msgspec.structs.replace(each, id=f"{alias.id}>x") for each in alias.targets)
        )
        for alias in made.aliases
    )
    return msgspec.structs.replace(
        made, aliases=aliases, rates={f"{each.id}>x": Rates(1, 1) for each in aliases}
    )


async def test_doctor_says_so_of_what_callers_have(make_world: Any) -> None:
    world = await asyncio.to_thread(make_world, limits=("1000 tokens/min, burst 5",))
    await asyncio.to_thread(world.alias)
    found = await _found(world)
    assert [finding.state for finding in found] == ["warning"]
    assert "never fits" in found[0].found, "of whichever alias everybody may use"


async def test_doctor_looks_at_limits_of_single_keys_that_live(make_world: Any) -> None:
    world = await asyncio.to_thread(make_world)
    await asyncio.to_thread(world.alias)
    tight, gone = [await asyncio.to_thread(_limited, world) for _ in range(2)]
    assert sum(tight in each.found or gone in each.found for each in await _found(world, "")) == 2
    passed = "UPDATE keys SET expires_at = now() - interval '1 s' WHERE id = $1 RETURNING id"
    assert len(await asyncio.to_thread(world.query, passed, gone)) == 1
    said = [each.found for each in await _found(world, "") if tight in each.found or gone in each.found]
    assert len(said) == 1
    assert tight in said[0]
    assert "lets 5 tokens through at once" in said[0]


async def _found(world: Any, word: str | None = None) -> list[Any]:
    """What it says of a world's team, or with another word in it."""
    async with (
        connect_async(world.engines.redis_url, deadline=30, connect_deadline=30) as redis,
        Database(world.engines.database_url) as database,
    ):
        found = await limits(redis, database)
    return [each for each in found if (world.team if word is None else word) in each.found]


def _limited(world: Any) -> str:
    """A key with a limit nothing fits into; returns its id."""
    key: str = world.new_key()[0]
    world.run(lambda admin: admin.create_limit(limit="1000 tokens/min, burst 5", key=key))
    return key

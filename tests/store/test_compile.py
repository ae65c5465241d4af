"""What callers hold: one view of the live configuration, names resolved, bursts that fit, exact prices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mesh_store.model.keys import MintedKey
from mesh_store.model.snapshot import KeyEntry, Snapshot, Subject, decode, encode
from mesh_store.model.usage import Rates
from mesh_store.postgres import Database
from mesh_store.postgres.compile import compile_snapshot
from mesh_store.postgres.repository import Repository

Sql = Callable[..., Awaitable[list[Any]]]


async def snapshot(database: Database) -> Snapshot:
    return Snapshot(decode(encode(await compile_snapshot(database))))


async def test_an_empty_database_compiles(database: Database) -> None:
    held = await snapshot(database)
    head = await database.head()
    assert (held.epoch, held.revision) == (head.epoch, 0)
    assert held.document.aliases == ()


async def test_a_call_finds_its_alias_targets_provider_and_limits(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_limit(team="research", limit="600 requests/min")
    await repo.create_limit(alias="fast", limit="20 concurrent", enforce=False, on_exhausted="cut")
    held = await snapshot(database)
    team = await repo.get_team("research")
    alias = held.alias("fast", team.id)
    assert alias is not None
    assert [(target.model, target.tier) for target in alias.targets] == [("gpt-5-mini", 1), ("gpt-5", 2)]
    provider = held.provider(alias.targets[0].provider)
    assert (provider.name, provider.kind, provider.secret) == ("openai", "openai", "env:OPENAI_API_KEY")
    rules = list(
        held.limits_on(Subject(team=team.id, key=research.id, alias=alias.id), KeyEntry(id="k", team=team.id))
    )
    assert {(rule.label, rule.text, rule.enforce, rule.on_exhausted) for rule in rules} == {
        ("team research", "600 requests/min", True, "allow"),
        ("alias fast", "20 concurrent", False, "cut"),
    }


async def test_what_is_archived_is_gone(research: MintedKey, repo: Repository, database: Database) -> None:
    await repo.create_alias(name="own", team="research")
    await repo.create_limit(team="research", limit="600 requests/min")
    await repo.create_limit(key=research.id, limit="60 requests/min")
    await repo.create_limit(alias="fast", limit="60 requests/min")
    await repo.archive_team("research")
    await repo.archive_alias("fast")
    document = await compile_snapshot(database)
    assert (document.teams, document.aliases, document.limits, document.rates) == ((), (), (), {})


async def test_psql_cannot_make_a_snapshot_that_names_what_is_not_there(
    research: MintedKey, repo: Repository, database: Database, sql: Sql
) -> None:
    await repo.create_limit(provider="openai", limit="60 requests/min")
    await sql("UPDATE providers SET archived_at = now()")
    held = await snapshot(database)
    assert [alias.targets for alias in held.document.aliases] == [()]
    assert held.document.limits == ()


async def test_grants_decide_which_teams_see_an_alias(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_team(name="other")
    await repo.update_alias("fast", grants=["research"])
    await repo.create_alias(name="nobodys", grants=[])
    held = await snapshot(database)
    names = {name: (await repo.get_team(name)).id for name in ("research", "other")}
    assert {name: held.alias_names(team) for name, team in names.items()} == {
        "research": ["fast"],
        "other": [],
    }


async def test_a_teams_limit_on_an_alias_follows_the_team_to_its_own_alias(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    limit = await repo.create_limit(team="research", alias="fast", limit="60 requests/min")
    own = await repo.create_alias(name="fast", team="research")
    held = await snapshot(database)
    (rule,) = held.document.limits
    assert (rule.id, rule.subject.alias) == (limit.id, own.id)
    await repo.archive_alias("fast", team="research")
    (rule,) = (await snapshot(database)).document.limits
    assert rule.subject.alias == (await repo.get_alias("fast")).id


async def test_a_token_burst_has_room_for_the_largest_call_the_subject_can_make(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    target = {"provider": "openai", "model": "own-model", "context_window": 32_000}
    await repo.create_alias(name="small", targets=[target])
    await repo.create_limit(team="research", limit="200k tokens/min")
    await repo.create_limit(team="research", limit="1M tokens/day, burst 5000")
    await repo.create_limit(alias="small", limit="200k tokens/min")
    await repo.create_limit(alias="small", limit="600 requests/min")
    bursts = {
        (rule.label, rule.text): rule.limit.burst for rule in (await snapshot(database)).document.limits
    }
    assert bursts == {
        ("team research", "200k tokens/min"): 200_000,  # gpt-5 takes 400,000 tokens
        ("team research", "1M tokens/day, burst 5000"): 5_000,
        ("alias small", "200k tokens/min"): 32_000,
        ("alias small", "600 requests/min"): 60,
    }


async def test_prices_are_the_operators_else_the_lists_else_unknown(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_provider(name="local", kind="openai", base_url="http://127.0.0.1:8080/v1")
    targets = [{"provider": provider, "model": "gpt-5-mini"} for provider in ("openai", "local")]
    alias = await repo.update_alias("fast", targets=targets)
    listed, unknown = (target.id for target in alias.targets)
    before = await snapshot(database)
    known = before.document.rates.get(listed)
    assert known is not None
    standard = msgspec.structs.replace(known, terms=None)
    assert standard == Rates(input=250_000, output=2_000_000, cache_read=25_000)
    assert before.document.rates.get(unknown) is None
    own = {"input": "0.0375", "output": "0.15", "request": "0.001"}
    for provider in ("openai", "local"):
        await repo.set_price(provider=provider, model="gpt-5-mini", **own)
    after = await snapshot(database)
    expected = Rates(input=37_500, output=150_000, request=10**9)
    assert [after.document.rates.get(target) for target in (listed, unknown)] == [expected, expected]
    assert before.document.rate_card != after.document.rate_card


async def test_equal_configurations_compile_to_equal_documents(
    research: MintedKey, database: Database
) -> None:
    first, second = [await compile_snapshot(database) for _ in range(2)]
    assert encode(first)[-200:] == encode(second)[-200:]
    assert (first.rate_card, first.aliases, first.limits) == (second.rate_card, second.aliases, second.limits)


async def test_a_snapshot_never_shows_half_a_change(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_alias(name="twin")
    done = asyncio.Event()

    async def flip() -> None:
        for number in range(12):
            async with repo.batch() as batch:
                for name in ("fast", "twin"):
                    target = {"provider": "openai", "model": f"model-{number}"}
                    await batch.update_alias(name, targets=[target])
        done.set()

    flipping = asyncio.create_task(flip())
    seen = set()
    while not done.is_set():
        document = await compile_snapshot(database)
        models = {alias.name: [target.model for target in alias.targets] for alias in document.aliases}
        if models["twin"]:
            assert models["fast"] == models["twin"]
            seen.add((document.revision, tuple(models["twin"])))
    await flipping
    assert len({revision for revision, _ in seen}) == len(seen)


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.full)])
async def test_many_aliases_compile_without_a_query_for_each(
    research: MintedKey, repo: Repository, database: Database, sql: Sql, count: int
) -> None:
    await sql(
        "INSERT INTO aliases (id, name, operations)"
        " SELECT gen_random_uuid(), 'alias-' || n, '{chat}' FROM generate_series(1, $1::int) n",
        count,
    )
    await sql(
        "INSERT INTO targets (id, alias_id, provider_id, model, position)"
        " SELECT gen_random_uuid(), a.id, p.id, 'gpt-5-mini', 0 FROM aliases a, providers p"
        " WHERE a.name LIKE 'alias-%'"
    )
    held = await snapshot(database)
    assert len(held.document.aliases) == count + 1
    assert len(held.document.rates) == count + 2


async def test_a_model_nobody_knows_may_take_any_call_so_its_limits_burst_whole(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_provider(name="local", kind="openai", base_url="http://127.0.0.1:8080/v1")
    await repo.create_alias(name="own", targets=[{"provider": "local", "model": "nobody-knows-me"}])
    await repo.create_limit(alias="own", limit="10k tokens/min")
    [rule] = (await snapshot(database)).document.limits
    assert rule.limit.burst == 10_000

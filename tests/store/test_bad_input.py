"""Bad input: a clear error that names the field, never the secret, and nothing changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from mesh_store.model.errors import ConfigError, MeshError, Rejected
from mesh_store.model.keys import MintedKey
from mesh_store.postgres.repository import Repository

Sql = Callable[..., Awaitable[list[Any]]]

NAN, INFINITY = float("nan"), float("inf")
TARGET = {"provider": "openai", "model": "gpt-5"}
NESTED: dict[str, Any] = {}
for _ in range(12):
    NESTED = {"in": NESTED}

BAD = [
    ("create_team", {"name": "x" * 10_000}, "name"),
    ("create_team", {"name": "Research"}, "name"),
    ("create_team", {"name": "\uff52esearch"}, "name"),
    ("create_team", {"name": "re search"}, "name"),
    ("create_team", {"name": "research\n"}, "name"),
    ("create_team", {"name": ""}, "name"),
    ("create_team", {"name": 5}, "name"),
    ("create_team", {"name": True}, "name"),
    ("create_team", {"name": None}, "name"),
    ("create_team", {}, "name"),
    ("create_team", {"name": "lab", "colour": "red"}, "colour"),
    ("create_team", {"name": "lab", "description": "x" * 1001}, "description"),
    ("create_team", {"name": "lab", "description": "\0"}, "description"),
    ("create_team", {"name": "lab", "metadata": {"a": NAN}}, "metadata"),
    ("create_team", {"name": "lab", "metadata": {"a": 2**53}}, "metadata"),
    ("create_team", {"name": "lab", "metadata": {"a": "\0"}}, "metadata"),
    ("create_team", {"name": "lab", "metadata": {"a": "x" * 20_000}}, "metadata"),
    ("create_team", {"name": "lab", "metadata": NESTED}, "metadata"),
    ("create_team", {"name": "lab", "metadata": {"a": object()}}, "metadata"),
    ("create_team", {"name": "lab", "metadata": []}, "metadata"),
    ("create_user", {"name": "Ada@example.com"}, "name"),
    ("add_member", {"team": "research", "user": "ada@example.com", "role": "king"}, "role"),
    ("create_key", {"team": "nowhere"}, "team"),
    ("create_key", {"team": "research", "aliases": []}, "aliases"),
    ("create_key", {"team": "research", "aliases": "fast"}, "aliases"),
    ("create_key", {"team": "research", "aliases": ["fast", "fast"]}, "aliases"),
    ("create_key", {"team": "research", "aliases": ["FAST"]}, "aliases.0"),
    ("create_key", {"team": "research", "expires": datetime(2099, 1, 1)}, "expires_at"),
    ("create_key", {"team": "research", "limits": ["-1/min"]}, "limit"),
    ("create_provider", {"name": "p", "kind": "opneai"}, "kind"),
    ("create_provider", {"name": "p", "kind": "openai", "base_url": "ftp://x"}, "base_url"),
    ("create_provider", {"name": "p", "kind": "openai", "base_url": "https://a:canary@x/"}, "base_url"),
    ("create_provider", {"name": "p", "kind": "openai", "base_url": "https://x/?k=canary"}, "base_url"),
    ("create_provider", {"name": "p", "kind": "openai", "secret": "sk-canary"}, "secret"),
    ("create_provider", {"name": "p", "kind": "openai", "secret": {"id": "env:A", "k": "canary"}}, "secret"),
    ("create_provider", {"name": "p", "kind": "openai", "headers": {"Authorization": "canary"}}, "headers"),
    ("create_provider", {"name": "p", "kind": "openai", "headers": {"X-A": "a\r\nB: b"}}, "headers"),
    ("create_provider", {"name": "p", "kind": "openai", "headers": {"X-Goog-Api-Key": "canary"}}, "headers"),
    ("create_provider", {"name": "p", "kind": "openai", "query": {"key": "canary"}}, "query"),
    ("create_provider", {"name": "p", "kind": "openai", "options": {"api_key": "canary"}}, "options"),
    ("create_alias", {"name": "x" * 10_000}, "name"),
    ("create_alias", {"name": "Fast"}, "name"),
    ("create_alias", {"name": "fa\u0301st"}, "name"),
    ("create_alias", {"name": "f\u00e1st"}, "name"),
    ("create_alias", {"name": "\uff46ast"}, "name"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "weight": -1}]}, "targets.0.weight"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "weight": 1.5}]}, "targets.0.weight"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "weight": True}]}, "targets.0.weight"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "tier": 0}]}, "targets.0.tier"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "model": "gpt 5"}]}, "targets.0.model"),
    ("create_alias", {"name": "slow", "targets": [{**TARGET, "url": "x"}]}, "targets.0.url"),
    ("create_alias", {"name": "slow", "targets": [TARGET, TARGET]}, "targets"),
    ("create_alias", {"name": "slow", "targets": [{"provider": "nope", "model": "m"}]}, "targets"),
    ("create_alias", {"name": "slow", "grants": ["nowhere"]}, "grants"),
    ("create_alias", {"name": "slow", "team": "research", "grants": ["research"]}, "grants"),
    ("create_alias", {"name": "slow", "forced": {"api_base": "https://evil"}}, "forced"),
    ("create_alias", {"name": "slow", "defaults": {"API_KEY": "canary"}}, "defaults"),
    ("create_alias", {"name": "slow", "defaults": {"temperature": NAN}}, "defaults"),
    ("create_alias", {"name": "slow", "timeout": NAN}, "timeout"),
    ("create_alias", {"name": "slow", "timeout": -1}, "timeout"),
    ("create_alias", {"name": "slow", "max_output_tokens": 0}, "max_output_tokens"),
    ("create_alias", {"name": "slow", "operations": ["paint"]}, "operations.0"),
    ("create_alias", {"name": "slow", "operations": []}, "operations"),
    ("create_limit", {"limit": "9007199254740992 tokens/min"}, "limit"),
    ("create_limit", {"limit": 600}, "limit"),
    ("create_limit", {"limit": "600/min", "team": "nowhere"}, "team"),
    ("create_limit", {"limit": "600/min", "target": "openai/gpt-5"}, "target"),
    ("create_limit", {"limit": "600/min", "alias": "fast", "target": "openai/nope"}, "target"),
    ("create_limit", {"limit": "600/min", "key": "12345678"}, "key"),
    ("create_limit", {"limit": "600/min", "key": "'; DROP"}, "key"),
    ("create_limit", {"limit": "600/min", "enforce": "no"}, "enforce"),
    ("set_price", {"provider": "openai", "model": "m", "input": -1, "output": 1}, "input"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": NAN}, "output"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": INFINITY}, "output"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": "NaN"}, "output"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": True}, "output"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": "0.0000001"}, "output"),
    ("set_price", {"provider": "openai", "model": "m", "input": 1, "output": 2**53}, "output"),
]


#: Tables that an operator's change writes.
CONTROL = """revisions changes audit_log teams users members keys key_secrets providers aliases alias_grants
             targets prices limits"""


async def everything(sql: Sql) -> list[Any]:
    digest = "SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {0} t"
    return await sql(" UNION ALL ".join(digest.format(table) for table in CONTROL.split()))


@pytest.mark.parametrize("method", sorted({method for method, *_ in BAD}))
async def test_bad_input_names_the_field_and_changes_nothing(
    research: MintedKey, repo: Repository, sql: Sql, method: str
) -> None:
    before = await everything(sql)
    for fields, field in [(fields, field) for name, fields, field in BAD if name == method]:
        with pytest.raises(Rejected) as refused:
            await getattr(repo, method)(**fields)
        said = str(refused.value)
        assert refused.value.field == field, fields
        assert field.split(".")[0] in said, fields
        assert "canary" not in said, fields
        assert len(said) < 500, fields
        assert await everything(sql) == before, fields


BAD_CHANGES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("update_team", ["research"], {"name": "RESEARCH"}),
    ("update_team", ["research"], {"colour": "red"}),
    ("update_alias", ["fast"], {"targets": [{**TARGET, "weight": -1}]}),
    ("update_alias", ["fast"], {"team": "research"}),
    ("update_provider", ["openai"], {"secret": "canary"}),
    ("update_member", ["research", "ada@example.com"], {"role": "king"}),
    ("archive_provider", ["openai"], {}),
    ("archive_team", ["nowhere"], {}),
    ("revoke_key", ["nokey"], {}),
    ("revoke_key", ["x" * 10_000], {}),
    ("update_limit", ["not-a-uuid"], {"limit": "5/min"}),
    ("get_limit", ["not-a-uuid"], {}),
    ("list_teams", [], {"limit": 0}),
    ("list_teams", [], {"after": "no cursor of mine"}),
    ("list_limits", [], {"after": "not-a-uuid"}),
    ("list_audit", [], {"after": "not-a-uuid"}),
]


async def test_bad_changes_change_nothing(research: MintedKey, repo: Repository, sql: Sql) -> None:
    before = await everything(sql)
    for method, arguments, changes in BAD_CHANGES:
        with pytest.raises(Rejected) as refused:
            await getattr(repo, method)(*arguments, **changes)
        assert "canary" not in str(refused.value), (method, arguments)
        assert len(str(refused.value)) < 500, (method, arguments)
        assert await everything(sql) == before, (method, arguments)


@pytest.mark.parametrize("actor", ["", "x" * 201])
def test_a_change_needs_somebody_who_makes_it(actor: str) -> None:
    with pytest.raises(ConfigError, match="actor"):
        Repository(None, actor=actor)  # type: ignore[arg-type]


AGAINST_THE_RULES = [
    "INSERT INTO teams (id, name) VALUES (gen_random_uuid(), 'Research')",
    "INSERT INTO teams (id, name) VALUES (gen_random_uuid(), 'research')",
    "INSERT INTO teams (id, name) VALUES (gen_random_uuid(), E'a\\nb')",
    "UPDATE providers SET secret = '\"sk-canary\"'",
    'UPDATE providers SET secret = \'{"a": "env:A", "b": "sk-canary"}\'',
    "UPDATE providers SET secret = '[\"env:A\"]'",
    'UPDATE providers SET secret = \'{"a": {"b": "env:A"}}\'',
    "UPDATE targets SET weight = -1",
    "UPDATE aliases SET operations = '{paint}'",
    "UPDATE keys SET id = 'short'",
    "UPDATE key_secrets SET digest = 'short'",
    "INSERT INTO revisions (id, epoch) VALUES (true, gen_random_uuid())",
    "INSERT INTO revisions (id, epoch) VALUES (false, gen_random_uuid())",
    "DELETE FROM teams",
    "DELETE FROM users",
    "DELETE FROM providers",
    "DELETE FROM members",
    *(
        "INSERT INTO limits (id, dimension, amount, period_us, kind, on_outage)"
        f" VALUES (gen_random_uuid(), {values})"
        for values in (
            "'tokens', 'NaN', 60000000, 'rate', 'share'",
            "'tokens', -1, 60000000, 'rate', 'share'",
            "'tokens', 9007199254740992, 60000000, 'rate', 'share'",
            "'tokens', 1.5, 60000000, 'rate', 'share'",
            "'tokens', 1, 0, 'rate', 'share'",
            "'concurrency', 1, 60000000, 'rate', 'share'",
            "'bananas', 1, 60000000, 'rate', 'share'",
        )
    ),
]


async def test_the_database_keeps_the_rules_for_psql_too(research: MintedKey, sql: Sql) -> None:
    before = await everything(sql)
    for statement in AGAINST_THE_RULES:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)):
            await sql(statement)
        assert await everything(sql) == before, statement


async def test_money_keeps_every_digit_it_was_given(research: MintedKey, repo: Repository) -> None:
    price = await repo.set_price(provider="openai", model="m", input="0.000001", output=0.1, request=10)
    assert (price.input, price.output, price.request) == (Decimal("0.000001"), Decimal("0.1"), Decimal(10))
    assert await repo.get_price("openai", "m") == price


async def test_every_refusal_is_one_of_ours(research: MintedKey, repo: Repository) -> None:
    for name in (None, 5, b"x", ["research"], {"a": 1}, "x" * 10_000, "\0", "'; DROP TABLE teams; --"):
        with pytest.raises(MeshError):
            await repo.get_team(name)  # type: ignore[arg-type]


async def test_a_float_that_jsonb_gives_back_as_a_whole_number_is_bound_like_one(repo: Repository) -> None:
    with pytest.raises(Rejected, match="numbers go up to"):
        await repo.create_team(name="huge", metadata={"a": 1e16})
    assert (await repo.list_teams()).items == ()

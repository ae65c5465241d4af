"""Patterns, canaries and moved targets, as operators change them and as callers then see them."""

from __future__ import annotations

import asyncpg
import pytest

from mesh_store.model.errors import NotFound, Rejected
from mesh_store.postgres.compile import compile_snapshot
from mesh_store.postgres.price_list import listed
from mesh_store.postgres.repository import Repository

OPENAI = {"name": "openai", "kind": "openai", "secret": "env:OPENAI_API_KEY"}


@pytest.fixture
async def ground(repo: Repository) -> Repository:
    async with repo.batch() as batch:
        await batch.create_team(name="research")
        await batch.create_team(name="sales")
        await batch.create_provider(**OPENAI)
    return repo


def target(model: str = "m", **fields: object) -> dict[str, object]:
    return {"provider": "openai", "model": model, **fields}


@pytest.mark.parametrize("name", ["openai/*", "a/b.c_d-e/*", "x" * 126 + "/*"])
async def test_a_pattern_is_an_alias_like_any(ground: Repository, name: str) -> None:
    made = await ground.create_alias(name=name, targets=[target("*")], grants=["research"])
    assert made == await ground.get_alias(name)
    snapshot = await compile_snapshot(ground.database)
    assert [(alias.name, alias.targets[0].model) for alias in snapshot.aliases] == [(name, "*")]


@pytest.mark.parametrize("name", ["*", "/*", "openai*", "openai/**", "*/x", "a/*/b", "A/*", "x" * 127 + "/*"])
async def test_what_is_neither_name_nor_pattern_is_refused_twice(ground: Repository, sql, name: str) -> None:
    with pytest.raises(Rejected, match="not usable"):
        await ground.create_alias(name=name, targets=[target()])
    await ground.create_alias(name="fine")
    with pytest.raises(asyncpg.CheckViolationError, match="ck_aliases_name_form"):
        await sql("UPDATE aliases SET name = $1", name)


async def test_the_error_says_where_a_star_may_stand(ground: Repository) -> None:
    with pytest.raises(Rejected, match=r"last character, after a '/': 'openai/\*'"):
        await ground.create_alias(name="openai*")
    for kind in ("team", "user"):
        with pytest.raises(Rejected, match=r"'\*' is not allowed"):
            await getattr(ground, f"create_{kind}")(name="a/*")


@pytest.mark.parametrize(
    ("alias", "model", "why"),
    [
        ("fast", "*", "passes on what a pattern caught"),
        ("fast", "us/*", "passes on what a pattern caught"),
        ("v/*", "*/x", "stands alone or at the end"),
        ("v/*", "**", "stands alone or at the end"),
    ],
)
async def test_a_star_in_a_model_needs_a_pattern(
    ground: Repository, alias: str, model: str, why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        await ground.create_alias(name=alias, targets=[target(model)])


async def test_a_pattern_never_passes_the_vendor_on(ground: Repository) -> None:
    await ground.create_provider(name="any", kind="litellm")
    with pytest.raises(Rejected, match=r"as in 'bedrock/\*'"):
        await ground.create_alias(name="v/*", targets=[target("*", provider="any")])
    made = await ground.create_alias(name="v/*", targets=[target("bedrock/*", provider="any")])
    with pytest.raises(Rejected, match=r"as in 'bedrock/\*'"):
        await ground.update_alias("v/*", targets=[target("*", provider="any")])
    assert (await ground.get_alias("v/*")).targets == made.targets


@pytest.mark.parametrize(
    "name", ["openai/gpt-5", "openai/Ft:x@1", "openai/*", "openai/g/*", "own/*", "own/x"]
)
async def test_a_key_may_list_what_patterns_catch(ground: Repository, name: str) -> None:
    await ground.create_alias(name="openai/*", targets=[target("*")])
    await ground.create_alias(name="own/x", targets=[target()])
    key, _ = await ground.create_key(team="research", aliases=[name])
    assert (await ground.get_key(key.id)).aliases == (name,)


@pytest.mark.parametrize("name", ["opnai/x", "opnai/*", "openai/../x", "openai/", "own/y", "openai/a b"])
async def test_a_key_may_not_list_what_nothing_catches(ground: Repository, name: str) -> None:
    await ground.create_alias(name="openai/*", targets=[target("*")])
    await ground.create_alias(name="own/x", targets=[target()])
    with pytest.raises(Rejected):
        await ground.create_key(team="research", aliases=[name])


async def test_models_of_a_pattern_cost_what_the_list_says_and_what_an_operator_says(
    ground: Repository,
) -> None:
    await ground.create_alias(name="openai/*", targets=[target("*")])
    await ground.set_price(provider="openai", model="Own-Model", input=7, output=7)
    document = await compile_snapshot(ground.database)
    [passed] = document.passed
    [provider] = document.providers
    for model, rates in passed.models.items():
        if model != "Own-Model":
            assert listed(provider, model).changes[-1].rates == rates or rates.terms is not None
    own = passed.of("Own-Model")
    assert own is not None
    assert own.input == 7_000_000
    known = passed.of("gpt-4o-mini")
    assert known is not None
    assert known.input == 150_000
    assert passed.of("gpt-nobody-heard-of") is None
    assert document.rates == {}


async def test_a_date_behind_a_name_has_the_price_the_list_gives_it(ground: Repository) -> None:
    await ground.create_provider(name="anthropic", kind="anthropic")
    await ground.create_alias(name="claude/*", targets=[target("*", provider="anthropic")])
    document = await compile_snapshot(ground.database)
    [passed] = document.passed
    provider = next(each for each in document.providers if each.kind == "anthropic")
    assert passed.stems
    for stem in passed.stems:
        dated = f"{stem}-20251231"
        assert passed.of(dated) == listed(provider, dated).changes[-1].rates


CANARY = target("new", canary="5.00%")


async def test_a_canary_is_kept_as_it_is_written_and_published_in_millionths(ground: Repository) -> None:
    made = await ground.create_alias(name="fast", targets=[CANARY, target("old")])
    assert [each.canary for each in made.targets] == ["5%", None]
    assert await ground.get_alias("fast") == made
    document = await compile_snapshot(ground.database)
    assert sorted(each.canary for each in document.aliases[0].targets) == [0, 50_000]
    assert (await ground.update_alias("fast", targets=[CANARY, target("old")])).revision == made.revision
    grown = await ground.update_alias("fast", targets=[{**CANARY, "canary": "10%"}, target("old")])
    assert [each.id for each in grown.targets] == [each.id for each in made.targets]


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ([CANARY], "an ordinary target beside it"),
        ([CANARY, target("b", canary="96%"), target()], "make 101%, more than all"),
        ([{**CANARY, "tier": 2}, target()], "leave tier and weight out"),
        ([{**CANARY, "weight": 0}, target()], "leave tier and weight out"),
        ([{**CANARY, "canary": "0%"}, target()], "write a share"),
        ([{**CANARY, "canary": 5}, target()], "valid string"),
    ],
)
async def test_shares_that_cannot_be_are_refused(ground: Repository, targets: list[object], why: str) -> None:
    with pytest.raises(Rejected, match=why):
        await ground.create_alias(name="fast", targets=targets)


async def test_a_target_that_moves_to_another_tier_is_the_same_with_its_limits(ground: Repository) -> None:
    made = await ground.create_alias(name="fast", targets=[target("a"), target("b", tier=2)])
    limit = await ground.create_limit(alias="fast", target="openai/b", limit="5 requests/min")
    moved = await ground.update_alias("fast", targets=[target("b"), target("a", tier=3)])
    assert {each.model: each.id for each in moved.targets} == {each.model: each.id for each in made.targets}
    assert [each.id for each in await ground.list_limits()] == [limit.id]
    document = await compile_snapshot(ground.database)
    assert document.limits[0].subject.target == next(each.id for each in made.targets if each.model == "b")


async def test_of_two_tiers_the_one_that_stays_stays_and_the_other_moves(ground: Repository) -> None:
    made = await ground.create_alias(name="fast", targets=[target(), target(tier=2)])
    first, second = made.targets
    moved = await ground.update_alias("fast", targets=[target(tier=2), target(tier=3)])
    assert {each.tier: each.id for each in moved.targets} == {2: second.id, 3: first.id}
    gone = await ground.update_alias("fast", targets=[target(tier=3)])
    assert [each.id for each in gone.targets] == [first.id]
    back = await ground.update_alias("fast", targets=[target(tier=3), target(tier=7)])
    assert {each.tier: each.id for each in back.targets} == {3: first.id, 7: second.id}


class TestAnAccountThatOnlyATeamHas:
    @pytest.fixture
    async def account(self, ground: Repository) -> str:
        made = await ground.create_provider(
            name="local", kind="openai", team="research", base_url="http://x/v1"
        )
        return made.id

    async def test_serves_the_teams_own_aliases_and_limits(self, ground: Repository, account: str) -> None:
        fields = {"name": "fast", "team": "research"}
        await ground.create_alias(**fields, targets=[target("m", provider="local")])
        await ground.create_limit(team="research", provider="local", limit="5 requests/min")
        document = await compile_snapshot(ground.database)
        assert document.aliases[0].targets[0].provider == account
        assert document.limits[0].subject.provider == account

    @pytest.mark.parametrize("owner", [None, "sales"])
    async def test_is_nobody_elses(self, ground: Repository, account: str, owner: str | None) -> None:
        with pytest.raises(NotFound, match="is an account of team 'research' alone") as caught:
            await ground.create_alias(name="fast", team=owner, targets=[target("m", provider="local")])
        assert caught.value.field == "targets"
        with pytest.raises(NotFound, match="of team 'research' alone"):
            await ground.create_limit(team=owner, provider="local", limit="5 requests/min")

    async def test_keeps_its_targets_when_a_global_one_of_the_name_comes(
        self, ground: Repository, account: str
    ) -> None:
        targets = [target("m", provider="local")]
        made = await ground.create_alias(name="fast", team="research", targets=targets)
        await ground.create_provider(name="local", kind="openai")
        changed = await ground.update_alias("fast", for_team="research", targets=targets, timeout=5.0)
        assert changed.targets == made.targets

    async def test_cannot_go_while_an_alias_needs_it(self, ground: Repository, account: str) -> None:
        from mesh_store.model.errors import Conflict

        await ground.create_alias(name="fast", team="research", targets=[target("m", provider="local")])
        with pytest.raises(Conflict, match="used by fast"):
            await ground.archive_provider("local", team="research")

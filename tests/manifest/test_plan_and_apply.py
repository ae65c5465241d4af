"""What `mesh plan` foresees and `mesh apply` does, on real Postgres."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mesh_store.admin import manifest
from mesh_store.admin.manifest import ManifestError
from mesh_store.model.errors import Conflict, NotFound

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground

WHOLE = """\
version: 1
users: [{name: ada@example.com}]
teams:
  - name: research
    members: [ada@example.com]
    limits: ["600 requests/min", "200k tokens/min", "$50/day", "20 concurrent"]
providers:
  - {name: openai, kind: openai, secret: "env:OPENAI_API_KEY"}
  - {name: local, kind: openai, base_url: "http://127.0.0.1:8080/v1"}
aliases:
  - name: fast
    grants: [research]
    targets:
      - {provider: openai, model: gpt-5-mini, weight: 9}
      - {provider: local, model: smollm2, tier: 2}
limits:
  - {team: research, alias: fast, limit: "60 requests/min"}
prices:
  - {provider: local, model: smollm2, input: 0.1, output: "0.25"}
"""
LABELLED = """\
version: 1
teams:
  - name: a
    limits:
      - 5 requests/min
      - {end_user: "*", limit: 2 requests/min, distinct: 50}
      - {end_user: vip, limit: 9 requests/min}
limits:
  - {team: a, tag: "job=*", limit: 3 requests/min}
  - {tag: batch, limit: 4 requests/min, enforce: false}
"""
SMALL = "version: 1\nteams: [{name: a, limits: [5 requests/min]}]\n"


async def test_an_empty_database_becomes_what_the_manifest_says_under_one_revision(ground: Ground) -> None:
    plan = await ground.apply(WHOLE)
    assert {change.action for change in plan.changes} == {"create"}
    assert await ground.revision() == 1
    assert await ground.limits() == {
        "team research": "20 concurrent",
        "team research, alias fast": "60 requests/min",
    }
    [alias] = await ground.repo.list_aliases()
    assert [(t.model, t.tier, t.weight) for t in alias.targets] == [("gpt-5-mini", 1, 9), ("smollm2", 2, 1)]


async def test_applying_again_changes_nothing_and_has_no_revision(ground: Ground) -> None:
    await ground.apply(WHOLE)
    again = await ground.apply(WHOLE)
    assert again.changes == ()
    assert await ground.revision() == 1


async def test_planning_changes_nothing(ground: Ground) -> None:
    assert len((await ground.plan(WHOLE)).changes) == 12
    assert await ground.revision() == 0


async def test_a_changed_amount_changes_the_limit_that_is_there(ground: Ground) -> None:
    await ground.apply(SMALL)
    [before] = await ground.repo.list_limits()
    plan = await ground.apply(SMALL.replace("5 req", "50 req"))
    [after] = await ground.repo.list_limits()
    assert (after.id, after.limit) == (before.id, "50 requests/min")
    assert [change.differences for change in plan.changes] == [
        [("limit", "5 requests/min", "50 requests/min")]
    ]


async def test_another_period_is_another_limit_and_the_old_one_stays_unless_pruned(ground: Ground) -> None:
    await ground.apply(SMALL)
    longer = SMALL.replace("min]", "hour]")
    assert (await ground.apply(longer)).absent == 1
    assert len(await ground.repo.list_limits()) == 2
    assert (await ground.apply(longer, prune=True)).count("archive") == 1
    assert len(await ground.repo.list_limits()) == 1


async def test_prune_archives_what_is_absent_and_says_what_follows(ground: Ground) -> None:
    await ground.apply(WHOLE)
    key, _ = await ground.repo.create_key(team="research", user="ada@example.com")
    plan = await ground.apply("version: 1\nusers: [{name: ada@example.com}]\n", prune=True)
    assert all(change.action == "archive" for change in plan.changes)
    assert "its keys are revoked" in {change.why for change in plan.changes}
    assert (await ground.repo.get_key(key.id)).revoked_at is not None
    assert await ground.limits() == {}
    assert (await ground.plan("version: 1\nusers: [{name: ada@example.com}]\n", prune=True)).changes == ()


async def test_without_prune_everything_absent_stays_and_is_counted(ground: Ground) -> None:
    await ground.apply(WHOLE)
    plan = await ground.apply("version: 1")
    assert (plan.changes, plan.absent) == ((), 12)


async def test_limits_of_keys_survive_pruning_for_keys_are_not_in_manifests(ground: Ground) -> None:
    await ground.apply(SMALL)
    key, _ = await ground.repo.create_key(team="a")
    await ground.repo.create_limit(key=key.id, limit="1 requests/s")
    assert (await ground.apply(SMALL, prune=True)).changes == ()
    assert key.id not in await ground.export()


async def test_a_manifest_may_limit_a_key_by_its_id(ground: Ground) -> None:
    await ground.apply(SMALL)
    key, _ = await ground.repo.create_key(team="a")
    text = SMALL + f"limits: [{{key: '{key.id}', limit: 1 requests/s}}]\n"
    await ground.apply(text)
    assert (await ground.limits())[f"key {key.id}"] == "1 requests/s"
    assert (await ground.apply(text)).changes == ()


async def test_a_plan_is_refused_once_somebody_changed_something(ground: Ground) -> None:
    plan = await ground.plan(SMALL)
    await ground.repo.create_team(name="b")
    with pytest.raises(Conflict, match=r"at revision 1, not at 0 any more; changed by ops@example.com"):
        await ground.apply(SMALL, revision=plan.revision)
    assert [team.name for team in await ground.repo.list_teams()] == ["b"]


async def test_unpinned_appliers_at_the_same_moment_all_arrive(ground: Ground) -> None:
    texts = [f"version: 1\nteams: [{{name: t{i}}}]\n" for i in range(4)]
    await asyncio.gather(*(ground.apply(text) for text in texts))
    assert len(await ground.repo.list_teams()) == 4


async def test_one_change_that_is_refused_takes_all_with_it(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise NotFound("gone in the meantime")

    monkeypatch.setattr(type(ground.repo), "create_limit", refuse)
    with pytest.raises(NotFound):
        await ground.apply(WHOLE)
    assert await ground.revision() == 0
    assert len(await ground.repo.list_teams()) == 0


async def test_a_team_of_ones_own_alias_keeps_its_limits_when_the_alias_goes(ground: Ground) -> None:
    both = """\
version: 1
teams: [{name: a}]
aliases: [{name: fast}, {name: fast, team: a}]
limits: [{team: a, alias: fast, limit: 5 requests/min}]
"""
    await ground.apply(both)
    without = both.replace(", {name: fast, team: a}", "")
    plan = await ground.apply(without, prune=True)
    assert [(each.action, each.thing.kind) for each in plan.changes] == [
        ("archive", "limit"), ("archive", "alias"), ("create", "limit"),
    ]  # fmt: skip
    assert (await ground.plan(without, prune=True)).changes == ()


async def test_a_limit_follows_its_target_to_another_tier(ground: Ground) -> None:
    text = """\
version: 1
providers: [{name: p, kind: openai}]
aliases: [{name: fast, targets: [{provider: p, model: m}]}]
limits: [{alias: fast, target: p/m, limit: 5 requests/min}]
"""
    await ground.apply(text)
    moved = text.replace("model: m", "model: m, tier: 2")
    await ground.apply(moved)
    assert await ground.limits() == {"alias fast, target p/m": "5 requests/min"}
    assert (await ground.plan(moved)).changes == ()


async def test_fields_that_are_left_out_are_as_usual_again(ground: Ground) -> None:
    await ground.apply("version: 1\nteams: [{name: a, description: old}]\n")
    [change] = (await ground.apply("version: 1\nteams: [{name: a}]\n")).changes
    assert change.differences == [("description", "old", "")]


async def test_a_manifest_of_one_team_prunes_only_that_teams_own(ground: Ground) -> None:
    await ground.apply(WHOLE)
    await ground.apply(
        "version: 1\nteams: [{name: b, limits: [7 requests/min]}]\naliases: [{name: x, team: b}]\n"
    )
    text = await ground.export(team="b")
    assert "research" not in text
    plan = await ground.apply("version: 1\nteam: b\nteams: [{name: b}]\n", prune=True)
    assert sorted(change.thing.kind for change in plan.changes) == ["alias", "limit"]
    assert len(await ground.repo.list_teams()) == 2
    with pytest.raises(ManifestError, match="alias 'y' does not belong to team 'b'"):
        await ground.apply("version: 1\nteam: b\naliases: [{name: y}]\n")


async def test_exporting_a_team_that_is_not_there_is_an_error(ground: Ground) -> None:
    with pytest.raises(NotFound):
        await ground.export(team="nobody")


async def test_every_change_is_audited_with_who_did_it(ground: Ground) -> None:
    await ground.apply(SMALL)
    assert set(await ground.audit()) == {"team.create a", "limit.create team a: 5 requests/min"}


async def test_the_words_of_design_are_a_manifest_by_the_schema() -> None:
    import jsonschema
    import yaml

    schema = manifest.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(yaml.safe_load(WHOLE))
    assert not check.is_valid({"version": 1, "teems": []})
    assert not check.is_valid({"version": 1, "teams": [{"name": "a", "limits": [{"limit": 3}]}]})


async def test_limits_on_end_users_and_tags_are_things_of_their_own(ground: Ground) -> None:
    await ground.apply(LABELLED)
    assert await ground.limits() == {
        "team a": "5 requests/min",
        "team a, end user *": "2 requests/min",
        "team a, end user vip": "9 requests/min",
        "team a, tag job=*": "3 requests/min",
        "tag batch": "4 requests/min",
    }
    assert not (await ground.apply(LABELLED)).changes
    assert not (await ground.apply(await ground.export())).changes

"""Every entity: listed in pages, read, created, changed at the revision that was seen, archived."""

from __future__ import annotations

from urllib.parse import quote

import pytest


def q(name: str) -> str:
    return quote(name, safe="")


async def done(ask, token, what, status=200, **options):
    answer = await ask(token, what, **options)
    assert answer.status_code == status, (what, answer.text)
    return answer.json()


async def test_a_team_goes_through_its_whole_life(ask, house):
    name = f"{house.team}/b"
    made = await done(ask, house.admin, "POST /teams", 201, json={"name": name, "metadata": {"cost": 7}})
    assert await done(ask, house.admin, f"GET /teams/{q(name)}") == made
    changed = await done(ask, house.admin, f"PATCH /teams/{q(name)}", json={"description": "B"})
    assert (changed["description"], changed["metadata"], changed["revision"]) == ("B", {"cost": 7}, 2)
    gone = await done(ask, house.admin, f"DELETE /teams/{q(name)}")
    assert gone["archived_at"] is not None
    await done(ask, house.admin, f"GET /teams/{q(name)}", 404)


async def test_a_user_becomes_a_member_with_a_key_and_leaves_without(ask, house):
    user, at = f"eve@{house.team}", f"/teams/{house.team}/members"
    await done(ask, house.admin, "POST /users", 201, json={"name": user})
    await done(ask, house.lead, f"POST {at}", 201, json={"user": user})
    raised = await done(ask, house.lead, f"PATCH {at}/{q(user)}", json={"role": "admin"})
    assert raised["role"] == "admin"
    key = await done(ask, house.lead, "POST /keys", 201, json={"team": house.team, "user": user})
    assert {row["user"] for row in (await done(ask, house.lead, f"GET {at}"))["items"]} >= {user}
    await done(ask, house.lead, f"DELETE {at}/{q(user)}")
    assert (await done(ask, house.lead, f"GET /keys/{key['id']}"))["revoked_at"] is not None
    await done(ask, house.admin, f"PATCH /users/{q(user)}", json={"description": "left"})
    await done(ask, house.admin, f"DELETE /users/{q(user)}")


async def test_a_key_is_shown_once_rotated_and_revoked(ask, house):
    made = await done(
        ask,
        house.lead,
        "POST /keys",
        201,
        json={
            "team": house.team,
            "aliases": [house.alias],
            "expires": "2099-01-01T00:00:00Z",
            "limits": ["5 concurrent"],
        },
    )
    text = made.pop("key")
    assert text.startswith(f"mk_{made['id']}_")
    assert made["expires_at"] == "2099-01-01T00:00:00Z"
    turned = await done(ask, house.lead, f"POST /keys/{made['id']}/rotate", json={"overlap": "1h"})
    assert turned["key"] != text
    assert len(turned["secrets"]) == 2
    seen = [
        await ask(house.admin, what)
        for what in (f"GET /keys/{made['id']}", "GET /keys?limit=1000", "GET /audit?limit=1000")
    ]
    assert not [answer for answer in seen if text in answer.text or turned["key"] in answer.text]
    changed = await done(ask, house.lead, f"PATCH /keys/{made['id']}", json={"expires": None})
    assert changed["expires_at"] is None
    assert changed["aliases"] == [house.alias]
    gone = await done(ask, house.lead, f"DELETE /keys/{made['id']}")
    assert gone["revoked_at"] is not None
    await done(ask, house.lead, f"PATCH /keys/{made['id']}", 409, json={"description": "again"})


async def test_a_pattern_with_a_canary_goes_through_its_life(ask, house):
    name = f"{house.team}/v/*"
    await done(ask, house.admin, "POST /providers", 201, json={"name": f"{house.team}-p", "kind": "openai"})
    place = {"provider": f"{house.team}-p"}
    targets = [{**place, "model": "new/*", "canary": "5%"}, {**place, "model": "*"}]
    made = await done(ask, house.admin, "POST /aliases", 201, json={"name": name, "targets": targets})
    assert [(each["model"], each["canary"]) for each in made["targets"]] == [("new/*", "5%"), ("*", None)]
    assert await done(ask, house.lead, f"GET /aliases/{q(name)}") == made
    key = await done(ask, house.lead, "POST /keys", 201, json={"team": house.team, "aliases": [name]})
    assert key["aliases"] == [name]
    limit = {"team": house.team, "alias": name, "limit": "5 requests/min"}
    assert (await done(ask, house.admin, "POST /limits", 201, json=limit))["alias"] == name
    targets[0]["canary"] = "105%"
    await done(ask, house.admin, f"PATCH /aliases/{q(name)}", 422, json={"targets": targets})
    await done(ask, house.admin, f"DELETE /aliases/{q(name)}")


async def test_a_provider_with_a_price_and_an_alias_goes_through_its_life(ask, house):
    name, model = f"{house.team}-new", "org/model-1"
    body = {"name": name, "kind": "anthropic", "secret": "env:KEY", "headers": {"X-Org": "1"}}
    await done(ask, house.admin, "POST /providers", 201, json=body)
    at = f"/providers/{name}/prices/{q(model)}"
    price = await done(ask, house.admin, f"PUT {at}", json={"input": "0.15", "output": 0.6})
    assert (price["model"], price["input"], price["output"]) == (model, "0.15", "0.6")
    assert (await done(ask, house.admin, f"PATCH {at}", json={"output": 1}))["output"] == "1"
    targets = [{"provider": name, "model": model, "weight": 3}]
    alias = {"name": f"{name}-a", "targets": targets, "timeout": 5}
    made = await done(ask, house.admin, "POST /aliases", 201, json=alias)
    assert made["targets"][0]["weight"] == 3
    await done(ask, house.admin, f"DELETE /providers/{name}", 409)
    changed = await done(ask, house.admin, f"PATCH /aliases/{name}-a", json={"grants": [house.team]})
    assert (changed["grants"], changed["targets"]) == ([house.team], made["targets"])
    own = await done(ask, house.admin, "POST /aliases", 201, json={"name": f"{name}-a", "team": house.team})
    assert await done(ask, house.lead, f"GET /aliases/{name}-a") == own
    await done(ask, house.admin, f"DELETE /aliases/{name}-a?team={house.team}")
    await done(ask, house.admin, f"DELETE /aliases/{name}-a")
    await done(ask, house.admin, f"PATCH /providers/{name}", json={"base_url": "https://example.com/v1"})
    await done(ask, house.admin, f"DELETE {at}")
    await done(ask, house.admin, f"DELETE /providers/{name}")


async def test_a_limit_is_set_changed_and_archived(ask, house):
    body = {"team": house.team, "alias": house.alias, "limit": "$5/day"}
    made = await done(ask, house.admin, "POST /limits", 201, json=body)
    changed = await done(ask, house.admin, f"PATCH /limits/{made['id']}", json={"enforce": False})
    assert (changed["limit"], changed["enforce"]) == (made["limit"], False)
    listed = await done(ask, house.admin, f"GET /limits?team={house.team}")
    assert made["id"] in {row["id"] for row in listed["items"]}
    await done(ask, house.admin, f"DELETE /limits/{made['id']}")


async def test_what_was_used_is_reported(ask, house):
    answer = await done(ask, house.lead, "GET /usage?by=alias&by=day&since=2026-01-01T00:00:00Z")
    assert answer == {"rows": []}
    total = await done(ask, house.lead, f"GET /usage?team={house.team}")
    assert total["rows"][0]["calls"] == 0
    assert "alias" not in total["rows"][0]


async def test_a_listing_is_walked_page_by_page(ask, house):
    for number in range(5):
        await done(ask, house.admin, "POST /users", 201, json={"name": f"{house.team}-{number}"})
    seen, after = [], f"&after={house.team}- 00000000-0000-0000-0000-000000000000"
    while after is not None and len(seen) < 5:
        found = await done(ask, house.viewer, f"GET /users?limit=2{after}")
        seen += [row["name"] for row in found["items"]]
        after = found["next"] and f"&after={found['next']}"
    assert seen[:5] == [f"{house.team}-{number}" for number in range(5)]


async def test_who_changed_what_is_in_the_audit_log_by_token(ask, house):
    await done(ask, house.lead, f"PATCH /teams/{house.team}", json={"description": "ours"})
    me = await done(ask, house.lead, "GET /me")
    newest = (await done(ask, house.lead, "GET /audit?limit=1"))["items"][0]
    assert (newest["action"], newest["actor"]) == ("team.update", f"token {me['token']}")
    assert newest["before"]["description"] == ""


@pytest.mark.parametrize("said", [{"params": {"expected_revision": 1}}, {"headers": {"If-Match": '"1"'}}])
async def test_of_two_writers_who_saw_the_same_revision_only_one_writes(ask, house, said):
    at = f"PATCH /teams/{house.team}"
    first = await ask(house.admin, at, json={"description": "one"}, **said)
    assert first.headers["ETag"] == '"2"'
    second = await ask(house.admin, at, json={"description": "two"}, **said)
    assert second.status_code == (412 if "headers" in said else 409)
    assert second.json()["field"] == "expected_revision"
    assert (await done(ask, house.admin, f"GET /teams/{house.team}"))["description"] == "one"

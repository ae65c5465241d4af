"""An admin does everything, a team's admin its own, a viewer nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from mesh_plugins.cli.app import build
from mesh_store.model.errors import InvalidKey, Rejected
from mesh_store.model.tokens import PATTERN, mint_token, parse_token

FEDERATED = {"federated": {"token_url": "https://auth.example.com/t", "subject_token": "file:/run/token"}}


async def test_a_viewer_sees_all_and_changes_nothing(ask, house):
    for path in ("teams", "users", "keys", "providers", "prices", "aliases", "limits", "audit", "usage"):
        assert (await ask(house.viewer, f"GET /{path}")).status_code == 200, path
    for what, body in (
        ("POST /teams", {"name": "mine"}),
        ("POST /keys", {"team": house.team}),
        (f"PATCH /limits/{house.key_limit}", {"limit": "1 requests/s"}),
        (f"DELETE /keys/{house.key}", None),
    ):
        assert (await ask(house.viewer, what, json=body)).status_code == 403, what


async def test_what_is_minted_is_kept_by_no_cache(ask, house):
    made = await ask(house.admin, "POST /keys", json={"team": house.team})
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"


async def test_a_teams_admin_manages_keys_members_and_limits_on_them(ask, house):
    made = await ask(house.lead, "POST /limits", json={"key": house.key, "limit": "9 concurrent"})
    assert made.status_code == 201
    member = {"team": house.team, "user": house.user, "limit": "9 requests/s", "alias": house.alias}
    assert (await ask(house.lead, "POST /limits", json=member)).status_code == 201
    at = f"/limits/{house.key_limit}"
    assert (await ask(house.lead, f"PATCH {at}", json={"limit": "50 requests/min"})).status_code == 200
    assert (await ask(house.lead, f"DELETE {at}")).status_code == 200


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("POST /limits", lambda h: {"team": h.team, "limit": "9999 requests/min"}),
        ("PATCH /limits/{team_limit}", lambda h: {"limit": "9999 requests/min"}),
        ("DELETE /limits/{team_limit}", lambda h: None),
        ("POST /limits", lambda h: {"key": h.key, "provider": h.provider, "limit": "1 requests/s"}),
        ("POST /limits", lambda h: {"user": h.user, "limit": "1 requests/s"}),
        ("POST /limits", lambda h: {"limit": "1 requests/s"}),
        ("POST /aliases", lambda h: {"name": "fast", "team": h.team}),
        ("PATCH /teams/{team}", lambda h: {"name": "other"}),
        ("DELETE /teams/{team}", lambda h: None),
        ("POST /tokens", lambda h: {"role": "admin"}),
        ("GET /tokens", lambda h: None),
        ("GET /users", lambda h: None),
        ("POST /providers", lambda h: {"name": "mine", "kind": "openai"}),
        ("POST /providers", lambda h: {"name": "mine", "kind": "litellm", "team": h.team}),
        ("POST /providers", lambda h: {"name": "mine", "kind": "openai", "team": h.team, "secret": "env:X"}),
        ("PATCH /providers/{provider}", lambda h: {"secret": {"api_key": "file:/run/secrets/x"}}),
        ("PATCH /providers/{provider}", lambda h: {"secret": FEDERATED}),
        ("PATCH /providers/{provider}", lambda h: {"kind": "litellm"}),
    ],
)
async def test_a_teams_admin_cannot_widen_what_the_team_was_given(ask, house, what, body):
    answer = await ask(house.lead, what.format(**vars(house)), json=body(house))
    assert answer.status_code == 403, answer.text
    assert answer.json()["type"] == "urn:mesh:problem:access-denied"


async def test_a_team_sees_an_alias_as_granted_to_itself_alone(ask, new_house, repo):
    ours, theirs = await new_house(), await new_house()
    await repo.update_alias(theirs.alias, grants=[theirs.team, ours.team])
    read = await ask(ours.lead, f"GET /aliases/{theirs.alias.replace('/', '%2F')}")
    assert read.json()["grants"] == [ours.team]
    listed = (await ask(ours.lead, "GET /aliases?limit=1000")).json()["items"]
    assert {theirs.alias: [ours.team]}.items() <= {row["name"]: row["grants"] for row in listed}.items()


async def test_a_revoked_token_is_refused_by_the_next_request(ask, house):
    token_id = parse_token(house.lead)
    assert (await ask(house.lead, "GET /me")).json() == {
        "token": token_id,
        "role": "team-admin",
        "team": house.team,
    }
    assert (await ask(house.admin, f"DELETE /tokens/{token_id}")).status_code == 200
    answer = await ask(house.lead, "GET /me")
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:mesh:problem:invalid-token"
    again = await ask(house.admin, f"DELETE /tokens/{token_id}")
    assert again.json()["revision"] == 2, "revoked once"


async def test_an_expired_token_is_refused_like_an_unknown_one(ask, repo, control):
    entity, minted = await repo.create_token(role="viewer", expires="1 s")
    await _age(control.database, entity.id)
    expired, unknown = await ask(minted.text, "GET /me"), await ask(mint_token().text, "GET /me")
    assert expired.status_code == unknown.status_code == 401
    assert expired.json() == unknown.json()


async def test_a_token_of_an_archived_team_is_refused_and_one_of_a_renamed_team_follows(ask, house, repo):
    await repo.update_team(house.team, name=f"{house.team}-renamed")
    assert (await ask(house.lead, "GET /me")).json()["team"] == f"{house.team}-renamed"
    await repo.archive_team(f"{house.team}-renamed")
    assert (await ask(house.lead, "GET /me")).status_code == 401


async def test_a_minted_token_is_shown_once_and_stored_as_a_digest(ask, house, repo):
    made = (await ask(house.admin, "POST /tokens", json={"role": "viewer", "expires": "2d"})).json()
    text = made.pop("token")
    assert PATTERN.fullmatch(text)
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1) < ends < timedelta(days=3)
    assert (await ask(house.admin, f"GET /tokens/{made['id']}")).json() == made
    for what in ("GET /tokens?limit=1000", "GET /audit?limit=1000"):
        seen = (await ask(house.admin, what)).text
        assert made["id"] in seen
        assert text[12:] not in seen


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"role": "root"}, "role"),
        ({"role": "team-admin"}, "team"),
        ({"role": "admin", "team": "x"}, "team"),
        ({"role": "viewer", "expires": "-3d"}, "expires"),
        ({"role": "viewer", "scope": "all"}, "scope"),
    ],
)
async def test_a_token_that_makes_no_sense_is_not_minted(repo, fields, field):
    with pytest.raises(Rejected) as refused:
        await repo.create_token(**fields)
    assert refused.value.field == field


def test_a_token_with_a_typo_is_known_without_asking_anybody():
    text = mint_token().text
    assert parse_token(text) == text[3:11]
    for wrong in (text[:-1], text + "0", "mk" + text[2:], text.swapcase(), text[:20] + "é" + text[21:], ""):
        with pytest.raises(InvalidKey):
            parse_token(wrong)


async def _age(database, token_id) -> None:
    from mesh_store.postgres.token_tables import TokenRow

    async with database.begin() as session:
        row = await session.get(TokenRow, token_id)
        row.expires_at = datetime.now(UTC) - timedelta(seconds=1)


def test_tokens_are_managed_from_the_command_line(make_world):
    world = make_world()

    def mesh(*arguments):
        done = CliRunner().invoke(build("token"), ["token", *arguments], env=world.environ)
        return done.exit_code, done.stdout, done.stderr

    code, said, _ = mesh("create", "--role", "team-admin", "--team", world.team, "--json")
    made = json.loads(said)
    assert (code, made["role"], made["team"]) == (0, "team-admin", world.team)
    assert parse_token(made["token"]) == made["id"]
    _, listed, _ = mesh("list", "--json")
    assert made["id"] in {row["id"] for row in json.loads(listed)}
    assert made["token"][12:] not in listed
    assert mesh("revoke", made["id"])[0] == 0
    assert made["id"] not in mesh("list", "--json")[1]
    assert made["id"] in mesh("list", "--revoked", "--json")[1]
    code, said, why = mesh("create", "--role", "king")
    assert (code, said, "role" in why) == (1, "", True)

"""Providers' secrets over HTTP: written by whom they belong to, used by callers, shown to nobody."""

from __future__ import annotations

import json
import logging

import pytest

#: Looks like a vendor's key, and is looked for everywhere.
CANARY = "sk-canary-9c1e57aa04d34b7f8e21"
ALSO = {"values": {"api_key": CANARY, "aws_secret_access_key": f"{CANARY}-two"}}
WRITING = ("PUT /providers/{provider}/secret", "POST /providers/{provider}/secret/rotate")
READING = (
    "GET /secrets?limit=1000",
    "GET /providers/{provider}/secret",
    "GET /audit?limit=1000",
    "GET /providers?limit=1000",
)


def at(house, suffix="") -> str:
    return f"/providers/{house.provider}/secret{suffix}"


async def test_what_was_set_is_told_by_names_and_version_alone(ask, house):
    answer = await ask(house.admin, f"PUT {at(house)}", json={"value": CANARY})
    told = answer.json()
    assert answer.status_code == 200, answer.text
    assert (told["provider"], told["team"], told["labels"], told["version"]) == (
        house.provider,
        None,
        ["key"],
        1,
    )
    assert answer.headers["ETag"] == '"1"'
    assert (await ask(house.admin, f"GET {at(house)}")).json() == told
    assert (await ask(house.viewer, f"GET {at(house)}")).json() == told
    listed = (await ask(house.admin, "GET /secrets?limit=1000")).json()["items"]
    assert told in listed
    more = {"values": {"api_key": f"{CANARY}-two"}}
    labels = (await ask(house.admin, f"PUT {at(house)}", json=more)).json()["labels"]
    assert labels == ["api_key", "key"], "what is not named stays"


async def test_rotating_needs_one_that_is_there_and_counts(ask, house):
    missing = await ask(house.admin, f"POST {at(house, '/rotate')}", json={"value": CANARY})
    assert (missing.status_code, "no stored secret yet" in missing.text) == (404, True)
    await ask(house.admin, f"PUT {at(house)}", json={"value": CANARY})
    rotated = await ask(house.admin, f"POST {at(house, '/rotate')}", json={"value": f"{CANARY}-two"})
    assert (rotated.status_code, rotated.json()["version"]) == (200, 2)


async def test_two_who_set_it_at_once_do_not_overwrite_one_another_unseen(ask, house):
    await ask(house.admin, f"PUT {at(house)}", json={"value": CANARY})
    seen = {"If-Match": '"1"'}
    first = await ask(house.admin, f"PUT {at(house)}", json={"value": CANARY}, headers=seen)
    second = await ask(house.admin, f"PUT {at(house)}", json={"value": CANARY}, headers=seen)
    assert (first.status_code, second.status_code) == (200, 412)
    of_nothing = f"PUT {at(house)}?expected_revision=0"
    assert (await ask(house.admin, of_nothing, json={"value": CANARY})).status_code == 409


async def test_a_teams_admin_sets_that_of_its_own_account_and_no_other(ask, new_house):
    ours, theirs = await new_house(), await new_house()
    own = await ask(ours.lead, f"PUT {at(ours)}", json={"value": CANARY})
    assert (own.status_code, own.json()["team"], own.json()["version"]) == (200, ours.team, 2)
    for path in (at(ours), at(theirs)):  # the global one has a version of its own, and it stays
        assert (await ask(ours.admin, f"GET {path}")).status_code == 404
    assert (await ask(ours.lead, f"PUT {at(theirs)}", json={"value": CANARY})).status_code == 404
    foreign = f"PUT {at(theirs)}?team={theirs.team}"
    assert (await ask(ours.lead, foreign, json={"value": CANARY})).status_code == 404
    assert (await ask(ours.glance, f"PUT {at(ours)}", json={"value": CANARY})).status_code == 403
    listed = (await ask(ours.lead, "GET /secrets")).json()["items"]
    assert [(row["provider"], row["team"]) for row in listed] == [(ours.provider, ours.team)]
    by_admin = await ask(ours.admin, f"POST {at(ours, '/rotate')}?team={ours.team}", json={"value": CANARY})
    assert by_admin.json()["version"] == 3


async def test_a_teams_admin_manages_its_own_account_beside_the_global_one(ask, house, repo):
    moved = "http://127.0.0.1:10/v1"
    path = f"/providers/{house.provider}"
    assert (await ask(house.lead, f"PATCH {path}", json={"base_url": moved})).json()["team"] == house.team
    assert (await repo.get_provider(house.provider)).base_url != moved
    assert (await ask(house.lead, f"GET {path}")).json()["base_url"] == moved
    assert (await ask(house.admin, f"GET {path}?team={house.team}")).json()["base_url"] == moved
    account = {"name": "another", "kind": "anthropic", "team": house.team}
    assert (await ask(house.lead, "POST /providers", json=account)).status_code == 201
    owned = [row["name"] for row in (await ask(house.lead, "GET /providers")).json()["items"]]
    assert owned == ["another", house.provider]
    assert (await ask(house.lead, f"DELETE {path}")).status_code == 200
    assert (await repo.get_provider(house.provider)).archived_at is None
    did = {row["action"] for row in (await ask(house.lead, "GET /audit")).json()["items"]}
    assert {"provider.create", "provider.update", "provider.archive", "secret.set"} <= did


async def test_an_account_that_reads_a_callers_surroundings_stays_where_an_admin_put_it(ask, house, repo):
    """A process that serves several teams has secrets of all of them in its environment."""
    await repo.update_provider(house.provider, for_team=house.team, secret="env:SHARED_BY_ALL")
    path = f"/providers/{house.provider}"
    moved = await ask(house.lead, f"PATCH {path}", json={"base_url": "https://evil.example.com"})
    assert (moved.status_code, "PUT …/secret" in moved.text) == (403, True)
    both = {"base_url": "https://evil.example.com", "secret": None}
    assert (await ask(house.lead, f"PATCH {path}", json=both)).status_code == 403
    assert (await ask(house.lead, f"PUT {at(house)}", json={"value": CANARY})).status_code == 200
    assert (await ask(house.lead, f"PATCH {path}", json=both | {"secret": "sealed:key"})).status_code == 200


#: Bodies around the canary that are refused, each for another reason.
UNFIT = [
    {"value": CANARY, "values": {"api_key": CANARY}},
    {"value": [CANARY]},
    {"value": {"api_key": CANARY}},
    {"values": {"api_key": [CANARY]}},
    {"values": {CANARY: 1}},
    {"values": CANARY},
    {"values": {f"not a label {CANARY}": CANARY}},
    {"values": {"federated": CANARY}},
    {"value": CANARY + "\0"},
    {"value": CANARY * 3_000},
    {"value": "", "team": CANARY},
    {},
    CANARY,
    [CANARY],
]


async def test_a_planted_secret_is_in_no_answer_log_audit_row_or_document(
    ask, api, house, control, mesh_engines, caplog
):
    caplog.set_level(logging.DEBUG)
    unread = {"content": f'{{"value": "{CANARY}"', "headers": {"Content-Type": "application/json"}}
    asked = [
        *((path, {"json": body}) for path in WRITING for body in ({"value": CANARY}, ALSO, *UNFIT)),
        *((path, unread) for path in WRITING),
        *((path, {}) for path in READING),
        ("PATCH /providers/{provider}", {"json": {"secret": CANARY}}),
    ]
    answers = [
        await ask(token, path.format(provider=house.provider), **options)
        for token in (house.admin, house.lead, house.viewer, "mt_nobody")
        for path, options in asked
    ]
    statuses = {answer.status_code for answer in answers}
    assert {200, 401, 403, 422} <= statuses <= {200, 401, 403, 404, 422}
    for answer in answers:
        assert CANARY not in answer.text, (answer.request.method, answer.request.url, answer.status_code)
    assert (await api.get("/openapi.json")).text.count(CANARY) == 0
    assert CANARY not in caplog.text
    rows = await everything_in(control)
    assert any("secret.set" in row for row in rows)
    assert not [row for row in rows if CANARY in row or CANARY.encode().hex() in row]


async def everything_in(control) -> list[str]:
    """Every row of every table, as text."""
    from sqlalchemy import text

    rows: list[str] = []
    async with control.database.connect() as connection:
        tables = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for (table,) in tables.all():
            found = await connection.execute(text(f"SELECT t::text FROM {table} t"))
            rows += [row for (row,) in found.all()]
    return rows


async def test_the_document_says_that_a_value_is_written_and_never_read(api):
    schemas = json.loads((await api.get("/openapi.json")).text)["components"]["schemas"]
    value = schemas["SecretValue"]["properties"]["value"]["anyOf"][0]
    assert (value["format"], value["writeOnly"]) == ("password", True)
    assert not {"value", "values", "sealed"} & set(schemas["StoredSecret"]["properties"])


async def test_without_a_secret_key_it_says_what_is_missing(ask, house, control, api):
    import dataclasses

    import httpx

    from mesh_plugins.server.app import build

    keyless = build(dataclasses.replace(control, master=None))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(keyless), base_url="http://mesh") as client:
        headers = {"Authorization": f"Bearer {house.admin}"}
        answer = await client.put(f"/v1{at(house)}", json={"value": CANARY}, headers=headers)
    assert answer.status_code == 422
    assert "MESH_SECRET_KEY" in answer.json()["detail"]
    assert CANARY not in answer.text


@pytest.mark.parametrize("everyone", [True, False], ids=["global", "a team's own"])
def test_a_caller_uses_what_was_set(make_world, mesh_engines, everyone):
    """Through `mesh serve`'s own API, published, opened by the caller, sent to the provider."""
    import asyncio

    import httpx

    from mesh_plugins.server.app import build
    from mesh_plugins.server.control import Control
    from mesh_store.postgres import Database
    from tests.conftest import SIGNER

    world = make_world()
    alias = world.alias()
    role = {"role": "admin"} if everyone else {"role": "team-admin", "team": world.team}
    _, token = world.run(lambda admin: admin.create_token(**role))

    async def put() -> None:
        async with Database(mesh_engines.database_url) as database:
            app = httpx.ASGITransport(build(Control(database, None, master=SIGNER.master)))
            head = {"Authorization": f"Bearer {token.text}"}
            async with httpx.AsyncClient(transport=app, base_url="http://mesh/v1", headers=head) as api:
                if not everyone:
                    account = {"name": world.name("local"), "kind": "openai", "team": world.team}
                    account["base_url"] = world.provider.base_url
                    assert (await api.post("/providers", json=account)).status_code == 201
                path = f"/providers/{world.name('local')}/secret"
                assert (await api.put(path, json={"value": CANARY})).status_code == 200

    asyncio.run(put())
    world.run(lambda admin: admin.publish())
    world.mesh().chat(alias, [{"role": "user", "content": "hello"}])
    assert world.provider.requests[-1].headers["authorization"] == f"Bearer {CANARY}"

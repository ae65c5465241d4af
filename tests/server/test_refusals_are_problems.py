"""Bad input, engines that are away, our own bugs: one form of answer, nothing changed, nothing leaked."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import pytest

from mesh_plugins.server.app import application, build
from mesh_plugins.server.bounds import Bounds
from mesh_plugins.server.control import Control
from mesh_store.postgres import Database

TARGET = {"provider": "p", "model": "m"}


async def problem(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:mesh:problem:")
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("POST /teams", {"name": "x", "colour": "red"}, "colour"),
        ("POST /teams", {"name": "X"}, "name"),
        ("POST /teams", {"name": "x" * 10_000}, "name"),
        ("POST /teams", {"name": "ﬁne"}, "name"),
        ("POST /teams", {}, "name"),
        ("POST /teams", {"name": 7}, "name"),
        ("POST /teams", {"name": "x", "metadata": {"n": 2**53}}, "metadata"),
        ("POST /teams", {"name": "x", "metadata": {"n": "\ud800"}}, "metadata"),
        ("POST /aliases", {"name": "x", "forced": {"stop": "\ud800"}}, "forced"),
        ("POST /teams", {"name": "x", "description": "\ud800"}, "description"),
        ("POST /limits", {"limit": "-1 requests/min"}, "limit"),
        ("POST /limits", {"limit": "NaN requests/min"}, "limit"),
        ("POST /limits", {"limit": "9007199254740993 requests/min"}, "limit"),
        ("POST /limits", {"limit": "1 requests/min", "enforce": "no"}, "enforce"),
        ("POST /limits", {"limit": "1 requests/min", "target": "a/b"}, "target"),
        ("POST /aliases", {"name": "x", "targets": [TARGET | {"weight": -1}]}, "targets.0.weight"),
        ("POST /aliases", {"name": "x", "targets": [TARGET | {"tires": 2}]}, "targets.0.tires"),
        ("POST /aliases", {"name": "x", "defaults": {"api_key": "sk-1"}}, "defaults"),
        ("POST /providers", {"name": "x", "kind": "cobol"}, "kind"),
        ("POST /keys", {"team": "x", "expires": "soon"}, "expires"),
        ("POST /keys", {"team": "x", "expires": "2001-01-01T00:00:00Z"}, "expires"),
        ("POST /keys", {"team": "x", "expires": "2099-01-01T00:00:00"}, "expires"),
        ("GET /teams?limit=0", None, "limit"),
        ("GET /teams?limit=1001", None, "limit"),
        ("GET /teams?after=no cursor", None, "after"),
        ("GET /teams?tean=x", None, "tean"),
        ("GET /teams?after=%00", None, "after"),
        ("GET /aliases/x?team=%00", None, "team"),
        ("GET /audit?actor=%00", None, "actor"),
        ("GET /usage?by=colour", None, "by.0"),
        ("GET /usage?since=2026-01-01T00:00:00", None, "since"),
    ],
)  # fmt: skip
async def test_bad_input_is_refused_by_the_name_of_its_field(ask, admin, repo, what, body, field):
    before = (await repo.list_audit(limit=1)).items
    headers = {"Content-Type": "application/json"}
    answer = await ask(admin, what, content=None if body is None else json.dumps(body), headers=headers)
    found = await problem(answer, 422)
    assert found["field"] == field
    assert (await repo.list_audit(limit=1)).items == before


@pytest.mark.parametrize(
    "body", ["{", "[]", "null", '"x"', '{"name": NaN}', "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"]
)
async def test_what_is_no_object_is_refused(ask, admin, body):
    headers = {"Content-Type": "application/json"}
    answer = await ask(admin, "POST /teams", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    await problem(answer, answer.status_code)


async def test_a_secret_that_was_refused_is_never_repeated(ask, admin):
    canary = "sk-live-3f9a77c1"
    for body in (
        {"name": "leaky", "kind": "openai", "secret": canary},
        {"name": "leaky", "kind": "openai", "secret": {"api_key": canary}},
        {"name": "leaky", "kind": "openai", "headers": {"Authorization": canary}},
        {"name": "leaky", "kind": "openai", "base_url": f"https://u:{canary}@example.com"},
        {"name": "leaky", "kind": "openai", "query": {"key": canary}},
        {"name": "leaky", "kind": "openai", "secrets": canary},
        {"name": "leaky", "kind": canary},
    ):
        answer = await ask(admin, "POST /providers", json=body)
        await problem(answer, 422)
        assert canary not in answer.text


@pytest.mark.parametrize(
    "name", ["nothing", "a/b", "%", "ä", "\0", "x" * 400, "..", "\ud83d\ude00", "' OR 1=1"]
)
async def test_a_name_that_can_never_be_is_simply_not_there(ask, admin, name):
    answer = await ask(
        admin, f"GET /teams/{quote(name.encode('utf-16', 'surrogatepass').decode('utf-16'), safe='')}"
    )
    await problem(answer, 404)


async def test_a_slash_in_a_name_is_not_a_slash_in_the_path(ask, house):
    name = f"{house.team}/members"
    await ask(house.admin, "POST /teams", json={"name": name})
    one, other = quote(name, safe=""), name
    assert (await ask(house.admin, f"GET /teams/{one}")).json()["name"] == name
    assert "items" in (await ask(house.admin, f"GET /teams/{other}")).json()


async def test_routes_and_methods_that_do_not_exist_are_problems_too(ask, api, admin):
    await problem(await ask(admin, "GET /nothing"), 404)
    found = await ask(admin, "DELETE /audit")
    await problem(found, 405)
    assert "GET" in found.headers["Allow"]
    await problem(await api.get("/v1/nothing"), 401)
    await problem(await api.get("/nothing"), 404)
    await problem(await api.get("/docs"), 404)


async def test_a_body_beyond_the_bound_is_refused_announced_or_not(ask, admin):
    large = b'{"name": "' + b"x" * (3 * 1024 * 1024) + b'"}'

    async def pieces():
        for at in range(0, len(large), 65_536):
            yield large[at : at + 65_536]

    for content in (large, pieces()):
        await problem(await ask(admin, "POST /teams", content=content), 413)


async def test_a_body_is_not_read_before_the_token_is_good(api):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    assert (await api.post("/v1/teams", content=never())).status_code == 401


async def test_a_body_that_trickles_is_given_up(control):
    async def app(scope, receive, send):
        await receive()

    async def trickle():
        import asyncio

        await asyncio.Event().wait()

    from starlette.exceptions import HTTPException

    caught = []

    async def catching(scope, receive, send):
        try:
            await app(scope, receive, send)
        except HTTPException as error:
            caught.append(error.status_code)

    scope = {"type": "http", "path": "/", "raw_path": b"/", "headers": []}
    await Bounds(catching, deadline=0.01)(scope, trickle, lambda message: None)
    assert caught == [408]


async def test_a_database_that_is_away_is_503_and_says_nothing_of_where_it_is(caplog):
    async with Database("postgresql://eve:hunter2@127.0.0.1:1/mesh") as away:
        transport = httpx.ASGITransport(build(Control(away, None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as api:
            text = "mt_" + "0" * 8 + "_" + "0" * 43
            from mesh_store.model.keys import checksum

            headers = {"Authorization": f"Bearer {text}{checksum(text)}"}
            answer = await api.get("/v1/teams", headers=headers)
    found = await problem(answer, 503)
    assert found["retry_after"] == 5
    assert answer.headers["Retry-After"] == "5"
    for hidden in ("127.0.0.1", "eve", "hunter2", "Traceback"):
        assert hidden not in answer.text
    assert found["instance"] in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_bug_of_ours_is_500_with_a_number_and_no_trace(control, admin, caplog, monkeypatch):
    from mesh_store.postgres.repository import Repository

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary-7f3 at /srv/secret.py")

    monkeypatch.setattr(Repository, "list_teams", broken)
    transport = httpx.ASGITransport(build(control))
    async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as api:
        answer = await api.get("/v1/teams", headers={"Authorization": f"Bearer {admin}"})
    found = await problem(answer, 500)
    assert "canary" not in answer.text
    assert found["instance"] in caplog.text
    assert "canary-7f3" in caplog.text


async def test_unknown_parameters_and_fields_are_refused_on_every_route(ask, admin):
    document = application(Control(None, None)).openapi()
    for path, operations in document["paths"].items():
        if not path.startswith("/v1"):
            continue
        here = dict.fromkeys(("team", "user", "key", "alias", "limit", "provider", "model", "token"), "x")
        for method, operation in operations.items():
            if any(p["in"] == "query" for p in operation.get("parameters", ())):
                what = f"{method.upper()} {path.removeprefix('/v1').format(**here)}"
                answer = await ask(admin, what, params={"nosuch": "1"}, json=None)
                assert "nosuch: there is no such field" in answer.json()["detail"], what
            schema = operation.get("requestBody")
            if schema is not None:
                model = schema["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
                assert document["components"]["schemas"][model]["additionalProperties"] is False, model


async def test_the_document_describes_every_problem_and_asks_for_the_token(api):
    document = json.loads((await api.get("/openapi.json")).text)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if not path.startswith("/v1"):
                continue
            assert operation["security"] == [{"HTTPBearer": []}]
            said = operation["responses"]["404"]["content"]
            assert said == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "HTTPValidationError" not in json.dumps(document)

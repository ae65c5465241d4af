"""Every route of the OpenAPI document, walked with tokens of another team and with none at all."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_plugins.server.app import application
from mesh_plugins.server.control import Control
from mesh_store.model.keys import checksum

#: What a body must hold for each route that takes one; values name the house given.
BODIES = {
    "POST /teams": lambda h: {"name": f"{h.team}-new"},
    "PATCH /teams/{team}": lambda h: {"description": "taken over"},
    "POST /teams/{team}/members": lambda h: {"user": h.user},
    "PATCH /teams/{team}/members/{user}": lambda h: {"role": "admin"},
    "POST /users": lambda h: {"name": f"x@{h.team}"},
    "PATCH /users/{user}": lambda h: {"description": "taken over"},
    "POST /keys": lambda h: {"team": h.team, "user": h.user},
    "PATCH /keys/{key}": lambda h: {"description": "taken over"},
    "POST /keys/{key}/rotate": lambda h: {},
    "POST /aliases": lambda h: {"name": "new", "team": h.team},
    "PATCH /aliases/{alias}": lambda h: {"grants": None},
    "POST /limits": lambda h: {"team": h.team, "user": h.user, "limit": "1 requests/day"},
    "PATCH /limits/{limit}": lambda h: {"limit": "1 requests/day"},
    "POST /providers": lambda h: {"name": f"{h.team}-new", "kind": "openai"},
    "PATCH /providers/{provider}": lambda h: {"base_url": "https://example.com"},
    "PUT /providers/{provider}/secret": lambda h: {"value": "sk-taken-over"},
    "POST /providers/{provider}/secret/rotate": lambda h: {"value": "sk-taken-over"},
    "PUT /providers/{provider}/prices/{model}": lambda h: {"input": 0, "output": 0},
    "PATCH /providers/{provider}/prices/{model}": lambda h: {"output": 0},
    "POST /tokens": lambda h: {"role": "team-admin", "team": h.team},
}
#: Answers that do not depend on whose anything is: what only an admin may do at all.
FORBIDDEN = 403


def routes() -> list[tuple[str, dict]]:
    """Every operation below /v1 as ``"GET /teams/{team}"``, with its description."""
    document = application(Control(None, None)).openapi()
    return [
        (f"{method.upper()} {path.removeprefix('/v1')}", operation)
        for path, operations in document["paths"].items()
        if path.startswith("/v1")
        for method, operation in operations.items()
    ]


ROUTES = routes()
NAMES = [name for name, _ in ROUTES]


def path_of(route: str, house, **instead: str) -> str:
    """The route with the names of a house in it."""
    here = {
        "team": house.team,
        "user": house.user,
        "key": house.key,
        "alias": house.alias,
        "limit": house.team_limit,
        "provider": house.provider,
        "model": "m",
        "token": house.admin[3:11],
    } | instead
    return re.sub(r"\{(\w+)\}", lambda match: quote(here[match[1]], safe=""), route)


def body_of(route: str, house) -> dict:
    return {"json": BODIES[route](house)} if route in BODIES else {}


async def trace_of(repo, house) -> tuple:
    """Everything about a house that somebody could have changed, audit log included."""
    team = await repo.get_team(house.team)
    aliases = (await repo.list_aliases(team=house.team)).items
    return (
        team,
        (await repo.list_members(team=house.team)).items,
        (await repo.list_keys(team=house.team, revoked=True)).items,
        (await repo.limits_of_team(team.id, archived=True)).items,
        (await repo.get_alias(house.alias), aliases),
        (await repo.list_providers(team=house.team)).items,
        (await repo.list_secrets(team=house.team)).items,
        (await repo.audit_of_team(team.id, limit=1000)).items,
    )


def unnamed(text: str, house) -> str:
    """An answer without the names it repeats from the question."""
    for name in (house.team, house.user, house.key, house.alias, house.team_limit, house.provider):
        text = text.replace(name[:16], "…").replace(name, "…")
    return re.sub(r"…[\w@./-]*", "…", text)


def test_every_route_that_takes_a_body_is_walked_with_one():
    assert set(BODIES) == {route for route, operation in ROUTES if "requestBody" in operation}


async def test_no_route_answers_without_a_good_token(ask, house):
    guessed = house.admin[:-7] + ("0" if house.admin[-7] != "0" else "1")
    typo, forged = guessed + house.admin[-6:], guessed + checksum(guessed)
    for route, token in itertools.product(
        NAMES, ("", "mt_", typo, forged, house.key, "mk_" + house.admin[3:])
    ):
        answer = await ask(token, path_of(route, house), **body_of(route, house))
        assert answer.status_code == 401, route
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_token_of_another_scheme_is_none(ask, house):
    answer = await ask("", "GET /teams", headers={"Authorization": f"Token {house.admin}"})
    assert answer.status_code == 401


async def test_foreign_and_missing_answer_alike_on_every_route(ask, new_house, repo):
    """With the token of one team: another team's things, then names of things that never were."""
    ours, theirs = await new_house(), await new_house()
    nobody = type(theirs)(**vars(theirs))
    nobody.team, nobody.user, nobody.provider = "nowhere1", "eve@nowhere1", "nowhere1-local"
    nobody.alias, nobody.key = "nowhere1/fast", "zzzzzzzz"
    nobody.team_limit = "00000000-0000-7000-8000-000000000000"
    before = await trace_of(repo, theirs)
    for token, route in itertools.product((ours.lead, ours.glance), NAMES):
        foreign = await ask(token, path_of(route, theirs), **body_of(route, theirs))
        missing = await ask(token, path_of(route, nobody), **body_of(route, nobody))
        assert foreign.status_code == missing.status_code, (route, foreign.text, missing.text)
        if foreign.status_code >= 400:
            said = unnamed(foreign.text, theirs), unnamed(missing.text, nobody)
            assert said[0] == said[1], route
            assert foreign.status_code in (403, 404), (route, foreign.text)
        else:
            assert "{" not in route, (route, foreign.text)
            for name in (theirs.team, theirs.user, theirs.key, theirs.alias, theirs.team_limit):
                assert name not in foreign.text, route
    assert await trace_of(repo, theirs) == before


async def test_narrowing_a_listing_to_another_team_finds_no_such_team(ask, new_house):
    ours, theirs = await new_house(), await new_house()
    narrowed = [
        name
        for name, operation in ROUTES
        if any(p["in"] == "query" and p["name"] == "team" for p in operation.get("parameters", ()))
    ]
    assert len(narrowed) >= 6
    for route in narrowed:
        body = body_of(route, ours)
        foreign = await ask(ours.lead, path_of(route, ours), params={"team": theirs.team}, **body)
        missing = await ask(ours.lead, path_of(route, ours), params={"team": "nowhere1"}, **body)
        assert foreign.status_code == missing.status_code == 404, (route, foreign.text)
        assert unnamed(foreign.text, theirs) == missing.text.replace("nowhere1", "…")


async def test_a_team_that_took_over_the_name_of_an_archived_one_sees_nothing_of_it(ask, new_house, repo):
    old = await new_house()
    await repo.archive_team(old.team)
    assert (await ask(old.lead, "GET /me")).status_code == 401
    await repo.create_team(name=old.team)
    _, new = await repo.create_token(role="team-admin", team=old.team)
    for what in (f"GET /keys/{old.key}", f"DELETE /keys/{old.key}", f"GET /limits/{old.team_limit}"):
        assert (await ask(new.text, what)).status_code == 404
    seen = [
        await ask(new.text, f"GET /{path}")
        for path in ("keys?revoked=true", "limits?archived=true", "audit", f"teams/{old.team}/members")
    ]
    ids = [row["id"] for answer in seen for row in answer.json()["items"]]
    assert len(ids) == 1, "only that the new team was created"
    assert (await ask(old.lead, "GET /me")).status_code == 401


CHOICES = st.fixed_dictionaries(
    {name: st.booleans() for name in ("team", "user", "key", "alias", "provider")}
)


async def test_no_mixture_of_ones_own_and_foreign_subjects_makes_a_limit_on_another_team(
    ask, new_house, repo
):
    """Subjects are drawn from both houses; whatever was accepted names nothing of the other."""
    import asyncio

    ours, theirs = await new_house(), await new_house()
    before = await trace_of(repo, theirs)
    drawn: list[dict] = []

    @settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))
    @given(whose=CHOICES, said=CHOICES)
    def draw(whose: dict, said: dict) -> None:
        drawn.append(
            {
                name: getattr(theirs if foreign else ours, name)
                for name, foreign in whose.items()
                if said[name]
            }
        )

    await asyncio.to_thread(draw)
    for number, subjects in enumerate(drawn):
        body = subjects | {"limit": f"{number + 1} requests/{number + 1}min"}
        answer = await ask(ours.lead, "POST /limits", json=body)
        assert answer.status_code in (201, 403, 404, 422), answer.text
        if answer.status_code == 201:
            foreign = {theirs.team, theirs.key, theirs.alias, theirs.provider}
            assert not foreign & set(subjects.values()), subjects
    assert await trace_of(repo, theirs) == before

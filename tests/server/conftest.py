"""The control plane's API in process: real engines, no socket, tokens of every role."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest

from mesh_plugins.server.app import build
from mesh_plugins.server.control import Control
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository
from mesh_store.redis import connect_async
from tests.conftest import SIGNER
from tests.engines import Engines

NOWHERE = "http://127.0.0.1:9/v1"

_numbers = itertools.count(1)


@dataclass
class House:
    """A team with something of every kind, and who may see it.

    Attributes:
        team: its name; `alias`, `user` are names of its own, too.
        provider: one for every team, and an account of the team's own of that name, its secret stored.
        admin, lead, viewer, glance: tokens: admin, team-admin, viewer of all, viewer of this team.
    """

    repo: Repository
    team: str
    user: str
    provider: str
    alias: str
    key: str
    key_limit: str
    team_limit: str
    admin: str
    lead: str
    viewer: str
    glance: str


async def furnish(repo: Repository) -> House:
    name = f"house{next(_numbers)}"
    user, provider = f"ada@{name}", f"{name}-local"
    async with repo.batch() as batch:
        await batch.create_team(name=name)
        await batch.create_user(name=user)
        await batch.add_member(team=name, user=user)
        for team in (None, name):
            await batch.create_provider(name=provider, kind="openai", base_url=NOWHERE, team=team)
        await batch.set_secret(provider, f"sk-of-{name}", team=name)
        await batch.create_alias(
            name=f"{name}/fast", grants=[name], targets=[{"provider": provider, "model": "m"}]
        )
        await batch.set_price(provider=provider, model="m", input=1, output=2)
        key, _ = await batch.create_key(team=name, user=user)
        of_key = await batch.create_limit(key=key.id, limit="60 requests/min")
        of_team = await batch.create_limit(team=name, limit="600 requests/min")
        tokens = [
            (await batch.create_token(role=role, team=team))[1].text
            for role, team in (("admin", None), ("team-admin", name), ("viewer", None), ("viewer", name))
        ]
    return House(repo, name, user, provider, f"{name}/fast", key.id, of_key.id, of_team.id, *tokens)


@pytest.fixture
async def control(mesh_engines: Engines) -> AsyncIterator[Control]:
    redis = connect_async(mesh_engines.redis_url, deadline=5.0)
    async with Database(mesh_engines.database_url) as database:
        yield Control(database, redis, master=SIGNER.master)
    await redis.aclose()


@pytest.fixture
def repo(control: Control) -> Repository:
    return Repository(control.database, actor="tests", master=control.master)


@pytest.fixture
async def api(control: Control) -> AsyncIterator[httpx.AsyncClient]:
    """The API without a token; each request brings its own."""
    transport = httpx.ASGITransport(build(control))
    async with httpx.AsyncClient(transport=transport, base_url="http://mesh") as client:
        yield client


@pytest.fixture(scope="session")
def admin(mesh_engines: Engines) -> str:
    """An admin's token, for tests that need no team."""

    async def mint() -> str:
        async with Database(mesh_engines.database_url) as database:
            return (await Repository(database, actor="tests").create_token(role="admin"))[1].text

    return asyncio.run(mint())


@pytest.fixture
def new_house(repo: Repository) -> Callable[[], Awaitable[House]]:
    return lambda: furnish(repo)


@pytest.fixture
async def house(repo: Repository) -> House:
    return await furnish(repo)


Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def ask(api: httpx.AsyncClient) -> Ask:
    """``ask(token, "GET /teams", json=…)``; the path without its ``/v1``."""

    async def asked(token: str, what: str, **options: object) -> httpx.Response:
        method, path = what.split(" ", 1)
        headers = {"Authorization": f"Bearer {token}"} | dict(options.pop("headers", {}))  # type: ignore[call-overload]
        return await api.request(method, f"/v1{path}", headers=headers, **options)  # type: ignore[arg-type]

    return asked

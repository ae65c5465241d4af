"""A whole mesh on real engines: Postgres and Valkey from the wheels, a stand-in provider over HTTP.

One Postgres for the session, and one mesh in it; every test makes a team, keys and aliases of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings
from mesh_plugins.shared import close_shared_mesh, set_shared_mesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.admin import Admin
from mesh_store.embedded import attach
from mesh_store.model.signing import Signer
from mesh_store.telemetry.collector import Collector
from tests.engines import Cluster, Engines, Operator, Valkeys

#: The control plane's MESH_SECRET_KEY in every test; callers believe nobody else.
SECRET_KEY = "a long and random secret key of the control plane"
SIGNER = Signer.from_secret(SECRET_KEY)

#: Tests start hundreds of interpreters; with this set, each would compile the package anew: 0.3 s of work.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Laws are asked of the same examples in every run, so that none fails by the luck of its seed; `full` draws
# others each time. A machine that is busy is no bug: no example has a deadline.
_patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", derandomize=True, **_patient)
settings.register_profile("drawn", **_patient)

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("drawn" if config.option.markexpr == "full" else "same")
    # A sync call of litellm has asyncio make a loop for this thread that nobody closes; which test is running
    # when it is collected, and fails for it, would be chance. Once told there is none, asyncio makes none.
    asyncio.set_event_loop(None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where whole files go to workers, let the longest go first."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.longest_first import LongestFirst

    return LongestFirst(config, log)


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The Postgres of this test session; tests have databases of their own in it."""
    with attach(tmp_path_factory.mktemp("cluster"), linger=0.1) as engines:
        made = Cluster(engines.home, engines.dsn)
        asyncio.run(made.prepare())
        yield made


@pytest.fixture(scope="session")
def valkeys() -> Iterator[Valkeys]:
    """Starts Redis servers, which end with the session."""
    with Valkeys() as started:
        yield started


@pytest.fixture(scope="session")
def new_engines(postgres_cluster: Cluster, valkeys: Valkeys) -> Callable[..., Engines]:
    """Make engines of one's own, migrated and published by `SIGNER`; Redis' settings may be named."""

    def make(**settings: str) -> Engines:
        engines = postgres_cluster.engines(valkeys(**settings).url)

        async def publish() -> None:
            urls = (engines.database_url, engines.redis_url)
            async with Admin.open(*urls, actor="tests", signer=SIGNER) as admin:
                await admin.publish()

        asyncio.run(publish())
        return engines

    return make


@pytest.fixture(scope="session")
def mesh_engines(new_engines: Callable[..., Engines]) -> Engines:
    """Engines of this test session; other tests' teams and secrets are in them, too."""
    return new_engines(appendonly="yes")  # as doctor wants it


@pytest.fixture(scope="session")
def mesh_operator(mesh_engines: Engines) -> Iterator[Operator]:
    """Who makes changes in the engines of this test session."""
    with closing(Operator(mesh_engines.database_url)) as operator:
        yield operator


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StandInProvider]:
    """A provider over real HTTP on loopback."""
    with StandInProvider() as provider:
        yield provider


@dataclass
class World:
    """One team with a key, on engines it shares with the other tests.

    Attributes:
        team, key, key_id: the team's name, its key's text and id.
        home: a home of this test's own: its rings and its last good configuration.
        operator: who makes changes; None where the engines are this test's own.
    """

    engines: Engines
    provider: StandInProvider
    home: Path
    team: str
    key: str = ""
    key_id: str = ""
    closing: ExitStack = field(default_factory=ExitStack)
    callers: list[Mesh] = field(default_factory=list)
    operator: Operator | None = None

    def run(self, change: Callable[[Admin], Any]) -> Any:
        """Run an operator's change; it is published, and here in every open caller, when this returns."""

        with self._operated() as operator:
            result, revision = operator.run(self.engines.redis_url, SIGNER, change)
        for mesh in self.callers:
            mesh._held.subscriber.wait(revision, 60)
        return result

    def name(self, stem: str) -> str:
        """A name of this world's own."""
        return f"{self.team}-{stem}"

    def alias(self, stem: str = "fast", *, models: tuple[str, ...] = ("small",), **fields: Any) -> str:
        """Make an alias whose targets are tried in order, all on the stand-in."""
        name = self.name(stem)
        targets = [
            {"provider": self.name("local"), "model": model, "tier": tier}
            for tier, model in enumerate(models, start=1)
        ]
        self.run(lambda admin: admin.create_alias(name=name, targets=targets, **fields))
        return name

    def limit(self, text: str, **subject: Any) -> None:
        """Put a limit on this team, or on what ``subject`` says."""
        whom = subject or {"team": self.team}
        self.run(lambda admin: admin.create_limit(limit=text, **whom))

    def new_key(self, **fields: Any) -> tuple[str, str]:
        """Make another key; returns its id and its text."""
        _, minted = self.run(lambda admin: admin.create_key(team=self.team, **fields))
        return minted.id, minted.text

    @property
    def environ(self) -> dict[str, str]:
        """What a process of this team has in its environment, and what an operator's has."""
        return {
            "MESH_DATABASE_URL": self.engines.database_url,
            "MESH_REDIS_URL": self.engines.redis_url,
            "MESH_HOME": str(self.home),
            "MESH_KEY": self.key,
            "MESH_SECRET_KEY": SECRET_KEY,
            "MESH_DECISION_S": "5",  # a busy machine is not an outage; tests of outages set their own
        }

    def mesh(self, **overrides: Any) -> Mesh:
        """A caller of this team; closed with the test."""
        mesh = Mesh(Settings.from_env(self.environ, **overrides))
        self.closing.callback(mesh.close, 0.5)
        self.callers.append(mesh)
        return mesh

    def collect(self) -> Any:
        """Bring every fact that has left its process to Postgres."""

        async def through() -> Any:
            collector = Collector(self.engines.database_url, self.engines.redis_url, self.home)
            try:
                return await collector.collect_once()
            finally:
                await collector.close()

        return asyncio.run(through())

    def rows(self, columns: str = "*") -> list[Any]:
        """This team's usage events, oldest first."""
        return self.query(
            f"SELECT {columns} FROM usage_events e JOIN teams t ON t.id::text = e.team_id::text "
            "WHERE t.name = $1 ORDER BY e.started_at, e.attempt",
            self.team,
        )

    def query(self, sql: str, *arguments: Any) -> list[Any]:
        """Ask Postgres."""
        with self._operated() as operator:
            return operator.query(sql, *arguments)

    def _operated(self) -> AbstractContextManager[Operator]:
        if self.operator is not None:
            return nullcontext(self.operator)
        return closing(Operator(self.engines.database_url))


@pytest.fixture
def make_world(
    mesh_engines: Engines, mesh_operator: Operator, stand_in: StandInProvider, tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """Make teams: ``make_world(limits=[…])``."""
    with ExitStack() as stack:

        def make(*, limits: tuple[str, ...] = (), base_url: str | None = None) -> World:
            team = f"team{next(_numbers)}"
            world = World(
                mesh_engines, stand_in, tmp_path / team, team, closing=stack, operator=mesh_operator
            )
            world.home.mkdir()

            async def create(admin: Admin) -> Any:
                await admin.create_team(name=team)
                await admin.create_provider(
                    name=world.name("local"), kind="openai", base_url=base_url or stand_in.base_url
                )
                for text in limits:
                    await admin.create_limit(team=team, limit=text)
                return await admin.create_key(team=team)

            _, minted = world.run(create)
            world.key, world.key_id = minted.text, minted.id
            return world

        yield make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """One team without limits."""
    return make_world()


@pytest.fixture
def from_environment(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One team whose key and engines the code under test finds in its environment, and nowhere else.

    Its own mesh reads ``MESH_KEY`` when it is made: `forget_the_key` takes both away.
    """
    set_shared_mesh(None)
    world = make_world()
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    for name in ("MESH_SECRET_KEY", "MESH_DATABASE_URL"):  # an operator's
        monkeypatch.delenv(name)
    yield world
    close_shared_mesh()


@pytest.fixture
def forget_the_key(from_environment: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take ``MESH_KEY`` from the environment, and the mesh that was made with it."""

    def forget() -> None:
        monkeypatch.delenv("MESH_KEY")
        close_shared_mesh()

    return forget

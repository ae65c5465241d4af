"""A mesh whose providers' secrets are stored, on engines of these tests' own: their master changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from mesh_plugins.testing.provider import StandInProvider
from mesh_store.admin import Admin
from mesh_store.redis.client import connect
from tests.conftest import SECRET_KEY, SIGNER, World
from tests.engines import Engines, Operator

#: Looks like a vendor's key, and is looked for everywhere.
CANARY = "sk-canary-4f1d7c0b9e2a4c6688d1"
ASK = [{"role": "user", "content": "tell me something true"}]

_numbers = itertools.count(1)


class SealedWorld(World):
    """One team whose provider's secret is stored.

    Attributes:
        alias_name: an alias that leads to the provider.
    """

    alias_name: str

    def seal(self, value: Any = CANARY, **where: Any) -> Any:
        """Store the provider's secret."""
        return self.run(lambda admin: admin.set_secret(self.name("local"), value, **where))

    def redis(self) -> Any:
        """A connection to Redis, to look at what lies there."""
        client = connect(self.engines.redis_url, deadline=5)
        self.closing.callback(client.close)
        return client

    def sent(self) -> str | None:
        """The Authorization header of the last request that the stand-in got."""
        return self.provider.requests[-1].headers.get("authorization")


@pytest.fixture(scope="module")
def sealed_engines(new_engines: Callable[..., Engines]) -> Engines:
    """Engines of a file's own: every publish seals what each team in them may open."""
    return new_engines()


@pytest.fixture(scope="module")
def sealed_operator(sealed_engines: Engines) -> Iterator[Operator]:
    with closing(Operator(sealed_engines.database_url)) as operator:
        yield operator


@pytest.fixture
def make_sealed(
    sealed_engines: Engines, sealed_operator: Operator, stand_in: StandInProvider, tmp_path: Path
) -> Iterator[Callable[..., SealedWorld]]:
    """Make teams with a provider whose secret is stored: ``make_sealed(grants=…)``."""
    with ExitStack() as stack:

        def make(*, secret: Any = CANARY, everyone: bool = False) -> SealedWorld:
            team = f"sealed{next(_numbers)}"
            world = SealedWorld(
                sealed_engines, stand_in, tmp_path / team, team, closing=stack, operator=sealed_operator
            )
            world.home.mkdir()
            world.alias_name = world.name("fast")

            async def create(admin: Admin) -> Any:
                await admin.create_team(name=team)
                await admin.create_provider(
                    name=world.name("local"), kind="openai", base_url=stand_in.base_url
                )
                targets = [{"provider": world.name("local"), "model": "small"}]
                grants = None if everyone else [team]
                await admin.create_alias(name=world.alias_name, targets=targets, grants=grants)
                if secret is not None:
                    await admin.set_secret(world.name("local"), secret)
                return await admin.create_key(team=team)

            _, minted = world.run(create)
            world.key, world.key_id = minted.text, minted.id
            return world

        yield make


@pytest.fixture
def sealed(make_sealed: Callable[..., SealedWorld]) -> SealedWorld:
    """One team whose provider's secret is stored."""
    return make_sealed()


class Words:
    """The constants of this file, since test modules cannot import one another."""

    ASK, CANARY, SECRET_KEY, SIGNER = ASK, CANARY, SECRET_KEY, SIGNER


@pytest.fixture
def words() -> type[Words]:
    return Words

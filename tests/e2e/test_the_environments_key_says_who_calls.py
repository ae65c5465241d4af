"""``MESH_KEY`` is who calls at every verb of the direct caller, where nobody says another key."""

from __future__ import annotations

import asyncio

import pytest

from mesh_plugins.mesh import Mesh
from mesh_plugins.shared import shared_mesh
from tests.doors import every, who_called

ASK = [{"role": "user", "content": "tell me something true"}]
DOORS = {
    "chat": lambda alias: shared_mesh().chat(alias, ASK),
    "achat": lambda alias: shared_mesh().achat(alias, ASK),
    "stream": lambda alias: shared_mesh().stream(alias, ASK),
    "astream": lambda alias: shared_mesh().astream(alias, ASK),
    "embed": lambda alias: shared_mesh().embed(alias, "hello"),
    "aembed": lambda alias: shared_mesh().aembed(alias, "hello"),
    "responses": lambda alias: shared_mesh().responses(alias, "hello"),
    "aresponses": lambda alias: shared_mesh().aresponses(alias, "hello"),
}


@pytest.fixture
def alias(from_environment) -> str:
    return from_environment.alias(operations=["chat", "embeddings", "responses", "text_completion"])


async def test_at_every_verb(from_environment, alias):
    assert await every(DOORS, alias) == dict.fromkeys(DOORS, "ok")
    assert set(await who_called(from_environment, len(DOORS))) == {from_environment.key_id}


async def test_in_a_batch(from_environment, alias):
    assert [reply.usage.total_tokens > 0 for reply in shared_mesh().map(alias, ["one", "two"])] == [True] * 2
    assert set(await who_called(from_environment, 2)) == {from_environment.key_id}


async def test_without_it_every_verb_names_it_and_asks_nobody(from_environment, alias, forget_the_key):
    before = from_environment.provider.count
    await asyncio.to_thread(forget_the_key)

    told = await every(DOORS, alias)

    assert {name: "MESH_KEY" in said for name, said in told.items()} == dict.fromkeys(DOORS, True), told
    assert from_environment.provider.count == before


def test_a_key_that_is_said_goes_over_it(from_environment, alias):
    key_id, key = from_environment.new_key()
    with Mesh.from_env() as mesh:
        mesh.chat(alias, ASK, key=key)
        assert mesh.flush(60)
    from_environment.collect()
    [row] = from_environment.rows("e.key_id::text AS key_id")
    assert row["key_id"] == key_id

"""``MESH_KEY`` is who calls at every door of litellm, where nobody says another key or mesh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doors import Door, every, who_called


@pytest.fixture
def alias(from_environment: Any) -> str:
    return from_environment.alias(  # type: ignore[no-any-return]
        operations=["chat", "embeddings", "responses", "text_completion"]
    )


@pytest.fixture
def doors(litellm: Any, ways: Any, messages: Any, alias: str) -> Iterator[dict[str, Door]]:
    """Every way through every door, the short one and the Router's included."""
    from mesh_plugins.hosts.litellm import install, uninstall

    def shortly(door: Door) -> Door:
        def ask(alias: str) -> Any:
            install(fast=True)
            return door(alias)

        return ask

    def way(each: Any) -> Door:
        return lambda alias: each(litellm, alias)

    install()
    router = litellm.Router(
        model_list=[{"model_name": "group", "litellm_params": {"model": f"mesh/{alias}"}}], num_retries=0
    )
    yield {
        **{each.name: way(each) for each in ways},
        "router": lambda alias: router.completion("group", messages),
        "router, async": lambda alias: router.acompletion("group", messages),
        "batch": lambda alias: litellm.batch_completion(f"mesh/{alias}", [messages]),
        "fast": shortly(lambda alias: litellm.completion(f"mesh/{alias}", messages)),
        "fast stream": shortly(lambda alias: litellm.completion(f"mesh/{alias}", messages, stream=True)),
        "fast, async": shortly(lambda alias: litellm.acompletion(f"mesh/{alias}", messages)),
    }
    uninstall()


async def test_at_every_door(from_environment: Any, alias: str, doors: dict[str, Door]) -> None:
    assert await every(doors, alias) == dict.fromkeys(doors, "ok")
    assert set(await who_called(from_environment, len(doors))) == {from_environment.key_id}


async def test_without_it_every_door_names_it_and_asks_nobody(
    from_environment: Any, alias: str, doors: dict[str, Door], forget_the_key: Any
) -> None:
    before = from_environment.provider.count
    await asyncio.to_thread(forget_the_key)
    del doors["batch"]  # litellm answers with errors in place of replies

    told = await every(doors, alias)

    assert {name: "MESH_KEY" in said for name, said in told.items()} == dict.fromkeys(doors, True), told
    assert from_environment.provider.count == before


async def test_for_calls_that_a_logger_meters(
    litellm: Any, from_environment: Any, alias: str, messages: Any, registered: Any
) -> None:
    from mesh_plugins.hosts.litellm import MeshLogger

    own = {"api_base": from_environment.provider.base_url, "api_key": "sk-own"}
    logger = MeshLogger()
    for _ in registered(litellm, logger, from_environment):
        await litellm.acompletion(model=f"openai/{alias}", messages=messages, **own)
        await asyncio.to_thread(_heard, logger)
    assert await who_called(from_environment, 1) == [from_environment.key_id]


def _heard(logger: Any) -> None:
    """Wait until every metered call's event has come."""
    deadline = time.monotonic() + 60
    while logger._open and time.monotonic() < deadline:
        time.sleep(0.01)

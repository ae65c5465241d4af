"""``MESH_KEY`` is who calls at every door of LangChain, where nobody says another key or mesh."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from mesh_plugins.hosts.langchain import (
    ChatMesh,
    MeshCallbackHandler,
    MeshEmbeddings,
    MeshMiddleware,
    MeshRateLimiter,
)
from tests.doors import every, who_called


@pytest.fixture
def alias(from_environment) -> str:
    return from_environment.alias(operations=["chat", "embeddings"])


@pytest.fixture
async def doors(from_environment):
    """Every way that leaves a fact."""
    own = httpx.AsyncClient()  # else one that all loops share, and none but the first can use

    def others(alias: str) -> ChatOpenAI:
        url = from_environment.provider.base_url
        handler = MeshCallbackHandler(alias)
        return ChatOpenAI(
            model="small",
            base_url=url,
            api_key="sk-x",
            max_retries=0,
            callbacks=[handler],
            http_async_client=own,
        )

    def agent(alias: str):
        nowhere = ChatOpenAI(model="small", base_url="http://127.0.0.1:9/v1", api_key="sk-x", max_retries=0)
        return create_agent(nowhere, middleware=[MeshMiddleware(alias)])

    asked = {"messages": [HumanMessage("hello")]}
    yield {
        "invoke": lambda alias: ChatMesh(model=alias).invoke("hello"),
        "ainvoke": lambda alias: ChatMesh(model=alias).ainvoke("hello"),
        "stream": lambda alias: ChatMesh(model=alias).stream("hello"),
        "astream": lambda alias: ChatMesh(model=alias).astream("hello"),
        "batch": lambda alias: ChatMesh(model=alias).batch(["hello"]),
        "abatch": lambda alias: ChatMesh(model=alias).abatch(["hello"]),
        "embed_query": lambda alias: MeshEmbeddings(model=alias).embed_query("hello"),
        "aembed_documents": lambda alias: MeshEmbeddings(model=alias).aembed_documents(["hello"]),
        "handler": lambda alias: others(alias).invoke("hello"),
        "handler, async": lambda alias: others(alias).ainvoke("hello"),
        "middleware": lambda alias: agent(alias).invoke(asked),
        "middleware, async": lambda alias: agent(alias).ainvoke(asked),
    }
    await own.aclose()


async def test_at_every_door(from_environment, alias, doors):
    assert await every(doors, alias) == dict.fromkeys(doors, "ok")
    assert set(await who_called(from_environment, len(doors))) == {from_environment.key_id}


async def test_without_it_every_door_names_it_and_asks_nobody(from_environment, alias, doors, forget_the_key):
    before = from_environment.provider.count
    await asyncio.to_thread(forget_the_key)
    gates = doors | {
        "rate limiter": lambda alias: MeshRateLimiter(alias).acquire(),
        "rate limiter, async": lambda alias: MeshRateLimiter(alias).aacquire(),
    }

    told = await every(gates, alias)

    assert {name: "MESH_KEY" in said for name, said in told.items()} == dict.fromkeys(gates, True), told
    assert from_environment.provider.count == before

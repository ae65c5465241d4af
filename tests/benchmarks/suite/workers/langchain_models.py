"""LangChain's chat model for OpenAI, ungoverned, and ours."""

from __future__ import annotations

from typing import Any

from worker import ASK, MODEL, MOST_TOKENS, ACall, serve


async def prepare(settings: dict[str, Any]) -> ACall:
    model: Any
    if settings.get("governed"):
        from mesh_plugins.hosts.langchain import ChatMesh

        model = ChatMesh(model="fast", max_tokens=MOST_TOKENS)
    else:
        from langchain_openai import ChatOpenAI

        model = ChatOpenAI(
            model=MODEL, base_url=settings["url"], api_key="none", max_retries=0, max_tokens=MOST_TOKENS
        )
    question = ASK[0]["content"]
    return lambda: model.ainvoke(question)


serve(prepare)

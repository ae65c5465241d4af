"""What `MeshEmbeddings` sends, and what it makes of replies."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh_plugins.hosts.langchain import MeshEmbeddings


def sent(provider: Any) -> Any:
    return provider.requests[-1].json


class TestEmbeddings:
    def test_texts_go_in_batches_and_vectors_come_back_in_their_order(self, mesh, provider):
        provider.clear()
        embeddings = MeshEmbeddings(model="fast", mesh=mesh, batch_size=2, dimensions=4, mesh_tags={"a": "b"})
        texts = [f"text {number}" for number in range(5)]
        vectors = embeddings.embed_documents(texts)
        assert [request.json["input"] for request in provider.requests] == [texts[:2], texts[2:4], texts[4:]]
        assert {request.json["dimensions"] for request in provider.requests} == {4}
        assert vectors == asyncio.run(embeddings.aembed_documents(texts))
        assert (
            vectors[3] == embeddings.embed_query(texts[3]) == asyncio.run(embeddings.aembed_query(texts[3]))
        )
        assert {fact.operation for fact in mesh.facts} == {"embeddings"}
        assert {fact.host for fact in mesh.facts} == {"langchain"}
        assert mesh.facts[0].tags == {"a": "b"}

    async def test_the_event_loop_turns_while_vectors_are_awaited(self, mesh, provider):
        model = MeshEmbeddings(model="fast", mesh=mesh)
        async with asyncio.timeout(60):
            provider.script("fast-1", latency_s=0.3)
            turns = 0
            task = asyncio.create_task(model.aembed_query("hi"))
            while not task.done():
                await asyncio.sleep(0.001)
                turns += 1
        provider.clear()
        assert turns > 5, "the loop stood still"

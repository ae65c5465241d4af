"""What LangChain's models are asked and answer is sampled where their team asked for it."""

from __future__ import annotations

from langchain_openai import ChatOpenAI

from mesh_plugins.hosts.langchain import ChatMesh, MeshCallbackHandler
from mesh_store.telemetry.sampler import Sampler


def test_our_model_and_others_are_heard(make_world, monkeypatch):
    world = make_world()
    alias = world.alias()
    world.run(lambda admin: admin.update_team(world.team, content="samples"))
    mesh, heard = world.mesh(), []
    monkeypatch.setattr(Sampler, "offer", lambda self, raw: heard.append(raw))
    model = ChatMesh(model=alias, mesh=mesh)
    whole = model.invoke("my cat is called Silvester").text
    streamed = "".join(chunk.text for chunk in model.stream("my cat is called Silvester"))
    other = ChatOpenAI(model="small", base_url=world.provider.base_url, api_key="x", max_retries=0)
    told = {"callbacks": [MeshCallbackHandler(alias, mesh=mesh)]}
    third = other.invoke("my cat is called Silvester", config=told).text
    assert [raw.answered for raw in heard] == [whole, streamed, third]
    assert all("Silvester" in str(raw.asked) for raw in heard)

"""What litellm's callers ask and are answered is sampled where their team asked for it."""

from __future__ import annotations

from mesh_plugins.hosts.litellm import install, uninstall
from mesh_store.telemetry.sampler import Sampler

ASK = [{"role": "user", "content": "my cat is called Silvester"}]


def test_every_door_is_heard(make_world, litellm, monkeypatch):
    world = make_world()
    alias = world.alias()
    world.run(lambda admin: admin.update_team(world.team, content="samples"))
    mesh, heard = world.mesh(), []
    monkeypatch.setattr(Sampler, "offer", lambda self, raw: heard.append(raw))
    install(mesh)
    try:
        whole = litellm.completion(model=f"mesh/{alias}", messages=ASK)
        chunks = list(litellm.completion(model=f"mesh/{alias}", messages=ASK, stream=True))
    finally:
        uninstall()
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [raw.answered for raw in heard] == [whole.choices[0].message.content, streamed]
    assert all(raw.asked["messages"] == ASK for raw in heard)

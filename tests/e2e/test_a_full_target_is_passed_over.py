"""A target's own limit sends calls to the next target, over a real limiter and two hash tags."""

from __future__ import annotations

import pytest

from mesh_plugins import QuotaExceeded

ASK = [{"role": "user", "content": "tell me something true"}]


def test_calls_go_where_there_is_room_and_are_refused_only_when_there_is_none(make_world):
    world = make_world(limits=("100 requests/hour",))
    alias = world.alias(models=("small", "large"))
    for model, limit in (("small", "1 requests/hour"), ("large", "2 requests/hour")):
        target = f"{world.name('local')}/{model}"
        world.run(lambda admin, t=target, text=limit: admin.create_limit(alias=alias, target=t, limit=text))
    mesh = world.mesh()
    answered = [mesh.chat(alias, ASK).mesh.target.split("/")[-1] for _ in range(3)]
    assert answered == ["small", "large", "large"]
    with pytest.raises(QuotaExceeded, match="1 requests/hour"):
        mesh.chat(alias, ASK)
    assert mesh.flush(10)
    world.collect()
    assert [row["outcome"] for row in world.rows("e.outcome")] == ["ok", "ok", "ok", "denied"]


def test_a_fallback_is_settled_on_the_target_that_answered(make_world):
    world = make_world(limits=("100 requests/hour",))
    alias = world.alias(models=("broken?status=503", "sound"))
    target = f"{world.name('local')}/sound"
    world.run(lambda admin: admin.create_limit(alias=alias, target=target, limit="1000 tokens/hour"))
    mesh = world.mesh()
    reply = mesh.chat(alias, ASK, max_tokens=50)
    assert mesh.flush(10)
    [room] = [
        text for text in mesh.chat(alias, ASK, max_tokens=50).mesh.remaining.items() if "tokens" in text[0]
    ]
    assert 1000 - reply.usage.total_tokens - 200 < room[1] <= 1000 - reply.usage.total_tokens

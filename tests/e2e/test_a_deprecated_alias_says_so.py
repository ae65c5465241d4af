"""The operator's notice on an alias reaches its callers with every reply."""

from __future__ import annotations

ASK = [{"role": "user", "content": "hello"}]


def test_the_notice_is_in_the_replys_metadata(make_world):
    world = make_world()
    alias = world.alias()
    mesh = world.mesh()
    assert mesh.chat(alias, ASK).mesh.notice is None
    world.run(lambda admin: admin.update_alias(alias, deprecated="use faster from May on"))
    assert mesh.chat(alias, ASK).mesh.notice == "use faster from May on"

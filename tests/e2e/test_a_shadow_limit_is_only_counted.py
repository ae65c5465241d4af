"""``enforce: false`` from the operator's change to the row in Postgres."""

from __future__ import annotations

ASK = [{"role": "user", "content": "tell me something true"}]


def test_calls_go_on_and_their_rows_are_flagged(make_world):
    world = make_world(limits=("100 requests/hour",))
    world.run(
        lambda admin: admin.create_limit(team=world.team, limit="2 requests/day, burst 1", enforce=False)
    )
    alias, mesh = world.alias(), world.mesh()
    for _ in range(4):
        mesh.chat(alias, ASK)
    assert mesh.limits_health().state == "closed"
    assert mesh.flush(10)
    world.collect()
    flagged = [row["flags"] for row in world.rows("e.flags")]
    assert sorted(map(list, flagged)) == [[], ["shadow_denied"], ["shadow_denied"], ["shadow_denied"]]

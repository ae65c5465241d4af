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
    rolled = "SELECT grain, sum(shadow_denied)::int FROM usage_rollups WHERE team_id = $1 GROUP BY grain"
    [[team]] = world.query("SELECT id::text FROM teams WHERE name = $1", world.team)
    grains = ("minute", "hour", "day", "team hour", "team day")
    assert {row[0]: row[1] for row in world.query(rolled, team)} == dict.fromkeys(grains, 3)
    [usage] = [row for row in mesh.usage(by=["team"]) if row["team"] == world.team]
    assert (usage["shadow_denied"], usage["denied"]) == (3, 0)

"""Content samples over HTTP: admins, and a team's admin its own; switching them on is an admin's."""

from __future__ import annotations

from mesh_store.model.ids import new_id


async def sampled(control, house):
    """A sample of the house's team."""
    team = await house.repo.update_team(house.team, content="samples", content_share=0.5)
    async with control.database.connect() as connection, connection.begin():
        await connection.exec_driver_sql(
            "INSERT INTO content_samples (fact_id, call_id, at, team_id, key_id, alias, outcome, request,"
            f" reply, cut) VALUES ('{new_id()}', '{new_id()}', now(), '{team.id}', 'k', 'fast', 'ok',"
            " 'asked', 'answered', false)"
        )


async def test_who_may_see_them(control, house, new_house, ask):
    await sampled(control, house)
    other = await new_house()
    for token in (house.admin, house.lead):
        answer = await ask(token, f"GET /samples?team={house.team}")
        assert [row["request"] for row in answer.json()["rows"]] == ["asked"]
    for token in (house.viewer, house.glance):
        assert (await ask(token, "GET /samples")).status_code == 403
    assert (await ask(other.lead, "GET /samples")).json() == {"rows": []}
    assert (await ask(other.lead, f"GET /samples?team={house.team}")).status_code == 404


async def test_who_may_switch_them_on(house, ask):
    said = {"content": "samples", "content_share": 0.25, "content_days": 3}
    assert (await ask(house.lead, f"PATCH /teams/{house.team}", json=said)).status_code == 403
    answer = await ask(house.admin, f"PATCH /teams/{house.team}", json=said)
    assert {name: answer.json()[name] for name in said} == said
    wrong = await ask(house.admin, f"PATCH /teams/{house.team}", json={"content_share": 0})
    assert wrong.status_code == 422

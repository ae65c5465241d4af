"""``mesh quota show``: live headroom of every limit that applies."""

from __future__ import annotations

from typing import Any


def test_a_team_sees_its_limits_and_a_key_its_own_as_well(operated: Any) -> None:
    operated("team", "create", "quota-a")
    operated("team", "create", "quota-b")
    key = operated.json("key", "create", "--team", "quota-a")
    operated("limit", "create", "50 requests/hour, burst 5", "--team", "quota-a")
    operated("limit", "create", "7 concurrent", "--team", "quota-a", "--observe")
    operated("limit", "create", "$20/day", "--team", "quota-a")
    operated("limit", "create", "9 requests/hour", "--team", "quota-b")
    operated("limit", "create", "3 requests/hour", "--key", key["id"])

    team = {row["limit"].split(",")[0]: row for row in operated.json("quota", "show", "quota-a")}
    assert set(team) == {"50 requests/hour", "7 concurrent", "$20/day"}
    assert (team["50 requests/hour"]["remaining"], team["50 requests/hour"]["at_once"]) == (5, 5)
    assert (team["7 concurrent"]["remaining"], team["7 concurrent"]["enforced"]) == (7, False)
    assert team["$20/day"]["at_once"] == 20

    own = {row["limit"].split(",")[0] for row in operated.json("quota", "show", key["id"])}
    assert own == {"50 requests/hour", "7 concurrent", "$20/day", "3 requests/hour"}

    shown = operated("quota", "show", "quota-a")
    assert "█" * 20 in shown
    assert "5 of 5" in shown
    assert "shadow" in shown


def test_what_was_taken_is_missing(operated: Any) -> None:
    from mesh_plugins.defaults.charging import charge_key
    from mesh_store.model.limits import Charge, Limit
    from mesh_store.model.snapshot import LimitRule, Subject
    from mesh_store.redis import Limiter, connect

    operated("team", "create", "quota-c")
    made = operated.json("limit", "create", "50 requests/hour, burst 10", "--team", "quota-c")
    [before] = operated.json("quota", "show", "quota-c")
    team = operated.json("team", "list")
    team_id = next(row["id"] for row in team if row["name"] == "quota-c")
    limit = Limit(amount=50, period_us=3_600_000_000, burst=10)
    rule = LimitRule(
        id=made["id"],
        subject=Subject(team=team_id),
        dimension="requests",
        limit=limit,
        text="",
        label="",
    )
    with connect(operated.environment["MESH_REDIS_URL"], deadline=5) as client:
        Limiter(client).reserve([Charge(charge_key(rule, team_id), limit, 4)])
    [after] = operated.json("quota", "show", "quota-c")
    assert (before["remaining"], after["remaining"]) == (10, 6)
    assert after["full_in_s"] > 0


def test_nobody_of_that_name_is_refused(operated: Any) -> None:
    assert "no team and no key" in operated.refused("quota", "show", "nobody")

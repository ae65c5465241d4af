"""``mesh quota show``: live headroom of every limit that applies."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_plugins.cli.quota import _drawn, _duration


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


def test_limits_on_aliases_show_for_those_who_may_use_them(operated: Any) -> None:
    for team in ("quota-d", "quota-e"):
        operated("team", "create", team)
    operated("provider", "create", "quota-p", "--kind", "openai", "--base-url", "http://127.0.0.1:9/v1")
    for alias, grants in (("quota-x", "quota-d"), ("quota-y", "quota-e")):
        operated("alias", "create", alias, "--target", "quota-p/m", "--grant", grants)
        operated("limit", "create", "8 requests/hour", "--alias", alias)
    operated("alias", "create", "quota-z", "--target", "quota-p/m")
    operated("limit", "create", "8 requests/hour", "--alias", "quota-z")

    assert _subjects(operated, "quota-d") == {"alias quota-x", "alias quota-z"}
    assert _subjects(operated, "quota-e") == {"alias quota-y", "alias quota-z"}
    confined = operated.json("key", "create", "--team", "quota-d", "--alias", "quota-z")
    assert _subjects(operated, confined["id"]) == {"alias quota-z"}


def test_limits_on_users_show_for_their_keys_alone(operated: Any) -> None:
    operated("team", "create", "quota-f")
    for user in ("quota-anna", "quota-ben"):
        operated("user", "create", user)
        operated("team", "add", "quota-f", user)
        operated("limit", "create", "8 requests/hour", "--user", user)
    of_anna = operated.json("key", "create", "--team", "quota-f", "--user", "quota-anna")
    of_nobody = operated.json("key", "create", "--team", "quota-f")
    assert _subjects(operated, of_anna["id"], "user") == {"user quota-anna"}
    assert _subjects(operated, of_nobody["id"], "user") == set()


def test_an_end_user_with_a_limit_of_its_own_has_it_instead_of_everybodys(operated: Any) -> None:
    operated("team", "create", "quota-g")
    operated("limit", "create", "8 requests/hour", "--team", "quota-g", "--end-user", "*")
    operated("limit", "create", "9 requests/hour", "--team", "quota-g", "--end-user", "vip")
    operated("limit", "create", "7 requests/hour", "--team", "quota-g", "--tag", "job=*")

    def shown(*options: str) -> set[str]:
        rows = operated.json("quota", "show", "quota-g", *options)
        return {row["limit"][0] for row in rows if "quota-g" in row["subject"]}

    assert shown() == set()
    assert shown("--end-user", "somebody") == {"8"}
    assert shown("--end-user", "vip") == {"9"}
    assert shown("--tag", "job=nightly") == {"7"}
    assert shown("--tag", "other=nightly") == set()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "now"), (0.25, "0.2 s"), (61, "1 min 1 s"), (7_325, "2 h 2 min"), (90_061, "1 d 1 h")],
)
def test_how_long_until_it_is_full_again_is_said_in_two_units(seconds: float, said: str) -> None:
    assert _duration(seconds) == said


def test_a_budget_whose_past_is_not_in_redis_yet_says_so(operated: Any) -> None:
    operated("team", "create", "quota-h")
    operated("limit", "create", "$20/month", "--team", "quota-h")
    [row] = [row for row in operated.json("quota", "show", "quota-h") if row["dimension"] == "usd"]
    assert row["counted"], "a limit made just now has no past"
    assert "not counted yet" not in _drawn(row)["note"]
    assert "not counted yet: is `mesh collect` running?" in _drawn(row | {"counted": False})["note"]


def _subjects(operated: Any, whose: str, kind: str = "alias") -> set[str]:
    """Whose the limits of a kind are that show for somebody."""
    found = {row["subject"] for row in operated.json("quota", "show", whose)}
    return {each for each in found if each.startswith(kind)}

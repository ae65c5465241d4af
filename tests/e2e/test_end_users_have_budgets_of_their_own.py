"""A budget per end user, from the operator's word to the ledger and back into a Redis that forgot."""

from __future__ import annotations

import pytest
import redis

from mesh_plugins import BudgetExceeded, QuotaExceeded

ASK = [{"role": "user", "content": "tell me something true"}]


@pytest.fixture
def shop(make_world):
    """A team with $0.01 a day for each end user, of a model that costs $1,000 per million tokens."""
    world = make_world()
    alias = world.alias()
    price = {"input": 1000, "output": 1000}
    world.run(lambda admin: admin.set_price(provider=world.name("local"), model="small", **price))
    world.run(lambda admin: admin.create_limit(team=world.team, end_user="*", limit="$0.05/day"))
    return world, alias


def team_id(world) -> str:
    return world.query("SELECT id::text FROM teams WHERE name = $1", world.team)[0][0]


def spend(mesh, alias, **who) -> int:
    """Call until the budget refuses; return how many calls it paid for."""
    for count in range(100):
        try:
            mesh.chat(alias, ASK, max_tokens=5, **who)
        except BudgetExceeded:
            return count
        assert mesh.flush(10)
    raise AssertionError("the budget never refused")


def forget(world) -> None:
    """Let Redis lose what this team's limits stand at."""
    with redis.Redis.from_url(world.engines.redis_url) as client:
        for key in client.keys(f"{{{team_id(world)}}}*"):
            client.delete(key)


def test_it_is_counted_for_each_and_survives_a_redis_that_forgot(shop):
    world, alias = shop
    mesh = world.mesh()
    world.collect()
    first = spend(mesh, alias, user="ann@example.com")
    assert 0 < first < 20
    mesh.chat(alias, ASK, max_tokens=5, end_user="bob")
    assert mesh.flush(10)
    world.collect()
    assert {row["end_user"] for row in world.rows("e.end_user")} == {"ann@example.com", "bob"}

    forget(world)
    with pytest.raises(BudgetExceeded, match="no collector"):
        mesh.chat(alias, ASK, max_tokens=5, end_user="bob")
    world.collect()
    with pytest.raises(BudgetExceeded, match="end user ann"):  # what she spent is spent
        mesh.chat(alias, ASK, max_tokens=5, user="ann@example.com")
    mesh.chat(alias, ASK, max_tokens=5, end_user="bob")
    mesh.chat(alias, ASK, max_tokens=5, end_user="somebody new")


def test_a_budget_made_later_needs_no_collector_once_the_team_is_counted(shop):
    world, alias = shop
    world.collect()
    mesh = world.mesh()
    world.run(lambda admin: admin.create_limit(team=world.team, limit="$5/month"))
    mesh.chat(alias, ASK, max_tokens=5)


def test_who_waits_waits_for_a_budget_that_is_being_counted(shop):
    import threading

    world, alias = shop
    mesh = world.mesh()
    mesh.chat(alias, ASK, max_tokens=5, user="ann")
    assert mesh.flush(10)
    forget(world)
    with pytest.raises(BudgetExceeded, match="no collector"):
        mesh.chat(alias, ASK, max_tokens=5, user="ann")
    collecting = threading.Thread(target=world.collect)
    collecting.start()
    mesh.chat(alias, ASK, max_tokens=5, user="ann", max_wait_s=30)
    collecting.join()


def test_limits_on_tags_refuse_by_name(make_world):
    world = make_world()
    alias, mesh = world.alias(), world.mesh()
    world.run(lambda admin: admin.create_limit(team=world.team, tag="job=*", limit="1 requests/hour"))
    mesh.chat(alias, ASK, tags={"job": "nightly"})
    with pytest.raises(QuotaExceeded, match="tag job=nightly"):
        mesh.chat(alias, ASK, tags={"job": "nightly"})
    mesh.chat(alias, ASK, tags={"job": "weekly"})

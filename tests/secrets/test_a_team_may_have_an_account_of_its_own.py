"""A provider with a team stands for the global one of its name, for that team alone."""

from __future__ import annotations

import pytest

from mesh_store.model.errors import Conflict, NotFound, QuotaExceeded, Rejected


@pytest.fixture
def pair(make_sealed):
    """A team with an account of its own behind an alias for everyone, and one without."""
    ours, theirs = make_sealed(secret="sk-global", everyone=True), make_sealed()
    ours.run(
        lambda admin: admin.create_provider(
            name=ours.name("local"), team=theirs.team, kind="openai", base_url=ours.provider.base_url
        )
    )
    ours.run(lambda admin: admin.set_secret(ours.name("local"), "sk-own-account", team=theirs.team))
    return ours, theirs


def test_its_calls_use_it_and_those_of_others_do_not(pair, words):
    ours, theirs = pair
    theirs.mesh().chat(ours.alias_name, words.ASK)
    assert theirs.sent() == "Bearer sk-own-account"
    ours.mesh().chat(ours.alias_name, words.ASK)
    assert ours.sent() == "Bearer sk-global"


def test_a_fact_names_the_account_that_was_used(pair, words):
    ours, theirs = pair
    mesh = theirs.mesh()
    mesh.chat(ours.alias_name, words.ASK)
    assert mesh.flush(10)
    theirs.collect()
    own = theirs.run(lambda admin: admin.get_provider(ours.name("local"), team=theirs.team))
    [row] = theirs.rows("e.provider_id::text AS provider_id")
    assert row["provider_id"] == own.id


def test_once_it_is_archived_the_global_one_is_used_again(pair, words):
    ours, theirs = pair
    ours.run(lambda admin: admin.archive_provider(ours.name("local"), team=theirs.team))
    theirs.mesh().chat(ours.alias_name, words.ASK)
    assert theirs.sent() == "Bearer sk-global"


def test_once_its_team_is_archived_publishing_goes_on_without_it(pair, words):
    ours, theirs = pair
    ours.run(lambda admin: admin.archive_team(theirs.team))  # publishes
    ours.mesh().chat(ours.alias_name, words.ASK)
    assert ours.sent() == "Bearer sk-global"


def test_a_limit_of_the_team_on_the_provider_means_its_own(pair, words):
    ours, theirs = pair
    theirs.limit("1 requests/hour", team=theirs.team, provider=ours.name("local"))
    mesh = theirs.mesh()
    mesh.chat(ours.alias_name, words.ASK)
    with pytest.raises(QuotaExceeded, match="1 requests/hour"):
        for _ in range(2):
            mesh.chat(ours.alias_name, words.ASK)


def test_a_limit_of_the_global_account_does_not_bind_it(pair, words):
    ours, theirs = pair
    ours.limit("1 requests/hour", provider=ours.name("local"))
    for _ in range(3):
        theirs.mesh().chat(ours.alias_name, words.ASK)


def test_it_is_found_by_name_and_team(pair):
    ours, theirs = pair
    name = ours.name("local")
    own = ours.run(lambda admin: admin.get_provider(name, team=theirs.team))
    assert (own.name, own.team, own.secret) == (name, theirs.team, "sealed:key")
    assert ours.run(lambda admin: admin.get_provider(name)).team is None
    assert [p.id for p in ours.run(lambda admin: admin.list_providers(team=theirs.team))] == [own.id]
    everybody = ours.run(lambda admin: admin.list_providers(limit=1000))
    assert {p.team for p in everybody if p.name == name} == {None, theirs.team}
    changed = ours.run(
        lambda admin: admin.update_provider(name, for_team=theirs.team, headers={"x-team": "theirs"})
    )
    assert (changed.id, changed.headers) == (own.id, {"x-team": "theirs"})
    with pytest.raises(NotFound):
        ours.run(lambda admin: admin.get_provider(name, team=ours.team))
    with pytest.raises(Conflict):
        ours.run(lambda admin: admin.create_provider(name=name, team=theirs.team, kind="openai"))
    with pytest.raises(Rejected, match="team cannot be changed"):
        ours.run(lambda admin: admin.update_provider(name, for_team=theirs.team, team=None))

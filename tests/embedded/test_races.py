"""Many processes, one pair."""

from __future__ import annotations

import re

import pytest

from mesh_store.embedded import attach, status


def test_twenty_processes_that_start_at_once_make_one_cluster(bare_home, users, gone):
    body = (
        "engines = attach(home); print(engines.started, status(home).supervisor, status(home).postgres.pid)"
    )
    crowd = [users(bare_home, body) for _ in range(20)]
    said = [user.line().split() for user in crowd]
    assert sorted(started for started, _, _ in said) == ["False"] * 19 + ["True"]
    assert len({supervisor for _, supervisor, _ in said}) == 1
    assert len({postmaster for _, _, postmaster in said}) == 1
    assert len(status(bare_home).users) == 20
    log = (bare_home / "logs" / "supervisor.log").read_text()
    assert len(re.findall("postgres started", log)) == 1
    assert not list(bare_home.glob("postgres.new-*"))
    for user in crowd[:10]:
        user.kill()
    assert status(bare_home).running
    for user in crowd[10:]:
        user.kill()
    gone(bare_home)


@pytest.mark.parametrize("rounds", [8, pytest.param(60, marks=pytest.mark.full)])
def test_who_comes_while_the_pair_stops_gets_a_whole_one(home, rounds):
    for number in range(rounds):
        with attach(home, linger=(number % 4) * 0.05):
            assert status(home).running

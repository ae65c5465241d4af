"""A call from the command line and what is seen of it: chat, usage, watch, doctor, collect, drain."""

import json
import signal

import pytest

from mesh_plugins.testing.provider import StandInProvider


@pytest.fixture(scope="module")
def provider():
    with StandInProvider() as started:
        yield started


@pytest.fixture(scope="module")
def mesh(kept, provider):
    """Engines with a team whose key may call `fast`, which has a price and a limit nobody reaches."""
    kept("team", "create", "research")
    kept("provider", "create", "local", "--base-url", provider.base_url)
    kept("price", "set", "local", "small", "--input", "1", "--output", "2")
    kept("alias", "create", "fast", "--target", "local/small")
    kept("limit", "create", "6000 requests/min", "--team", "research")
    kept.environment["MESH_KEY"] = kept.json("key", "create", "--team", "research")["key"]
    return kept


def test_a_reply_goes_to_stdout_and_what_it_cost_to_stderr(mesh):
    done = mesh.run("chat", "fast", "Hello there", "--max-tokens", "8")
    assert done.returncode == 0
    assert "Hello there" in done.stdout
    assert "local/small, 2 + " in done.stderr
    assert "$0.0000" in done.stderr


def test_usage_shows_a_call_as_soon_as_it_is_flushed_and_costs_to_the_last_digit(mesh):
    before = sum(row["calls"] for row in mesh.json("usage", "--flush"))
    reply = mesh.json("chat", "fast", "Hello")
    rows = mesh.json("usage", "--by", "team,model", "--by", "alias", "--since", "1h", "--flush")
    row = next(row for row in rows if row["model"] == "small")
    assert (row["team"], row["alias"], row["calls"]) == ("research", "fast", before + 1)
    assert row["cost_usd"] == pytest.approx((row["input_tokens"] + 2 * row["output_tokens"]) / 1e6, abs=1e-15)
    assert reply["cost_usd"] <= row["cost_usd"]
    assert mesh.json("usage", "--team", "research", "--since", "2001-01-01")[0]["calls"] == before + 1
    assert "research" in mesh("usage", "--by", "team")


def test_an_alias_that_is_set_answers_differently_in_the_next_call(mesh):
    mesh("alias", "create", "turning", "--target", "local/one")
    assert mesh.json("chat", "turning", "Hello")["target"] == "local/one"
    mesh("alias", "set", "turning", "--target", "local/two")
    assert mesh.json("chat", "turning", "Hello")["target"] == "local/two"


@pytest.mark.parametrize(
    ("key", "alias", "said"),
    [("mk_nonsense", "fast", "not a Mesh key"), (None, "slow", "no alias 'slow'"), ("", "fast", "key")],
)
def test_a_refused_call_says_why_in_one_line_and_asks_nobody(mesh, provider, key, alias, said, monkeypatch):
    if key is not None:
        monkeypatch.setitem(mesh.environment, "MESH_KEY", key)
    before = provider.count
    assert said in mesh.refused("chat", alias, "Hello")
    assert provider.count == before


def test_an_exhausted_limit_names_itself_and_when_to_come_back(mesh, monkeypatch):
    made = mesh.json("key", "create", "--team", "research", "--limit", "1 requests/hour")
    monkeypatch.setitem(mesh.environment, "MESH_KEY", made["key"])
    mesh("chat", "fast", "Hello")
    line = mesh.refused("chat", "fast", "Hello")
    assert "1 requests/hour" in line
    assert "retry after" in line


def test_a_revoked_key_is_refused_by_the_next_call(mesh, monkeypatch):
    made = mesh.json("key", "create", "--team", "research")
    monkeypatch.setitem(mesh.environment, "MESH_KEY", made["key"])
    mesh("chat", "fast", "Hello")
    mesh("key", "revoke", made["id"])
    mesh.refused("chat", "fast", "Hello")


def test_watch_prints_the_revision_that_is_there(mesh):
    seen = json.loads(mesh("watch", "--count", "1", "--json"))
    assert seen["revision"] > 0
    assert seen["changed"] == []


def test_doctor_finds_nothing_wrong_and_says_so_when_there_is(mesh, monkeypatch):
    findings = {row["check"]: row for row in mesh.json("doctor")}
    assert {row["state"] for row in findings.values()} <= {"fine", "warning"}
    assert findings["Postgres"]["state"] == findings["key"]["state"] == "fine"

    monkeypatch.setitem(mesh.environment, "MESH_KEY", "mk_nonsense")
    done = mesh.run("doctor", "--json")
    assert done.returncode == 1
    wrong = [row for row in json.loads(done.stdout) if row["state"] == "failed"]
    assert [row["check"] for row in wrong] == ["key"]
    assert wrong[0]["fix"]


def test_doctor_reports_engines_that_are_away_instead_of_failing(mesh, monkeypatch):
    monkeypatch.setitem(mesh.environment, "MESH_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setitem(mesh.environment, "MESH_REDIS_URL", "redis://127.0.0.1:1/0")
    done = mesh.run("doctor", "--json")
    assert done.returncode == 1
    states = {row["check"]: row["state"] for row in json.loads(done.stdout)}
    assert states["Postgres"] == states["Redis"] == "failed"


def test_drain_finds_nothing_where_every_process_ended_well(mesh):
    assert mesh.json("drain")["facts"] == 0


def test_collect_ends_soon_after_sigterm(mesh):
    process = mesh.start("collect")
    try:
        findings = ""
        while "2 running" not in findings:
            assert process.poll() is None
            findings = mesh("doctor")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()

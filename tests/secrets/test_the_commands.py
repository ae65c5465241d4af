"""`mesh secret` and `mesh acl`, as an operator types them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mesh_plugins.cli.app import build


@pytest.fixture
def mesh(sealed, words, monkeypatch):
    """Runs a command against the engines of these tests."""
    for name, value in (sealed.environ | {"MESH_SECRET_KEY": words.SECRET_KEY}).items():
        monkeypatch.setenv(name, value)

    def run(*arguments, stdin=None, code=0):
        result = CliRunner().invoke(build(arguments[0]), list(arguments), input=stdin)
        assert result.exit_code == code, result.output
        return result

    return run


def test_a_secret_is_set_from_standard_input_and_listed_without_it(mesh, sealed, words):
    said = mesh("secret", "set", sealed.name("local"), stdin="sk-from-a-pipe\n")
    assert "version 2" in said.output
    assert "sk-from-a-pipe" not in said.output
    [row] = [
        r
        for r in json.loads(mesh("secret", "list", "--json").output)
        if r["provider"] == sealed.name("local")
    ]
    assert (row["version"], row["labels"]) == (2, ["key"])
    sealed.mesh().chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == "Bearer sk-from-a-pipe"


def test_rotating_needs_one_that_is_there(mesh, make_sealed, sealed):
    bare = make_sealed(secret=None)
    said = mesh("secret", "rotate", bare.name("local"), stdin="sk-x", code=1)
    assert "use `mesh secret set" in said.output
    assert "version 2" in mesh("secret", "rotate", sealed.name("local"), stdin="sk-x").output
    mesh("secret", "rotate", code=2)
    mesh("secret", "rotate", sealed.name("local"), "--master", code=2)


def test_without_the_secret_key_it_says_what_to_set(mesh, sealed, monkeypatch):
    monkeypatch.delenv("MESH_SECRET_KEY")
    said = mesh("secret", "set", sealed.name("local"), stdin="sk-x", code=1)
    assert "MESH_SECRET_KEY" in said.output


def test_revoking_a_key_prints_what_should_be_rotated(mesh, sealed):
    key_id, _ = sealed.new_key()
    said = mesh("key", "revoke", key_id)
    assert sealed.name("local") in said.output
    key_id, _ = sealed.new_key()
    assert sealed.name("local") in json.loads(mesh("key", "revoke", key_id, "--json").output)["secrets_seen"]


def test_the_secret_key_is_changed_by_one_command_and_back(mesh, sealed, words, monkeypatch):
    monkeypatch.setenv("MESH_NEW_SECRET_KEY", "short")
    assert "32 random characters" in mesh("secret", "rotate", "--master", code=1).output
    new = "another long and random secret key of this plane"
    monkeypatch.setenv("MESH_NEW_SECRET_KEY", new)
    try:
        assert json.loads(mesh("secret", "rotate", "--master", "--json").output)["sealed_anew"] >= 2
    finally:
        monkeypatch.setenv("MESH_SECRET_KEY", new)
        monkeypatch.setenv("MESH_NEW_SECRET_KEY", words.SECRET_KEY)
        mesh("secret", "rotate", "--master")
    sealed.mesh().chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == f"Bearer {words.CANARY}"


def test_acl_prints_one_command_for_each_role(mesh, sealed):
    lines = mesh("acl").output.splitlines()
    named = [line.split()[2] for line in lines]
    assert named == ["mesh-caller", "mesh-collector", "mesh-publisher", "mesh"], "the last is for sentinels"
    assert all(line.startswith("ACL SETUSER") and " reset on ><PASSWORD> " in line for line in lines)
    sealed.run(lambda admin: admin.create_limit(limit="9999 requests/min"))
    [caller] = json.loads(mesh("acl", "--role", "caller", "--team", sealed.team, "--json").output)
    team = sealed.query("SELECT id::text FROM teams WHERE name = $1", sealed.team)[0]["id"]
    assert {f"~{{{team}}}:q:*", "~{global}:q:*"} <= set(caller["rules"])
    assert "~{*}:q:*" not in caller["rules"]

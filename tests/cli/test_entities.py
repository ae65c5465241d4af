"""Teams, users, keys, providers, prices, aliases and limits from the command line, on real engines."""

import asyncio
import csv
import re

import asyncpg
import pytest


def changes(mesh):
    """What tells that nothing changed: the revision, and how many rows each table has."""

    async def counted(dsn):
        connection = await asyncpg.connect(dsn)
        try:
            names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = sorted(name for (name,) in names)
            counts = [await connection.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables]
            return dict(zip(tables, counts, strict=True)), await connection.fetch("SELECT * FROM revisions")
        finally:
            await connection.close()

    return asyncio.run(counted(mesh.environment["MESH_DATABASE_URL"].replace("+asyncpg", "")))


@pytest.fixture(scope="module")
def mesh(operated):
    """Engines with a team, a user in it, a provider and an alias."""
    operated("team", "create", "research", "--description", "of the tests")
    operated("user", "create", "ada@example.com")
    operated("team", "add", "research", "ada@example.com", "--admin")
    operated(
        "provider", "create", "local", "--base-url", "http://127.0.0.1:9/v1", "--header", "x-team=research"
    )
    operated("alias", "create", "fast", "--target", "local/small,weight=9", "--target", "local/large,tier=2")
    return operated


def names(rows):
    return [row["name"] for row in rows]


def test_what_was_created_is_listed(mesh):
    assert names(mesh.json("team", "list")) == ["research"]
    assert mesh.json("team", "list")[0]["description"] == "of the tests"
    assert names(mesh.json("user", "list")) == ["ada@example.com"]
    members = mesh.json("team", "members", "research")
    assert [(row["user"], row["role"]) for row in members] == [("ada@example.com", "admin")]
    provider = mesh.json("provider", "list")[0]
    assert provider["headers"] == {"x-team": "research"}
    alias = mesh.json("alias", "list")[0]
    assert [(each["model"], each["weight"], each["tier"]) for each in alias["targets"]] == [
        ("small", 9, 1),
        ("large", 1, 2),
    ]
    assert "local/small,weight=9" in mesh("alias", "list")


def test_an_empty_listing_is_an_empty_list_for_programs_and_a_word_for_people(mesh):
    assert mesh.json("price", "list") == []
    assert mesh("price", "list") == "no prices of your own\n"


def test_a_key_is_one_object_with_its_text_and_the_text_is_never_seen_again(mesh):
    made = mesh.json("key", "create", "--team", "research", "--user", "ada@example.com", "--alias", "fast")
    assert re.fullmatch(r"mk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", made["key"])
    assert made["key"].startswith(f"mk_{made['id']}_")
    assert made["aliases"] == ["fast"]

    listed = mesh("key", "list", "--json")
    assert made["id"] in listed
    assert made["key"][12:-4] not in listed
    assert made["key"][-4:] in mesh("key", "list")

    assert mesh.json("key", "check", made["key"])["id"] == made["id"]
    assert "typo" in mesh.refused("key", "check", made["key"][:-1] + ("a" if made["key"][-1] != "a" else "b"))


def test_a_key_alone_on_stdout_can_be_exported(mesh):
    done = mesh.run("key", "create", "--team", "research", "--expires", "never")
    assert re.fullmatch(r"mk_\S{58}\n", done.stdout)
    assert "not shown again" in done.stderr


def test_a_rotated_key_keeps_its_id_and_a_revoked_one_is_gone_from_the_listing(mesh):
    made = mesh.json("key", "create", "--team", "research")
    rotated = mesh.json("key", "rotate", made["id"], "--overlap", "1h")
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]

    mesh("key", "revoke", made["id"])
    assert made["id"] not in [row["id"] for row in mesh.json("key", "list")]
    assert made["id"] in [row["id"] for row in mesh.json("key", "list", "--revoked")]


def test_an_alias_is_changed_where_it_runs(mesh):
    mesh("alias", "create", "moving", "--target", "local/a", "--max-output-tokens", "64")
    mesh(
        "alias", "set", "moving", "--target", "local/b", "--grant", "research", "--default", "temperature=0.5"
    )
    alias = next(row for row in mesh.json("alias", "list") if row["name"] == "moving")
    assert [each["model"] for each in alias["targets"]] == ["b"]
    assert alias["grants"] == ["research"]
    assert alias["defaults"] == {"temperature": 0.5}
    assert alias["max_output_tokens"] == 64, "what was not named stays"
    mesh("alias", "archive", "moving")
    assert "moving" not in names(mesh.json("alias", "list"))


def test_a_pattern_passes_on_what_it_caught_and_a_canary_gets_its_share(mesh):
    mesh("alias", "create", "v/*", "--target", "local/*")
    mesh("alias", "create", "trial", "--target", "local/new,canary=5.0%", "--target", "local/old")
    assert "local/new,canary=5%" in mesh("alias", "list")
    mesh("alias", "set", "trial", "--target", "local/new,canary=10%", "--target", "local/old")
    listed = {row["name"]: row for row in mesh.json("alias", "list")}
    assert [each["canary"] for each in listed["trial"]["targets"]] == ["10%", None]
    assert listed["v/*"]["targets"][0]["model"] == "*"
    made = mesh.json("key", "create", "--team", "research", "--alias", "v/*", "--alias", "v/Some:model@1")
    assert made["aliases"] == ["v/*", "v/Some:model@1"]
    assert "make 110%" in mesh.refused(
        "alias", "set", "trial", "--target", "local/a,canary=60%", "--target", "local/b,canary=50%",
        "--target", "local/c",
    )  # fmt: skip
    assert "canary=N%" in mesh.refused("alias", "set", "trial", "--target", "local/a,canary=")
    mesh("alias", "archive", "v/*")
    mesh("alias", "archive", "trial")


def test_keys_come_from_a_file_all_of_them_or_none(mesh, tmp_path):
    listed, made = tmp_path / "keys.csv", tmp_path / "made.csv"
    lines = ["team,user,description,aliases,expires"]
    lines += [f'research,ada@example.com,"laptop {number}, hers",fast,' for number in range(3)]
    listed.write_text("\n".join([*lines, "research,,,,never", "reserch,,,,"]))
    before = len(mesh.json("key", "list"))
    assert "row 5: key: there is no team 'reserch'" in mesh.refused("key", "import", str(listed))
    assert len(mesh.json("key", "list")) == before
    listed.write_text("\n".join([*lines, "research,,,,never"]))
    assert "4 keys are there" in mesh.run("key", "import", str(listed), "--out", str(made)).stderr
    assert made.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(made.read_text().splitlines()))
    known = {row["id"]: row for row in mesh.json("key", "list")}
    assert len(known) == before + 4
    assert [known[row["id"]]["description"] for row in rows[:3]] == [f"laptop {n}, hers" for n in range(3)]
    assert known[rows[0]["id"]]["aliases"] == ["fast"]
    assert known[rows[3]["id"]]["expires_at"] is None
    assert mesh.json("key", "check", rows[0]["key"])["id"] == rows[0]["id"]
    listed.write_text("team,user\nresearch\n")
    assert "row 1" in mesh.refused("key", "import", str(listed))


def test_a_limit_is_created_changed_and_archived_by_its_id(mesh):
    made = mesh.json("limit", "create", "600 requests/min", "--team", "research", "--alias", "fast")
    assert made["limit"] == "600 requests/min"
    mesh("limit", "set", made["id"], "300 requests/min")
    assert [row["limit"] for row in mesh.json("limit", "list", "--team", "research")] == ["300 requests/min"]
    mesh("limit", "archive", made["id"])
    assert mesh.json("limit", "list") == []


def test_a_price_of_ones_own_is_exact(mesh):
    mesh("price", "set", "local", "small", "--input", "0.0375", "--output", "0.15")
    assert mesh.json("price", "list")[0]["input"] == 0.0375
    mesh("price", "archive", "local", "small")
    assert mesh.json("price", "list") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["team", "create", "research"], "'research' already"),
        (["team", "create", "Research"], "lower case"),
        (["team", "archive", "nobody"], "there is no team 'nobody'"),
        (["user", "create", "a" * 200], "200 characters"),
        (["key", "create", "--team", "nobody"], "there is no team"),
        (["key", "create", "--team", "research", "--alias", "nothing"], "nothing"),
        (["key", "create", "--team", "research", "--expires", "soon"], "duration"),
        (["provider", "create", "leaky", "--secret", "sk-secret"], "env:NAME"),
        (["provider", "create", "odd", "--base-url", "ftp://x"], "http"),
        (["alias", "create", "bad", "--target", "nowhere/x"], "nowhere"),
        (["alias", "create", "bad", "--target", "no-slash"], "openai/gpt-5-mini"),
        (["alias", "create", "bad", "--target", "local/x,wait=9"], "weight=N"),
        (["limit", "create", "many requests"], "not an amount"),
        (["limit", "create", "--", "-5 requests/min"], "not an amount"),
        (["limit", "archive", "nothing"], "there is no limit"),
        (["usage", "--by", "colour"], "colour"),
        (["usage", "--since", "tomorrow-ish"], "neither"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_refusal_says_which_field_is_at_fault_and_changes_nothing(mesh, words, said):
    before = changes(mesh)
    line = mesh.refused(*words)
    assert said in line
    assert "sk-secret" not in line
    assert changes(mesh) == before


def test_an_unused_provider_can_be_archived_a_used_one_cannot(mesh):
    mesh("provider", "create", "spare", "--kind", "anthropic", "--secret", "env:SPARE_KEY")
    mesh("provider", "set", "spare", "--base-url", "https://spare.example.com")
    assert "local" in mesh.refused("provider", "archive", "local")
    mesh("provider", "archive", "spare")
    assert names(mesh.json("provider", "list")) == ["local"]


def test_a_member_who_leaves_takes_no_key_along(mesh):
    mesh("user", "create", "bob")
    mesh("team", "add", "research", "bob")
    key = mesh.json("key", "create", "--team", "research", "--user", "bob")
    mesh("team", "remove", "research", "bob")
    assert key["id"] not in [row["id"] for row in mesh.json("key", "list")]
    mesh("user", "archive", "bob")
    assert names(mesh.json("user", "list")) == ["ada@example.com"]
    assert names(mesh.json("user", "list", "--archived")) == ["ada@example.com", "bob"]

"""`mesh plan` and `mesh apply` name limits no ordinary call fits into, as the configuration will be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from mesh_store.admin import manifest
from mesh_store.model.errors import Rejected
from mesh_store.postgres.compile import compile_snapshot

if TYPE_CHECKING:
    from tests.manifest.conftest import Ground, Mesh

TIGHT = """\
version: 1
teams:
  - name: research
    limits: ["1000 tokens/min, burst 5"]
providers: [{name: p, kind: openai, base_url: "http://127.0.0.1:8080/v1"}]
aliases: [{name: fast, targets: [{provider: p, model: m}]}]
"""
WIDE = TIGHT.replace(", burst 5", ", burst 5000")
SAID = "team research: '1000 tokens/min, burst 5' lets 5 tokens through at once; a call of 'fast'"

NOT_LOOKED_AT = "mesh: whether calls fit into limits was not looked at: only who may write can\n"


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_they_are_told_beside_the_changes_and_fail_nothing(mesh: Mesh, command: str) -> None:
    done = mesh(command, text=TIGHT)
    [line] = done.stderr.splitlines()
    assert line.startswith(f"mesh: warning: {SAID}")
    assert "have callers pass max_tokens" in line
    assert "warning" not in done.stdout
    assert mesh(command, text=WIDE).stderr == ""


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_programs_get_limit_subject_reason_and_remedy(mesh: Mesh, command: str) -> None:
    done = mesh(command, "--json", text=TIGHT)
    [warning] = json.loads(done.stdout)["warnings"]
    assert (warning["limit"], warning["subject"]) == ("1000 tokens/min, burst 5", "team research")
    assert warning["why"].endswith("and never fits")
    assert "raise its burst" in warning["fix"]
    assert done.stderr == ""
    assert json.loads(mesh(command, "--json", text=WIDE).stdout)["warnings"] == []


def test_what_the_manifest_mends_is_not_told_and_what_it_breaks_is(mesh: Mesh) -> None:
    mesh("apply", text=TIGHT)
    assert mesh("plan", text=WIDE).stderr == "", "although what is there now is too tight"
    mesh("apply", text=WIDE)
    assert SAID in mesh("plan", text=TIGHT).stderr, "although what is there now is wide enough"


def test_limits_that_stay_unnamed_are_judged_too_unless_they_are_pruned(mesh: Mesh) -> None:
    mesh("apply", text=TIGHT)
    kept = "version: 1\nteams: [{name: research}]\n" + "".join(TIGHT.splitlines(keepends=True)[4:])
    assert SAID in mesh("plan", text=kept).stderr
    assert mesh("plan", "--prune", text=kept).stderr == ""


def test_nothing_to_change_says_what_does_not_fit_all_the_same(mesh: Mesh) -> None:
    mesh("apply", text=TIGHT)
    done = mesh("plan", "--exit-code")
    assert done.stdout == "nothing to change\n"
    assert SAID in done.stderr


def test_limits_of_the_keys_it_names_are_judged(mesh: Mesh) -> None:
    mesh("apply", text=WIDE)
    key = json.loads(mesh("key", "create", "--team", "research", "--json").stdout)["id"]
    text = WIDE + f"limits: [{{key: {key}, limit: '1000 tokens/min, burst 7'}}]\n"
    assert "lets 7 tokens through at once" in mesh("plan", text=text).stderr
    assert "lets 7 tokens through at once" in mesh("apply", text=text).stderr
    assert mesh("plan", text=text.replace("burst 7", "burst 7000")).stderr == ""


async def test_what_is_foreseen_is_what_callers_get_then(ground: Ground) -> None:
    made = await ground.plan(TIGHT, after=True)
    await ground.apply(TIGHT)
    assert made.after is not None
    assert _without_ids(made.after.document) == _without_ids(await compile_snapshot(ground.repo.database))


async def test_looking_ahead_leaves_nothing_behind(ground: Ground) -> None:
    await ground.apply(WIDE)
    before = (await ground.revision(), await ground.audit(), await ground.limits())
    for _ in range(3):
        assert len((await ground.plan(TIGHT, prune=True, after=True)).changes) == 1
    assert (await ground.revision(), await ground.audit(), await ground.limits()) == before
    assert len((await ground.apply(TIGHT)).changes) == 1


async def test_it_looks_again_when_somebody_changes_something_in_between(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ground.apply(WIDE)
    real, seen = manifest.applying.make_plan, []

    def slow(*arguments: Any, **options: Any) -> Any:
        seen.append(made := real(*arguments, **options))
        return made

    async def tried(repo: Any, made: Any, keys: Any) -> Any:
        if len(seen) == 1:
            await repo.create_team(name="quicker")
        return await real_tried(repo, made, keys)

    real_tried = manifest.applying._tried
    monkeypatch.setattr(manifest.applying, "make_plan", slow)
    monkeypatch.setattr(manifest.applying, "_tried", tried)
    made = await ground.plan(TIGHT, after=True)
    assert len(seen) == 2
    assert made.after is not None
    assert {team.name for team in made.after.document.teams} == {"research", "quicker"}
    assert made.revision == made.after.document.revision == 2


async def test_what_the_database_would_refuse_is_refused_by_the_plan(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(repo: Any, change: Any) -> None:
        raise Rejected("the database's rule refuses it")

    monkeypatch.setattr(manifest.applying, "_make", refused)
    with pytest.raises(Rejected, match="rule"):
        await ground.plan(TIGHT, after=True)
    assert await ground.revision() == 0


@pytest.mark.parametrize("can", ["read", "write elsewhere"])
def test_who_writes_nothing_gets_the_plan_and_hears_what_was_not_looked_at(
    mesh: Mesh, urls: list[str], can: str
) -> None:
    with _reader(urls[0], f"reader_{uuid4().hex}", follows=can != "read") as url:
        done = mesh("plan", text=TIGHT, MESH_DATABASE_URL=url)
        assert done.stdout.splitlines()[-1] == "would be 4 created (at revision 0)"
        assert done.stderr == NOT_LOOKED_AT
        assert json.loads(mesh("plan", "--json", MESH_DATABASE_URL=url).stdout)["warnings"] is None


@contextmanager
def _reader(url: str, name: str, *, follows: bool) -> Iterator[str]:
    """A role that reads and may not write, or one whose every transaction is like those of a standby."""
    may = f"ALTER ROLE {name} SET default_transaction_read_only = on; ALTER ROLE {name} SUPERUSER"
    _run(
        url,
        f"CREATE ROLE {name} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}; "
        f"{may if follows else ''}",
    )
    try:
        yield make_url(url).set(username=name).render_as_string(hide_password=False)
    finally:
        _run(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def _run(url: str, statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    asyncio.run(run())


def _without_ids(document: Any) -> Any:
    """What a document says, whatever its things are called inside."""
    return (
        [team.name for team in document.teams],
        [(each.name, each.kind, each.base_url) for each in document.providers],
        [(each.name, [target.model for target in each.targets]) for each in document.aliases],
        [(each.label, each.text, each.limit, each.enforce) for each in document.limits],
    )

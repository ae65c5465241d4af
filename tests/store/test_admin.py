"""An operator with both engines: a change is with callers once its call returns, or says why not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import redis

from mesh_store.admin import Admin, BlockingAdmin
from mesh_store.model.errors import ConfigError, Conflict, Rejected
from mesh_store.model.signing import Signer
from tests.engines import Engines


@pytest.fixture
async def redis_url(engines: Engines) -> str:
    client = redis.Redis.from_url(engines.redis_url)
    client.flushall()
    client.close()
    return engines.redis_url


@pytest.fixture
async def admin(own_url: str, redis_url: str) -> AsyncIterator[Admin]:
    async with Admin.open(own_url, redis_url, actor="ops") as admin:
        yield admin


async def test_a_change_is_published_when_its_call_returns(admin: Admin) -> None:
    await admin.create_team(name="research")
    assert admin.published is not None
    assert (admin.published.revision, admin.published.keys_revision) == (1, 0)
    await admin.create_key(team="research")
    assert (admin.published.keys_revision, admin.published.keys_written) == (1, 1)
    async with admin.batch() as batch:
        await batch.create_user(name="ada")
        await batch.create_user(name="bob")
    assert admin.published.revision == 2


async def test_a_change_that_could_not_be_published_is_kept_and_said(
    own_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Admin.open(own_url, "unix:///nowhere/s", actor="ops") as admin:
        await admin.create_team(name="research")
        assert admin.published is None
        assert admin.unpublished
        assert "revision 1 is committed, but not published" in caplog.text
    async with Admin.open(own_url, redis_url, actor="ops") as admin:
        assert (await admin.publish()).revision == 1
        assert admin.unpublished is None


async def test_who_reads_needs_no_redis_and_who_changes_is_told_before_anything_is_made(
    own_url: str, redis_url: str
) -> None:
    async with Admin.open(own_url, "ftp://nowhere", actor="ops") as admin:
        assert (await admin.list_teams()).items == ()
        with pytest.raises(ConfigError, match="redis://"):
            await admin.create_team(name="research")
        assert (await admin.list_teams()).items == ()


async def test_what_is_signed_is_published_only_by_whoever_can_sign(own_url: str, redis_url: str) -> None:
    async with Admin.open(own_url, redis_url, actor="ops", signer=Signer(b"s" * 32)) as admin:
        await admin.create_team(name="research")
        assert admin.unpublished is None
    async with Admin.open(own_url, redis_url, actor="ops") as admin:
        await admin.create_team(name="other")
        assert "MESH_SECRET_KEY" in str(admin.unpublished)


async def test_an_old_schema_is_migrated_only_when_asked(empty_url: str, redis_url: str) -> None:
    with pytest.raises(ConfigError, match="mesh migrate"):
        async with Admin.open(empty_url, redis_url, actor="ops"):
            pass
    async with Admin.open(empty_url, redis_url, actor="ops", migrate=True) as admin:
        assert len(await admin.list_teams()) == 0


def test_code_that_does_not_await_has_the_same_methods(own_url: str, redis_url: str) -> None:
    with BlockingAdmin(own_url, redis_url, actor="ops") as admin:
        assert admin.create_team(name="research").name == "research"
        with pytest.raises(Conflict):
            admin.create_team(name="research")
        with admin.batch() as batch:
            batch.create_user(name="ada")
            batch.add_member(team="research", user="ada")
        with pytest.raises(Rejected), admin.batch() as batch:
            batch.create_user(name="bob")
            batch.create_user(name="Bob")
        assert [user.name for user in admin.list_users()] == ["ada"]
        assert len(admin.import_keys([{"team": "research"}] * 3)) == 3
        assert admin.published.keys_written == 3
        assert "create_team" in dir(admin)
    admin.close()


async def test_a_running_loop_is_no_obstacle(own_url: str, redis_url: str) -> None:
    with BlockingAdmin(own_url, redis_url, actor="ops") as admin:
        assert len(admin.list_teams()) == 0


def test_an_admin_that_cannot_open_leaves_no_thread(empty_url: str, redis_url: str) -> None:
    import threading

    before = threading.active_count()
    with pytest.raises(ConfigError):
        BlockingAdmin(empty_url, redis_url, actor="ops")
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "module", ["mesh_store.model", "mesh_store.model.snapshot", "mesh_store.redis", "mesh_plugins"]
)
def test_a_callers_process_never_imports_what_speaks_to_postgres(module: str) -> None:
    code = (
        f"import sys, {module}; print([n for n in ('sqlalchemy', 'asyncpg', 'alembic') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

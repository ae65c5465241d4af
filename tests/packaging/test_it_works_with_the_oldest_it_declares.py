"""The floors in pyproject.toml are versions that exist, agree with each other, and work."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.packaging.declared import ROOT, pyproject, requirements

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

#: litellm's own floor agrees with none of the others' and is tested by itself.
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


#: What the tests of that host need beside it.
NEWEST_BESIDE_LITELLM = [str(each) for each in requirements("embedded", "langchain", "litellm")]
#: Tests of packages that litellm's oldest release is not brought together with.
NOT_THERE = [
    f"--ignore=tests/hosts/litellm/{name}.py"
    for name in ("test_langchain_over_litellm", "test_the_proxy_is_governed")
]


def floors(extras: Sequence[str]) -> list[str]:
    """Return every direct dependency, pinned to the oldest version that is allowed."""
    pinned = []
    for each in requirements(*extras):
        [floor] = [part.version for part in each.specifier if part.operator == ">="]
        extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
        pinned.append(f"{each.name}{extras}=={floor}")
    return pinned


Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run modules in an environment of their own, which is empty at first."""
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

    return run


def test_every_floor_is_installed_and_a_part_of_the_suite_runs_there(run: Run) -> None:
    run("pip", "install", "--quiet", *floors(EXTRAS), *TOOLS)
    run("pip", "install", "--quiet", "--no-deps", str(ROOT))
    run("pip", "check")
    run("pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=", *QUICK)  # others deprecate things


def test_the_oldest_litellm_is_governed_at_every_door(run: Run) -> None:
    [oldest] = [each for each in floors(["litellm"]) if each.startswith("litellm==")]
    # Its own requirement has no upper bound; OpenAI's SDK from 3 on refuses what it does for Azure.
    run("pip", "install", "--quiet", oldest, "openai<3", *NEWEST_BESIDE_LITELLM, *TOOLS)
    run("pip", "install", "--quiet", "--no-deps", str(ROOT))
    run("pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=", "tests/hosts/litellm", *NOT_THERE)

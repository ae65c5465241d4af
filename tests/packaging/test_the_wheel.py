"""What is installed is what is tested: the wheel carries every file the packages read, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ_AT_RUN_TIME = {".py", ".sql", ".lua", ".mako", ".typed", ".json"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


def tracked(folder: str) -> set[str]:
    done = subprocess.run(
        ["git", "ls-files", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return {name for name in done.stdout.splitlines() if Path(name).suffix in READ_AT_RUN_TIME}


def test_it_carries_every_file_the_packages_read(wheel):
    names = set(wheel.namelist())
    assert tracked("mesh_plugins") | tracked("mesh_store") <= names
    migrations = {name.replace("migrations/", "mesh_store/_migrations/", 1) for name in tracked("migrations")}
    assert migrations <= names


def test_it_carries_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    [info] = [top for top in tops if top.endswith(".dist-info")]
    assert tops == {"mesh_plugins", "mesh_store", info}
    assert not [name for name in wheel.namelist() if name.endswith((".pth", ".pyc", ".ipynb"))]


def test_type_checkers_and_lawyers_find_what_they_look_for(wheel):
    names = wheel.namelist()
    assert {"mesh_plugins/py.typed", "mesh_store/py.typed"} <= set(names)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_sdist_carries_what_a_packager_and_an_auditor_need(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    [path] = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "SECURITY.md", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
    assert tracked("mesh_plugins") | tracked("mesh_store") | tracked("migrations") | tracked("tests") <= names


def test_every_dependency_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text()
    parsed = tomllib.loads(text)
    extras = parsed["project"]["optional-dependencies"]
    named = [*parsed["project"]["dependencies"], *[d for group in extras.values() for d in group]]
    for group in parsed["dependency-groups"].values():
        named += [d for d in group if isinstance(d, str)]
    lines = [line for line in text.splitlines() if not line.startswith("requires = ")]
    for dependency in named:
        if dependency.startswith("mesh-plugins[") or dependency.split(">")[0] in DEVELOPERS_KNOW:
            continue
        [place, *_] = [place for place, line in enumerate(lines) if f'"{dependency}"' in line]
        assert "#" in lines[place].split('"')[-1] or "#" in lines[place - 1], lines[place]


#: Tools whose name says it all to whoever works on this.
DEVELOPERS_KNOW = {"pytest", "mypy", "ruff"}

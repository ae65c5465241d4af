"""A published plugin is listed when it is installed, loaded when it is named, and not touched otherwise."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import datetime
from pathlib import Path

import pytest

from mesh_plugins import AccessDenied, PluginError
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import discovered, load
from mesh_plugins.testing.memory import MemoryMesh

EXAMPLE = Path(__file__).parent / "example"
ASK = [{"role": "user", "content": "hi"}]
INTERN = {"role": "intern"}

pytest_plugins = ["mesh_plugins.testing.pytest_plugin"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with the example as an installer would leave it: its module, and its metadata."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [f"{name} = {value}" for name, value in project["entry-points"]["mesh"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[mesh]", *points, ""]))
    (tmp_path / "mesh_office_hours.py").write_bytes((EXAMPLE / "mesh_office_hours.py").read_bytes())
    return tmp_path


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "mesh_office_hours", raising=False)


@pytest.fixture
def at(installed: None, monkeypatch: pytest.MonkeyPatch):
    """Set the plugin's clock."""

    def set_clock(hour: int) -> None:
        import mesh_office_hours

        monkeypatch.setattr(mesh_office_hours, "now", lambda: datetime(2026, 1, 5, hour))

    return set_clock


@pytest.mark.usefixtures("installed")
def test_it_is_listed_and_not_imported():
    assert discovered()["office-hours"].value == "mesh_office_hours"
    load((), builtin=builtin_plugins())
    MemoryMesh().chat("fast", ASK, tags=INTERN)
    assert "mesh_office_hours" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_naming_it_makes_it_decide(at):
    mesh = MemoryMesh(named=["office-hours"])
    assert "mesh_office_hours" in sys.modules
    at(20)
    with pytest.raises(AccessDenied, match="come back tomorrow"):
        mesh.chat("fast", ASK, tags=INTERN)
    assert mesh.sender.calls == []
    at(9)
    mesh.chat("fast", ASK, tags=INTERN)
    assert [(fact.outcome, fact.tags.get("supervised")) for fact in mesh.facts] == [
        ("denied", "yes"),
        ("ok", "yes"),
    ]


@pytest.mark.usefixtures("installed")
def test_a_name_that_is_not_installed_says_which_are():
    with pytest.raises(PluginError, match="office-hours"):
        load(("office-ours",), builtin=builtin_plugins())


def test_the_variable_names_it_for_a_whole_process(site: Path):
    code = """
import sys
from mesh_plugins import Settings
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
sys.path.insert(0, sys.argv[1])
load(Settings.from_env().plugins, builtin=builtin_plugins())
print("mesh_office_hours" in sys.modules)
"""
    told = {}
    for named in ("", "office-hours"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(site)],
            env={"MESH_PLUGINS": named, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        told[named] = done.stdout.strip()
    assert told == {"": "False", "office-hours": "True"}


def test_its_author_tests_it_without_engines(mesh_memory, at):
    import mesh_office_hours

    at(19)
    mesh = mesh_memory(plugins=[mesh_office_hours], limits=["1 requests/hour"])
    with pytest.raises(AccessDenied):
        mesh.chat("fast", ASK, tags=INTERN)
    mesh.chat("fast", ASK)
    assert [fact.outcome for fact in mesh.facts] == ["denied", "ok"]


def test_the_fixtures_serve_code_that_names_no_mesh(mesh_memory, stand_in_provider):
    from mesh_plugins.shared import shared_mesh

    mesh = mesh_memory(answer="from a can")
    assert shared_mesh() is mesh
    assert stand_in_provider.count == 0

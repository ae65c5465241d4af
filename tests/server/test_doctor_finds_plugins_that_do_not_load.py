"""What `mesh doctor` says of plugins, without loading one that nobody named."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from mesh_plugins import manager
from mesh_plugins.cli.app import build
from mesh_plugins.cli.checks.plugins import plugins


def the(findings, check):
    return next(finding for finding in findings if finding.check == check)


def test_a_plugin_that_is_not_active_or_does_not_load_is_found(monkeypatch):
    monkeypatch.setattr(manager, "discovered", lambda: {"good": Point("good"), "broken": Point("broken")})
    [idle, *_] = plugins(["good"])[1:]
    assert (idle.state, idle.found) == ("warning", "broken is installed, but not active")
    assert "MESH_PLUGINS" in idle.fix
    states = {finding.found.split()[0]: finding.state for finding in plugins(["good"])}
    assert states == {"good": "fine", "broken": "warning"}
    failed = [finding for finding in plugins(["broken", "absent"]) if finding.state == "failed"]
    assert ["failed to load" in failed[0].found, "not installed" in failed[1].found] == [True, True]
    assert all("MESH_PLUGINS" in finding.fix for finding in failed)
    monkeypatch.setattr(manager, "discovered", dict)
    assert [finding.state for finding in plugins([])] == ["fine"]


class Point:
    """An entry point that never was installed."""

    dist = None
    value = "somewhere:plugin"

    def __init__(self, name):
        self.name = name

    def load(self):
        if self.name == "broken":
            raise RuntimeError("its module is")
        return self


def test_plugins_are_listed_without_being_loaded(monkeypatch):
    monkeypatch.setattr(manager, "discovered", lambda: {"broken": Point("broken")})
    environ = {"MESH_PLUGINS": "absent"}
    done = CliRunner().invoke(build(), ["plugins", "--json"], env=environ)
    rows = {row["name"]: (row["active"], row["installed"]) for row in json.loads(done.stdout)}
    assert rows == {"absent": (True, False), "broken": (False, True)}

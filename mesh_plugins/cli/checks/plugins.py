"""The plugins of this environment: those that are installed, and those that are active."""

from __future__ import annotations

from collections.abc import Iterable

from mesh_plugins.cli.checks.finding import Finding
from mesh_store.model.errors import PluginError


def plugins(named: Iterable[str]) -> list[Finding]:
    """Tell of each plugin that is named whether it loads, and of each other one that it does nothing.

    Args:
        named: what MESH_PLUGINS names; only these are loaded.
    """
    from mesh_plugins.manager import discovered, load

    active, findings = tuple(named), []
    for name in active:
        try:
            load([name], builtin=())
        except PluginError as error:
            fix = f"install it, mend it, or take {name} out of MESH_PLUGINS"
            findings.append(Finding("failed", "plugin", str(error), fix))
        else:
            findings.append(Finding("fine", "plugin", f"{name} is active"))
    for name in sorted(discovered().keys() - set(active)):
        fix = f"name {name} in MESH_PLUGINS, or uninstall it"
        findings.append(Finding("warning", "plugin", f"{name} is installed, but not active", fix))
    return findings or [Finding("fine", "plugins", "none is installed")]

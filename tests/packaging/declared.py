"""What pyproject.toml declares, and what comes with it: read from the file and from what is installed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
US = "mesh-plugins"


def pyproject() -> dict[str, Any]:
    """Return the project's table."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def requirements(*extras: str) -> list[Requirement]:
    """Return what an installation with extras asks for by itself, extras within extras included."""
    project = pyproject()
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        inner = requirements(*requirement.extras) if requirement.name == US else [requirement]
        found |= {str(each): each for each in inner}
    return list(found.values())


def brought(extra: str | None = None) -> set[str]:
    """Return the names of everything an extra, or a plain installation, brings on this machine."""
    seen: set[tuple[str, frozenset[str]]] = set()
    _follow(requirements(*[extra] if extra else []), [""], seen)
    return {name for name, _ in seen}


def _follow(
    asked: Iterable[Requirement], extras: Iterable[str], seen: set[tuple[str, frozenset[str]]]
) -> None:
    for requirement in asked:
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": each}) for each in extras):
            continue
        at = str(canonicalize_name(requirement.name)), frozenset(requirement.extras)
        if at not in seen:
            seen.add(at)
            further = map(Requirement, distribution(at[0]).requires or ())
            _follow(further, ["", *requirement.extras], seen)
